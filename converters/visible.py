"""Which names are data: hidden files, what macOS adds to archives and what dashboards keep beside data never are."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_SESSION = re.compile(r"sessions/session_[^/]*\.json")  # what a user of a dashboard was looking at


def visible(name: str) -> bool:
    """Whether no part of a path, relative to the upload, is hidden or `__MACOSX`, and it is no dashboard's session."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
    return not hidden and not _SESSION.fullmatch(name)
