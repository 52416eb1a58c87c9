"""Natural order of names: page 2 before page 10."""

from __future__ import annotations

import re


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """A sort key: runs of digits compare as numbers, everything else as text without case."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return (*((int(p), "") if p.isdecimal() else (-1, p) for p in parts), (-2, name))
