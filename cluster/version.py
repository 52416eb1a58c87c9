"""Which code runs: a digest of the four packages, so that a driver of older code can be told from one of this."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

PACKAGES = ("scray", "converters", "cluster", "api")
ROOT = Path(__file__).resolve().parent.parent


@cache
def code_version() -> str:
    """12 hex digits over the names and contents of all source files; the same wherever the code was copied to."""
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]
