"""What a header promises: the files that must be there, as the reader finds them."""

from __future__ import annotations

from collections.abc import Iterator

from scray.idx.header import Header
from scray.idx.hz import HzOrder


def first_blocks(header: Header) -> list[int]:
    """The first block of every file that holds a sample, at any time step; ascending.

    Blocks are looked at in groups of 2^k that share a file: those with 2^(B+k) samples are a block of a coarser order.
    """
    joined = 0
    if header.interleave <= 1:
        aligned = (header.blocks_per_file & -header.blocks_per_file).bit_length() - 1
        joined = min(aligned, header.max_level - header.bits_per_block)
    order = HzOrder(header.bitmask, header.bits_per_block + joined, len(header.box))
    box = tuple((low, high + 1) for low, high in reversed(header.box))
    found: list[int] = []
    for group in order.blocks(box, header.max_level):
        first = (group << joined) - header.position_in_file(group << joined)
        if not found or found[-1] != first:
            found.append(first)
    return found


def promised_files(header: Header) -> Iterator[str]:
    """Every block file, relative to the folder of the header; each once."""
    firsts = first_blocks(header)
    names = [f.name for f in header.fields] if header.arco else [header.fields[0].name]
    for step in header.steps():
        for name in names:
            for block in firsts:
                yield header.block_file(block, name, step)
