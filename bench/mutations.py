"""Small damage to files: what a broken disk, a bad writer and an attacker do to bytes. Seeded: it can be repeated."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable

INTERESTING = (
    0,
    1,
    2,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    4095,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63,
    2**64 - 1,
)
WORDS = (
    "0",
    "-1",
    "1",
    "2",
    "65536",
    "2147483648",
    "99999999999999999999",
    "1e308",
    "nan",
    "../..",
    "%s",
    "/etc/passwd",
)
MOST = 4  # damages to one file
HEAD_BYTES = 1024  # where half of the damage goes: headers matter most

Damage = Callable[[random.Random, bytearray], None]


def mutate(rng: random.Random, data: bytes) -> bytes:
    """The data with one to four damages; never the same as before unless chance has it so."""
    out = bytearray(data)
    for _ in range(rng.randint(1, MOST)):
        rng.choice(DAMAGES)(rng, out)
    return bytes(out)


def _place(rng: random.Random, data: bytearray) -> int:
    end = len(data) if rng.random() < 0.5 else min(len(data), HEAD_BYTES)
    return rng.randrange(end) if end else 0


def _span(rng: random.Random, data: bytearray) -> slice:
    start = _place(rng, data)
    return slice(start, start + rng.choice((1, 2, 4, 8, 16, 64, 512, 4096)))


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray) -> None:
    if data:
        data[_place(rng, data)] = rng.randrange(256)


def _number(rng: random.Random, data: bytearray) -> None:
    """An integer that is often forgotten, in a width and byte order of its own."""
    width = rng.choice((1, 2, 4, 8))
    at = _place(rng, data)
    value = rng.choice(INTERESTING) & ((1 << 8 * width) - 1)
    data[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))


def _nudge(rng: random.Random, data: bytearray) -> None:
    """A stored number, a little more or less."""
    width = rng.choice((1, 2, 4))
    at, order = _place(rng, data), "little" if rng.random() < 0.5 else "big"
    value = int.from_bytes(data[at : at + width], order) + rng.choice((-2, -1, 1, 2))  # type: ignore[arg-type]
    data[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, order)  # type: ignore[arg-type]


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[_place(rng, data) :]


def _drop(rng: random.Random, data: bytearray) -> None:
    del data[_span(rng, data)]


def _zero(rng: random.Random, data: bytearray) -> None:
    span = _span(rng, data)
    data[span] = bytes(len(data[span]))


def _repeat(rng: random.Random, data: bytearray) -> None:
    span = _span(rng, data)
    data[span.start : span.start] = data[span]


def _splice(rng: random.Random, data: bytearray) -> None:
    """A part of the file over another part."""
    source, target = _span(rng, data), _place(rng, data)
    piece = data[source]
    data[target : target + len(piece)] = piece


def _grow(rng: random.Random, data: bytearray) -> None:
    data += rng.randbytes(rng.choice((1, 10, 1000)))


def _digits(rng: random.Random, data: bytearray) -> None:
    """Another word where a text has a number."""
    found = list(re.finditer(rb"-?\d+", bytes(data[:HEAD_BYTES])))
    if found:
        match = rng.choice(found)
        data[match.start() : match.end()] = rng.choice(WORDS).encode()


def _line(rng: random.Random, data: bytearray) -> None:
    """A line of a text left out, doubled, or in the place of another."""
    lines = bytes(data).split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    rng.choice((lambda: lines.pop(at), lambda: lines.insert(other, lines[at]), lambda: _swap(lines, at, other)))()
    data[:] = b"\n".join(lines)


def _swap(items: list[bytes], one: int, other: int) -> None:
    items[one], items[other] = items[other], items[one]


def _word(rng: random.Random, data: bytearray) -> None:
    """A word of a text in the place of another, or before it."""
    found = list(re.finditer(rb"[A-Za-z0-9_.%/]+", bytes(data[:HEAD_BYTES])))
    if found:
        one, other = rng.choice(found), rng.choice(found)
        data[one.start() : one.end() if rng.random() < 0.5 else one.start()] = other[0]


DAMAGES: tuple[Damage, ...] = (
    *(_flip, _byte, _number, _number, _number, _nudge, _nudge),
    *(_cut, _drop, _zero, _repeat, _splice, _grow, _digits, _line, _word),
)


def repair_png(data: bytes) -> bytes:
    """The checksums of a PNG made true again, so that what lies behind them is reached."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        if at + 12 + length > len(data):
            break
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(out + data[at:])
