"""Which names are data: hidden files and what macOS adds to archives never are."""

from __future__ import annotations

from pathlib import PurePosixPath


def visible(name: str) -> bool:
    """Whether no part of a relative path is hidden or `__MACOSX`."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
