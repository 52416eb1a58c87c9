"""TIFF files written byte by byte (TIFF 6.0, BigTIFF), so that any oddity can be made and no library has a say."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_TYPES = {"B": 1, "s": 2, "H": 3, "I": 4, "h": 8, "Q": 16}
Tags = Mapping[int, tuple[str, Any]]  # struct code and values; None leaves the tag out
REVERSED = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))


class Page(NamedTuple):
    """Tags and strips or tiles; `order` is the order in which these lie in the file."""

    tags: Tags
    pieces: Sequence[bytes]
    order: Sequence[int] | None = None


def grey(width: int, height: int, rows: int | None = None, bits: int = 8, **more: Any) -> dict[int, tuple[str, Any]]:
    """The tags of a plain grey page; `more` as t259=8."""
    tags: dict[int, tuple[str, Any]] = {256: ("I", width), 257: ("I", height), 258: ("H", bits), 259: ("H", 1)}
    tags |= {262: ("H", 1), 277: ("H", 1), 278: ("I", rows or height)}
    return tags | {int(key[1:]): ("H", value) for key, value in more.items()}


def tiff(*pages: Page, order: str = "<", big: bool = False) -> bytes:
    """A whole file, byte order `order`."""
    number, count = ("Q", "Q") if big else ("I", "H")
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42))
    out += struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)
    link = 8 if big else 4
    for page in pages:
        entries = _entries(out, page, order, number)
        struct.pack_into(order + number, out, link, len(out))
        out += struct.pack(order + count, len(entries)) + b"".join(entries)
        link = len(out)
        out += struct.pack(order + number, 0)
    return bytes(out)


def _entries(out: bytearray, page: Page, order: str, number: str) -> list[bytes]:
    offsets = [0] * len(page.pieces)
    for i in page.order or range(len(page.pieces)):
        offsets[i] = _append(out, page.pieces[i])
    where, sizes = (324, 325) if 322 in page.tags else (273, 279)
    tags = {where: (number, offsets), sizes: (number, [len(piece) for piece in page.pieces]), **page.tags}
    return [_entry(out, code, *tags[code], order, number) for code in sorted(tags) if tags[code][1] is not None]


def _entry(out: bytearray, code: int, kind: str, values: Any, order: str, number: str) -> bytes:
    listed = values if isinstance(values, bytes) else [values] if isinstance(values, int) else list(values)
    raw = listed if isinstance(listed, bytes) else struct.pack(f"{order}{len(listed)}{kind}", *listed)
    width = struct.calcsize(number)
    if len(raw) > width:
        raw = struct.pack(order + number, _append(out, raw))
    return struct.pack(order + "HH" + number, code, _TYPES[kind], len(listed)) + raw.ljust(width, b"\0")


def _append(out: bytearray, data: bytes) -> int:
    out += b"\0" * (len(out) % 2)
    at = len(out)
    out += data
    return at
