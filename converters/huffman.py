"""Whether the Huffman codes of a sequential JPEG are the blocks of its frame, no fewer and no more (T.81, annex F).

Decoders fill in what is missing, leave out what is too much and go on behind a code that does not exist. Here every
code is walked, and none is turned into a pixel: where each block begins follows from where the one before it ended.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from converters.volume import Array
from scray.errors import BadInput, TruncatedInput

WINDOW_BYTES = 1 << 19
MARGIN_BYTES = 256  # more than a block of 64 codes of at most 31 bits
END_OF_BLOCK, NO_CODE = 128, 192  # as coefficients that a code speaks of: beyond all that a block has
DC_SIZES = 16
LARGEST = 1 << 10  # a mean of a block of 8 bits, by 8; encoders round, and exceed it by their step
TOLERANCE = 1.125


@dataclass(frozen=True)
class Part:
    """A component of a scan: blocks in a unit, its two Huffman tables as stored, and the step of its means."""

    blocks: int
    dc: bytes
    ac: bytes
    step: int


@dataclass(frozen=True)
class Coded:
    """A scan: its parts, how many units it has, how many of them lie between restarts, and its pieces in the file."""

    parts: tuple[Part, ...]
    units: int
    interval: int
    pieces: tuple[tuple[int, int], ...]


def check_codes(data: bytes, coded: Coded, bits: int, what: str) -> None:
    """Raises TruncatedInput or BadInput where the codes of a scan are not its blocks. `bits` of a sample: 8 or 12."""
    interval = coded.interval or coded.units
    if len(coded.pieces) != math.ceil(coded.units / interval):
        raise BadInput(f"{what} is damaged: its JPEG data have {len(coded.pieces)} pieces between restarts.")
    stored = [data[start:stop].replace(b"\xff\0", b"\xff") for start, stop in coded.pieces]
    walk = _Walk(b"".join(stored), coded.parts, what)
    at, left, ends = 0, coded.units, []
    for piece in stored:
        units = min(interval, left)
        walk.piece(at, at + len(piece), units * len(walk.order))
        at, left = at + len(piece), left - units
        ends.append(len(walk.starts))
    walk.check_means(ends, LARGEST << (bits - 8))


class _Walk:
    """Joined pieces of a scan, and the steps that codes at every bit of a part of them make."""

    def __init__(self, coded: bytes, parts: Sequence[Part], what: str) -> None:
        self.what = what
        self.parts = parts
        self.order = [index for index, part in enumerate(parts) for _ in range(part.blocks)]
        self.bytes = np.frombuffer(coded + bytes(MARGIN_BYTES), np.uint8)
        self.starts = array("q")  # of every block, in bits
        self.tables = {(p.dc, p.ac): (_dc_steps(p.dc, what), *_ac_steps(p.ac, what)) for p in parts}
        self.base = self.stop = 0
        self.steps: list[tuple[bytes, bytes, bytes]] = []

    def piece(self, start: int, stop: int, blocks: int) -> None:
        bit, done = 8 * start, 0
        while done < blocks:
            if bit >= 8 * stop:
                raise TruncatedInput(f"{self.what} is cut short or damaged: its JPEG data end before its last pixel.")
            if not self.base <= bit < self.stop:
                self._move(bit // 8)
            bit, done = self._blocks(bit, done, blocks)
        if bit > 8 * stop:
            raise TruncatedInput(f"{self.what} is cut short or damaged: its JPEG data end before its last pixel.")
        surplus = self.bytes[-(-bit // 8) : stop]
        if surplus.size and (surplus != surplus[0]).any():  # all alike, it is what a writer filled up with
            raise BadInput(f"{self.what} is damaged: its JPEG data go on after its last pixel.")

    def _move(self, byte: int) -> None:
        """Look up what a code at each bit would be, from a byte on."""
        here = self.bytes[byte : byte + WINDOW_BYTES + MARGIN_BYTES].astype(np.uint32)
        ahead = (here[:-2] << 16 | here[1:-1] << 8 | here[2:])[:, np.newaxis]
        words = (ahead >> np.arange(8, 0, -1, dtype=np.uint32) & 0xFFFF).astype(np.uint16).ravel()
        found = {key: tuple(table[words].tobytes() for table in tables) for key, tables in self.tables.items()}
        self.steps = [found[self.parts[i].dc, self.parts[i].ac] for i in self.order]  # type: ignore[misc]
        self.base, self.stop = 8 * byte, 8 * min(byte + WINDOW_BYTES, len(self.bytes) - MARGIN_BYTES)

    def _blocks(self, bit: int, done: int, blocks: int) -> tuple[int, int]:
        """Walk on until the window ends or all blocks are done; the bit behind them, and how many are done."""
        at, end = bit - self.base, self.stop - self.base
        for first, step, told in self._turns(done, blocks):
            if at >= end:
                break
            self.starts.append(self.base + at)
            length = first[at]
            at += length
            count = 1 if length else NO_CODE
            while count < 64:
                count += told[at]
                at += step[at]
            if 64 < count < END_OF_BLOCK or count >= NO_CODE:
                raise BadInput(f"{self.what} is damaged: its JPEG data hold a code that does not exist there.")
            done += 1
        return self.base + at, done

    def _turns(self, done: int, blocks: int) -> Iterator[tuple[bytes, bytes, bytes]]:
        turns = len(self.steps)
        for number in range(done, blocks):
            yield self.steps[number % turns]

    def check_means(self, ends: Sequence[int], largest: int) -> None:
        """The mean of each block is told as the difference to the one before: the sum of lost ones leads astray."""
        turn = np.resize(self.order, len(self.starts))
        starts = np.array(self.starts)
        for index, part in enumerate(self.parts):
            mine = turn == index
            means = np.cumsum(_differences(self.bytes, starts[mine], _lookup(part.dc, self.what)))
            before = np.cumsum(mine)[np.array(ends) - 1]
            pieces = np.diff(before, prepend=0)
            means -= np.repeat(np.concatenate([[0], means[before[:-1] - 1]]), pieces)
            if np.abs(means).max(initial=0) * part.step > TOLERANCE * largest + part.step:
                raise BadInput(f"{self.what} is damaged: its JPEG data speak of pixels brighter or darker than any.")


def _lookup(table: bytes, what: str) -> tuple[Array, Array]:
    """Length and symbol of the code that 16 bits begin with; length 0 where there is none (annex C)."""
    lengths, symbols = np.zeros((2, 1 << 16), np.uint8)
    code, told = 0, iter(table[16:])
    for length, count in enumerate(table[:16], 1):
        for symbol in (next(told, 0) for _ in range(count)):
            first, last = code << 16 - length, code + 1 << 16 - length
            if last > 1 << 16:
                raise BadInput(f"{what} is damaged: it has a Huffman table with more codes than there can be.")
            lengths[first:last], symbols[first:last] = length, symbol
            code += 1
        code <<= 1
    return lengths, symbols


def _dc_steps(table: bytes, what: str) -> Array:
    """Bits of a code and its value; 0 where there is no code."""
    lengths, symbols = _lookup(table, what)
    return np.where((lengths > 0) & (symbols < DC_SIZES), lengths + symbols, 0).astype(np.uint8)


def _ac_steps(table: bytes, what: str) -> tuple[Array, Array]:
    """Bits of a code and its value, and how many coefficients it speaks of."""
    lengths, symbols = _lookup(table, what)
    sizes = symbols & 15
    counts = np.where(symbols == 0, END_OF_BLOCK, (symbols >> 4) + 1)
    nothing = (lengths == 0) | ((sizes == 0) & (symbols != 0) & (symbols != 0xF0))
    return lengths + sizes, np.where(nothing, NO_CODE, counts).astype(np.uint8)


def _differences(data: Array, starts: Array, lookup: tuple[Array, Array]) -> Array:
    """The values of DC codes that begin at these bits, int64."""
    word = np.zeros(len(starts), np.int64)
    for number in range(6):
        word = word << 8 | data[starts // 8 + number]
    first = (word >> 32 - starts % 8) & 0xFFFF
    length, size = (table[first].astype(np.int64) for table in lookup)
    value = (word >> 48 - starts % 8 - length - size) & (1 << size) - 1
    found: Array = np.where((size > 0) & (value < 1 << np.maximum(size, 1) - 1), value - (1 << size) + 1, value)
    return found
