"""Chunks whose last HDF5 filter is scale-offset, which carries no checksum: whether each is as long as it says.

A chunk begins with its number of bits a sample (4 bytes, little-endian), 21 bytes before the packed samples; the
library unpacks behind the end of a shorter one (HDF5 File Format Specification 3.0, "Filter Pipeline"; H5Zscaleoffset).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from scray.errors import TruncatedInput

HEAD_BYTES = 21


def check_scaled(path: Path, item: Any, name: str) -> None:
    """Raises TruncatedInput for a chunk of `item`, a dataset of the file `path`, that ends before its samples."""
    properties = item.id.get_create_plist()
    last = properties.get_nfilters() - 1
    if last < 0 or properties.get_filter(last)[0] != h5py.h5z.FILTER_SCALEOFFSET:
        return
    samples = int(np.prod(item.chunks, dtype=object))
    whole = samples * sample_bytes(item)
    short: list[tuple[int, ...]] = []
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def look(chunk: Any) -> None:
        if chunk.filter_mask >> last & 1 or (chunk.size == whole and at_the_edge(item, chunk.chunk_offset)):
            return
        bits = int.from_bytes(os.pread(fd, 4, chunk.byte_offset), "little")
        if bits > 8 * sample_bytes(item) or chunk.size < HEAD_BYTES + -(-samples * bits // 8):
            short.append(chunk.chunk_offset)

    try:
        item.id.chunk_iter(look)
    finally:
        os.close(fd)
    if short:
        raise TruncatedInput(f"{name}: the chunk at {short[0]} is shorter than the samples it should hold.")


def at_the_edge(item: Any, corner: tuple[int, ...]) -> bool:
    """Whether a chunk reaches past its dataset: those may be stored as they are, filters or not, if the dataset says so
    ("Data Layout Message", DONT_FILTER_PARTIAL_BOUND_CHUNKS), which h5py does not tell.
    """
    return any(at + chunk > length for at, chunk, length in zip(corner, item.chunks, item.shape, strict=True))


def sample_bytes(item: Any) -> int:
    """Of a sample in the file: numpy has another size of short floats."""
    return int(item.id.get_type().get_size())
