"""Numbers of bytes as people write and read them: "64MiB", "1.5 GB"."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from scray.errors import BadParameter

UNITS: Final = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip


def read_size(text: object) -> int:
    """Bytes from a number or a text like "64MiB" or "1.5 GB"; BadParameter for anything else."""
    found = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)\s*", str(text))
    if not found or found[2].upper() not in UNITS:
        raise BadParameter(f"{text!r} is not a size: write it like 64MiB, 1GiB or 500000000.")
    return int(Decimal(found[1]) * UNITS[found[2].upper()])


def size_text(size_bytes: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"
