"""The geometry of an IDX v6 volume: a kd-tree of row-major blocks, cut into files and bricks.

A volume with bitmask b1…bM (coarse to fine, one axis a letter) is the kd-tree that splits along b1, b2, … Nodes are
numbered as in a heap: the root is 1, the children of n are 2n and 2n+1. With 2^B samples a block and 2^F blocks a
file, block b >= 1 *is* node b, and holds the samples of one level inside that node, a plain strided slice; block 0
holds the coarsest levels 0…B. File f >= 1 is node f and holds the blocks f·2^F … (f+1)·2^F - 1, its descendants F
levels down; file 0 holds the blocks below 2^F. A node at depth D therefore owns every file of its subtree, and what it
cannot own, its samples at levels up to D+F+B, is one strided slice of a file's worth of samples: the residual.

All shapes are in C order (z y x); in the bitmask and the header x is axis 0.
Source: the OpenVisus format, version 6, as its readers define it; Pascucci and Frank's hierarchical Z order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

Shape = tuple[int, ...]


def guess_bitmask(shape: Shape) -> str:
    """The bitmask OpenVisus gives this shape, as digits without the leading V.

    The axes take turns, x first, coarse to fine, as long as they have a sample left to split.
    """
    left = [max(n - 1, 0).bit_length() for n in reversed(shape)]
    letters: list[str] = []
    while any(left):
        for axis, bits in enumerate(left):
            if bits:
                left[axis] -= 1
                letters.append(str(axis))
    return "".join(letters) or "0"  # a single sample: readers want one letter


@dataclass(frozen=True)
class Lattice:
    """Every `stride`-th sample from `start`, `shape` of them an axis, C order; may reach past the volume."""

    start: Shape
    stride: Shape
    shape: Shape

    def inside(self, volume: Shape) -> Shape:
        """How many samples of each axis lie inside a volume; a 0 means that the lattice misses it."""
        return tuple(
            max(0, min(n, -(-(size - first) // step)))
            for first, step, n, size in zip(self.start, self.stride, self.shape, volume, strict=True)
        )


@dataclass(frozen=True)
class Geometry:
    """One IDX volume: `shape` (z y x), `bitmask` digits, B = bits_per_block, F = file_bits."""

    shape: Shape
    bitmask: str
    bits_per_block: int
    file_bits: int

    def __post_init__(self) -> None:
        if self.bits_per_block > len(self.bitmask):
            raise ValueError(f"{self.bits_per_block} bits a block exceed the {len(self.bitmask)} of the bitmask")

    @property
    def levels(self) -> int:
        """M: the number of letters; full resolution is level M."""
        return len(self.bitmask)

    @property
    def block_samples(self) -> int:
        return 1 << self.bits_per_block

    @property
    def blocks_per_file(self) -> int:
        return 1 << self.file_bits

    @cached_property
    def _counts(self) -> tuple[Shape, ...]:
        """Letters of each axis (C order) among the first i letters, for i in 0…M."""
        row = [0] * len(self.shape)
        rows = [tuple(row)]
        for letter in self.bitmask:
            row[len(self.shape) - 1 - int(letter)] += 1
            rows.append(tuple(row))
        return tuple(rows)

    def extent(self, first: int, last: int) -> Shape:
        """2^(letters of each axis among b(first+1)…b(last)), C order."""
        low, high = self._counts[first], self._counts[last]
        return tuple(1 << (b - a) for a, b in zip(low, high, strict=True))

    def corner(self, node: int) -> Shape:
        """The first sample of a node's box."""
        depth = node.bit_length() - 1
        corner = [0] * len(self.shape)
        for i in range(depth):
            axis = len(self.shape) - 1 - int(self.bitmask[i])
            if node >> (depth - 1 - i) & 1:
                corner[axis] += 1 << (self._counts[self.levels][axis] - self._counts[i + 1][axis])
        return tuple(corner)

    def node_box(self, node: int) -> tuple[tuple[int, int], ...]:
        """The node's samples inside the volume, [start, stop) an axis; start >= stop where it misses the volume."""
        size = self._node_size(node)
        corner = self.corner(node)
        return tuple((c, min(c + s, n)) for c, s, n in zip(corner, size, self.shape, strict=True))

    def _node_size(self, node: int) -> Shape:
        return self.extent(node.bit_length() - 1, self.levels)

    def has_samples(self, node: int) -> bool:
        return all(c < n for c, n in zip(self.corner(node), self.shape, strict=True))

    def nodes(self, depth: int, under: int = 1) -> Iterator[int]:
        """The nodes at a depth below another that have samples in the volume, in heap order."""
        if not self.has_samples(under):
            return
        if under.bit_length() - 1 == depth:
            yield under
            return
        yield from self.nodes(depth, 2 * under)
        yield from self.nodes(depth, 2 * under + 1)

    def block(self, number: int) -> Lattice:
        """Where the samples of a block lie."""
        bits, levels = self.bits_per_block, self.levels
        if number == 0:
            return Lattice((0,) * len(self.shape), self.extent(bits, levels), self.extent(0, bits))
        depth = number.bit_length() - 1
        level = depth + bits + 1
        if level > levels:
            raise ValueError(f"block {number} lies below the finest level")
        stride = self.extent(level - 1, levels)
        axis = len(self.shape) - 1 - int(self.bitmask[level - 1])
        start = list(self.corner(number))
        start[axis] += stride[axis] // 2
        return Lattice(tuple(start), stride, self.extent(depth, depth + bits))

    def block_is_stored(self, number: int) -> bool:
        """True where a sample of the block lies inside the volume."""
        return all(self.block(number).inside(self.shape))

    def stored_blocks(self, file: int) -> list[int]:
        """The blocks of a file that have a sample inside the volume."""
        deepest = 1 << max(self.levels - self.bits_per_block, 0)
        first = file << self.file_bits
        if file and all(b - a == n for (a, b), n in zip(self.node_box(file), self._node_size(file), strict=True)):
            return list(range(first, first + self.blocks_per_file))  # the whole node lies inside
        return [b for b in range(first, min(first + self.blocks_per_file, deepest)) if self.block_is_stored(b)]

    def files(self, node: int) -> Iterator[int]:
        """The files (>= 1) of a node's subtree that hold a stored block, in heap order of depth."""
        deepest = self.levels - self.bits_per_block - 1 - self.file_bits
        for depth in range(node.bit_length() - 1, deepest + 1):
            yield from (f for f in self.nodes(depth, node) if self.stored_blocks(f))

    def coarsened(self, levels: int) -> Geometry:
        """The same volume cut down to its first levels: every 2^k-th sample of each axis."""
        stride = self.extent(levels, self.levels)
        shape = tuple(-(-n // s) for n, s in zip(self.shape, stride, strict=True))
        return Geometry(shape, self.bitmask[:levels], min(self.bits_per_block, levels), self.file_bits)

    def residual_levels(self, depth: int) -> int:
        """The levels that a brick at this depth cannot own and passes up: D+F+B, at most M."""
        return min(depth + self.file_bits + self.bits_per_block, self.levels)

    def residual_stride(self, depth: int) -> Shape:
        """The stride of a brick's residual."""
        return self.extent(self.residual_levels(depth), self.levels)

    def padded_samples(self) -> int:
        """Samples that the stored blocks hold, padding included; an upper bound for planning disk space."""
        cell = self.extent(max(self.levels - self.bits_per_block - 1, 0), self.levels)
        return math.prod(-(-n // c) * c for n, c in zip(self.shape, cell, strict=True))


def choose(shape: Shape, sample_bytes: int, *, file_bytes: int, block_bits: int) -> Geometry:
    """B = block_bits (or all levels of a small volume); F the largest whose raw file fits `file_bytes`."""
    bitmask = guess_bitmask(shape)
    bits = min(block_bits, len(bitmask))
    room = max(file_bytes // (sample_bytes << bits), 1).bit_length() - 1
    return Geometry(shape, bitmask, bits, max(0, min(room, len(bitmask) - bits)))
