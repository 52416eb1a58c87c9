"""The fields of an IDX dataset as volumes, so that it can be written anew in our profile and codec."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np

from converters.faults import check_size, reading
from converters.volume import Array, Box, Reader, Role, Volume
from scray.errors import Unsupported
from scray.idx.header import Header
from scray.idx.reader import Dataset, read_header


def volumes_of(header: Header, name: str) -> tuple[Volume, ...]:
    """One volume a field, all of one dataset: time, z, y, x, components.

    Raises Unsupported where the ranges of time steps overlap or do not ascend: steps are written in their order.
    """
    if header.time and any(one[-1] >= other[0] for one, other in pairwise(header.time.ranges)):
        raise Unsupported(f"{name} names time steps twice or out of order; it can only be kept as it is.")
    check_size(name, header.step_count * int(np.prod(header.shape, dtype=object)), 1)
    return tuple(_volume(header, name, index) for index in range(len(header.fields)))


def _volume(header: Header, name: str, index: int) -> Volume:
    field = header.fields[index]
    many, parts = header.step_count > 1, field.components > 1
    axes = tuple(reversed(header.axis)) if len(header.axis) == len(header.box) else _letters(len(header.box))
    space = tuple("single" if n == 1 else "space" for n in header.shape)
    roles = cast(tuple[Role, ...], ("time",) * many + space + ("component",) * parts)
    return Volume(
        format="idx",
        files=(name,),
        selector=f"{name}#{field.name}",
        name=field.name,
        dataset="",
        source_shape=(header.step_count,) * many + header.shape + (field.components,) * parts,
        source_axes=("time",) * many + axes + ("component",) * parts,
        roles=roles,
        source_dtype=field.dtype,
        dtype=field.dtype,
        chunks=(1,) * many + _fine_block(header) + (field.components,) * parts,
        compressed=field.codec != "raw",
        options={"field": index},
    )


def _letters(count: int) -> tuple[str, ...]:
    return tuple(reversed("xyzuv"[:count]))


def _fine_block(header: Header) -> tuple[int, ...]:
    """The extent of a block of the finest level, z y x."""
    lattice = Dataset(Path(), header).block_lattice(header.total_blocks - 1)
    return tuple(
        min(n, stride * count) for n, stride, count in zip(header.shape, lattice.stride, lattice.shape, strict=True)
    )


class IdxReader(Reader):
    """Reads boxes of one field through the reader that judges what we write; absent blocks are errors."""

    def __init__(self, root: Path, volume: Volume) -> None:
        super().__init__(root, volume)
        path = root / PurePosixPath(volume.files[0])
        with reading(volume.files[0], "IDX"):
            self._dataset = Dataset(path.parent, read_header(path))
        self._steps = list(self._dataset.header.steps())

    def read_source(self, box: Box) -> Array:
        """The samples of a box in source axes."""
        header = self._dataset.header
        many = len(self._steps) > 1
        times = self._steps[slice(*box[0])] if many else self._steps
        space = box[many : many + len(header.box)]
        moved = tuple((a + low, b + low) for (a, b), (low, _) in zip(space, reversed(header.box), strict=True))
        with reading(self.volume.files[0], "IDX"):
            parts = [self._dataset.read(moved, step, self.volume.options["field"]) for step in times]
        return np.stack(parts) if many else parts[0]

    def close(self) -> None:
        self._dataset.close()


def open_volume(root: Path, volume: Volume) -> Reader:
    """A reader of a volume that `volumes_of` described."""
    return IdxReader(root, volume)
