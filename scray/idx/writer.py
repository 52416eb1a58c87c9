"""Writes the block files of IDX v6: gather each block from an array in memory, encode it, write the file once.

One file has one writer; it appears whole, by rename, and is flushed to disk before it does; the caller flushes
its folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scray.idx import codecs
from scray.idx.geometry import Geometry, Shape
from scray.storage import write_atomic

Array = NDArray[Any]
HEADER_WORDS = 10


@dataclass(frozen=True)
class Written:
    """A file that is on disk: its path relative to the result, size in bytes, SHA-256."""

    path: str
    size: int
    sha256: str


class Gatherer:
    """Copies blocks of one field out of an array, into a buffer that is reused from block to block.

    `array` holds the samples of a node's box (z y x, components last where there are several); `origin` is the
    position of its first sample in the volume.
    """

    def __init__(self, geometry: Geometry, array: Array, origin: Shape) -> None:
        self.geometry = geometry
        self.array = array
        self.origin = origin
        self.tail = array.shape[len(geometry.shape) :]
        self.buffer = np.empty((geometry.block_samples, *self.tail), array.dtype)

    def block(self, number: int) -> Array:
        """The samples of a block, zeros where it reaches past the volume; valid until the next call."""
        lattice = self.geometry.block(number)
        inside = lattice.inside(self.geometry.shape)
        first = tuple(a - o for a, o in zip(lattice.start, self.origin, strict=True))
        source = self.array[
            tuple(slice(a, a + n * s, s) for a, n, s in zip(first, inside, lattice.stride, strict=True))
        ]
        block = self.buffer.reshape(lattice.shape + self.tail)
        if inside != lattice.shape:
            block.fill(0)
        np.copyto(block[tuple(slice(n) for n in inside)], source)
        return self.buffer


def write_file(root: Path, name: str, geometry: Geometry, file: int, fields: Sequence[Gatherer], codec: str) -> Written:
    """One block file with all its fields, at root/name.

    Layout: ten zero words, then ten big-endian words a (field, block): offset low, offset high, size, flags at 2…5.
    """
    blocks = geometry.stored_blocks(file)
    table = np.zeros((1 + len(fields) * geometry.blocks_per_file, HEADER_WORDS), ">u4")
    payloads: list[bytes] = []
    offset = table.nbytes
    for index, field in enumerate(fields):
        for number in blocks:
            payload = codecs.encode(codec, field.block(number))
            row = 1 + index * geometry.blocks_per_file + number % geometry.blocks_per_file
            table[row, 2:6] = (
                offset & 0xFFFFFFFF,
                offset >> 32,
                len(payload),
                codecs.flag(codec) | codecs.ROW_MAJOR,
            )
            payloads.append(payload)
            offset += len(payload)
    return _write(root, name, [table.tobytes(), *payloads])


def write_block(root: Path, name: str, field: Gatherer, number: int, codec: str) -> Written:
    """One block as a file of its own (ARCO), the codec's output alone."""
    return _write(root, name, [codecs.encode(codec, field.block(number))])


def _write(root: Path, name: str, parts: Sequence[bytes]) -> Written:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    write_atomic(root / name, parts, flush_folder=False)
    return Written(name, sum(map(len, parts)), digest.hexdigest())
