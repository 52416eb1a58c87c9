"""Where the samples of a block lie, from the hierarchical Z address of its first sample.

With bitmask V b1…bM, the Z address of a point interleaves the bits of its coordinates, b1 the most significant. The
HZ address of a point of level h >= 1 is a 1 followed by the h-1 bits of its Z address that come before the last
set bit; level 0 is the origin, address 0. Block b holds the addresses b·2^B … (b+1)·2^B - 1, and stores them either
in that order or row-major, as the plain lattice that they are.
Source: V. Pascucci, R. Frank, Global Static Indexing for Real-Time Exploration of Very Large Regular Grids, 2001.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Box = tuple[tuple[int, int], ...]  # [start, stop) an axis, z y x


@dataclass(frozen=True)
class BlockLattice:
    """The samples of a block: every `stride`-th from `start`, `shape` of them along each axis (z y x)."""

    start: Shape
    stride: Shape
    shape: Shape


@dataclass(frozen=True)
class Overlap:
    """The samples that a block and a lattice have in common: slices into both, and how many an axis."""

    block: tuple[slice, ...]
    other: tuple[slice, ...]
    shape: Shape


class HzOrder:
    """The order of one bitmask ("V" and one axis digit a level, x = 0); axes come out as z y x."""

    def __init__(self, bitmask: str, bits_per_block: int, axes: int) -> None:
        self.letters = tuple(axes - 1 - int(letter) for letter in bitmask[1:])
        self.bits = bits_per_block
        self.axes = axes
        self._latest = (0, self._lattice(0))  # a block is asked for several times in a row

    def stride(self, level: int) -> Shape:
        """Between samples of levels up to `level`."""
        return self._extent(self.letters[level:])

    def point(self, address: int) -> Shape:
        """The sample at an HZ address."""
        finest = len(self.letters)
        z = ((2 * address + 1) << (finest - address.bit_length())) & ((1 << finest) - 1)
        point, place = [0] * self.axes, [0] * self.axes
        for axis in reversed(self.letters):
            point[axis] |= (z & 1) << place[axis]
            place[axis] += 1
            z >>= 1
        return tuple(point)

    def block_of(self, point: Shape) -> int:
        """The block that holds a sample."""
        z, left = 0, list(point)
        for place, axis in enumerate(reversed(self.letters)):
            z |= (left[axis] & 1) << place
            left[axis] >>= 1
        if z == 0:
            return 0
        whole = 1 << len(self.letters) | z
        return whole // (whole & -whole) >> 1 + self.bits

    def level(self, block: int) -> int:
        """The level of a block's samples; block 0 holds all levels up to this one."""
        return (block << self.bits).bit_length() if block else self.bits

    def lattice(self, block: int) -> BlockLattice:
        """Where a block's samples lie."""
        if block != self._latest[0]:
            self._latest = (block, self._lattice(block))
        return self._latest[1]

    def _lattice(self, block: int) -> BlockLattice:
        level = self.level(block)
        if block == 0:
            return BlockLattice((0,) * self.axes, self.stride(level), self._extent(self.letters[: self.bits]))
        varying = self.letters[level - 1 - self.bits : level - 1]
        return BlockLattice(self.point(block << self.bits), self.stride(level - 1), self._extent(varying))

    def blocks(self, box: Box, level: int) -> Iterator[int]:
        """The blocks with a sample of levels up to `level` in a box: 0, then level by level, ascending."""
        if meet(self.lattice(0), box, self.stride(min(level, self.bits))):
            yield 0
        for finer in range(self.bits + 1, level + 1):
            depth = finer - 1 - self.bits
            cell = tuple((0, size) for size in self._extent(self.letters))
            for prefix in self._prefixes(1, depth, cell, box):
                if meet(self.lattice(prefix), box, (1,) * self.axes):
                    yield prefix

    def order(self, block: int) -> NDArray[Any]:
        """For each sample of a block in row-major order, its place in HZ order."""
        level = self.level(block)
        varying = self.letters[: self.bits] if block == 0 else self.letters[level - 1 - self.bits : level - 1]
        return _order(varying, self.axes, block == 0)

    def _extent(self, letters: tuple[int, ...]) -> Shape:
        return tuple(1 << letters.count(axis) for axis in range(self.axes))

    def _prefixes(self, prefix: int, depth: int, cell: Box, box: Box) -> Iterator[int]:
        """The HZ prefixes of `depth` more bits whose cell of the lattice touches the box, ascending."""
        if any(start >= high or stop <= low for (start, stop), (low, high) in zip(cell, box, strict=True)):
            return
        if depth == 0:
            yield prefix
            return
        axis = self.letters[prefix.bit_length() - 1]
        start, stop = cell[axis]
        middle = (start + stop) // 2
        for bit, half in enumerate(((start, middle), (middle, stop))):
            yield from self._prefixes(2 * prefix + bit, depth - 1, (*cell[:axis], half, *cell[axis + 1 :]), box)


def meet(lattice: BlockLattice, box: Box, every: Shape, origin: Shape | None = None) -> Overlap | None:
    """What a block shares with another lattice inside a box; None where that is nothing.

    The other lattice has a sample at every `every`-th place (powers of two) from `origin`, by default from the
    first multiple of `every` in the box.
    """
    mine, others, shape = [], [], []
    for axis, (low, high) in enumerate(box):
        start, stride, step = lattice.start[axis], lattice.stride[axis], max(lattice.stride[axis], every[axis])
        first = start + max(0, -(-(low - start) // step)) * step
        count = -(-(min(high, start + lattice.shape[axis] * stride) - first) // step)
        if count <= 0:
            return None
        base = -(-low // every[axis]) * every[axis] if origin is None else origin[axis]
        mine.append(_every((first - start) // stride, step // stride, count))
        others.append(_every((first - base) // every[axis], step // every[axis], count))
        shape.append(count)
    return Overlap(tuple(mine), tuple(others), tuple(shape))


def _every(first: int, step: int, count: int) -> slice:
    return slice(first, first + (count - 1) * step + 1, step)


@lru_cache(maxsize=8)
def _order(letters: tuple[int, ...], axes: int, first: bool) -> NDArray[Any]:
    """Row-major position -> place in HZ order, of the block whose varying bits are these letters."""
    place = np.arange(1 << len(letters), dtype=np.int32)
    z = place
    if first:  # block 0 holds every level: its places are HZ addresses themselves
        width = np.zeros_like(place)
        for bit in range(len(letters)):
            width += place >> bit > 0
        z = ((2 * place + 1) << (len(letters) - width)) & (len(place) - 1)
    point = np.zeros((axes, len(place)), np.int32)
    filled = [0] * axes
    for shift, axis in enumerate(reversed(letters)):
        point[axis] |= (z >> shift & 1) << filled[axis]
        filled[axis] += 1
    row = np.ravel_multi_index(tuple(point), tuple(1 << n for n in filled))
    order = np.empty_like(place)
    order[row] = place
    return order
