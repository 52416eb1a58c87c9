"""Which names are data: not hidden files, nor what macOS, dashboards and GDAL lay beside data."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import PurePosixPath

_BESIDE = frozenset({".ovr", ".msk"})  # coarser copies and masks, as GDAL names them: photo.tif.ovr
_SESSION = re.compile(r"sessions/session_[^/]*\.json")  # what a user of a dashboard was looking at


def visible(name: str) -> bool:
    """Whether no part of a path, relative to the upload, is hidden or `__MACOSX`, and it is no dashboard's session."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
    return not hidden and not _SESSION.fullmatch(name)


def lies_beside(name: str, names: Container[str]) -> bool:
    """Whether a file is the overviews or the mask of another of these files."""
    path = PurePosixPath(name)
    return path.suffix.lower() in _BESIDE and str(path.with_suffix("")) in names
