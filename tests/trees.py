"""Comparing results, and looking at them through OpenVisus."""

from __future__ import annotations

import hashlib
from pathlib import Path


def tree_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a result, run.json aside, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }
