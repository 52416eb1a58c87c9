"""Compares what is on disk with samples in memory, bit for bit, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from converters.volume import Array
from scray.errors import ScrayError, VerificationFailed
from scray.idx import codecs
from scray.idx.header import Header
from scray.idx.hz import BlockLattice, Overlap, Shape, meet
from scray.idx.reader import Dataset


def check_blocks(
    root: Path,
    header: Header,
    step: int,
    first_block: int,
    fields: Mapping[int, Array],
    origin: Shape,
    stride: Shape,
) -> None:
    """Every block that the header promises in one file holds the samples of these arrays, bit for bit.

    The file is the one with block `first_block` at a time step, below `root`, the folder of the header; it is opened
    anew and addressed as the reader does. `fields` holds an array for each field number to compare, z y x and
    components: every `stride`-th sample of the volume from `origin`. Raises VerificationFailed, naming file and block.
    """
    box = tuple((low, high + 1) for low, high in reversed(header.box))
    with Dataset(root, header) as dataset:
        for block in range(first_block, min(first_block + header.blocks_per_file, header.total_blocks)):
            lattice = dataset.block_lattice(block)
            inside = meet(lattice, box, (1,) * len(box))
            for index, array in fields.items() if inside else ():
                assert inside
                overlap = _place(lattice, array.shape[: len(box)], origin, stride, inside, block)
                _check_block(dataset, block, step, index, array, overlap)


def _place(lattice: BlockLattice, shape: Shape, origin: Shape, stride: Shape, inside: Overlap, block: int) -> Overlap:
    """Where the samples of a block lie in the array; all of them that are in the volume must."""
    held = tuple((o, o + (n - 1) * s + 1) for o, n, s in zip(origin, shape, stride, strict=True))
    overlap = meet(lattice, held, stride, origin)
    between = [(a - o) % s or t % s for a, t, o, s in zip(lattice.start, lattice.stride, origin, stride, strict=True)]
    if overlap is None or overlap.shape != inside.shape or any(between):
        raise VerificationFailed(f"block {block} reaches beyond the samples that it was made from")
    return overlap


def _check_block(dataset: Dataset, block: int, step: int, index: int, array: Array, overlap: Overlap) -> None:
    try:
        check_flags(dataset, block, step, index)
        stored = dataset.read_block(block, step, index)
    except ScrayError as error:
        raise VerificationFailed(f"What was written cannot be read back: {error.message}") from error
    assert stored is not None
    difference = first_difference(stored[overlap.block], array[overlap.other])
    if difference is not None:
        where = dataset.named(block, step, index)
        raise VerificationFailed(f"{where} differs from its source, first at its sample {difference}")


def check_flags(dataset: Dataset, block: int, step: int, index: int) -> None:
    """A stored block has the codec and layout its field declares; raises VerificationFailed, and as reading does."""
    field = dataset.header.fields[index]
    wanted = codecs.word_flag(field.codec) | (codecs.ROW_MAJOR if field.row_major else 0)
    flags = dataset.entry(block, step, index).flags
    if flags != wanted:
        where = dataset.named(block, step, index)
        raise VerificationFailed(f"{where} is stored with flags {flags:#04x}, its header says {wanted:#04x}")


def first_difference(one: Array, other: Array) -> tuple[int, ...] | None:
    """The place of the first sample whose bits differ, NaN payloads included; None where all are the same."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return (0,) * one.ndim
    bits = f"u{one.dtype.itemsize}"
    same = one.view(bits) == other.view(bits)
    if same.all():
        return None
    return tuple(int(i) for i in np.unravel_index(int(same.argmin()), same.shape))
