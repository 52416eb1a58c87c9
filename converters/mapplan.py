"""Which memory maps 4-D dashboards look for beside an HDF5 file, and how the work of writing them is divided.

A map holds one dataset as C-order float32, in its own shape, in `<stem>.<path with / as _>.float32.dat`. Tasks write
slabs of the first axis, which are consecutive bytes of it, each in a part of its own.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath

import numpy as np

from converters.volume import Box, Volume

SUFFIX = ".float32.dat"
SLAB_BYTES = 256 << 20
MIN_AXES = 3
NAME_BYTES = 255


def map_name(volume: Volume) -> str:
    """The name of a volume's map; "" where dashboards look for none."""
    path = str(volume.options.get("path", ""))
    whole = volume.format == "hdf5" and volume.selector == path and len(volume.files) == 1
    if not whole or len(volume.source_shape) < MIN_AXES:
        return ""
    name = f"{PurePosixPath(volume.files[0]).stem}.{path.strip('/').replace('/', '_')}{SUFFIX}"
    return name if len(name.encode()) <= NAME_BYTES - 24 else ""


def shared_names(volumes: Iterable[Volume]) -> dict[str, list[str]]:
    """Names of maps that several datasets would have, and these: /a/b_c and /a_b/c. Maps show one."""
    found: dict[str, list[str]] = {}
    for volume in volumes:
        if name := map_name(volume):
            found.setdefault(name, []).append(volume.selector)
    return {name: selectors for name, selectors in found.items() if len(selectors) > 1}


def is_map(name: str, names: Collection[str]) -> bool:
    """Whether a file is a memory map that belongs to another one beside it; such a file is no input."""
    path = PurePosixPath(name)
    if not path.name.endswith(SUFFIX):
        return False
    stems = {PurePosixPath(other).stem for other in names if PurePosixPath(other).parent == path.parent}
    parts = path.name.removesuffix(SUFFIX).split(".")
    return any(".".join(parts[:at]) in stems for at in range(1, len(parts)))


def map_bytes(volume: Volume) -> int:
    return 4 * math.prod(volume.source_shape)


def slabs(volume: Volume) -> Iterator[Box]:
    """The boxes, in source axes, that tasks write: whole chunks of the first axis, enough to make a task worthwhile."""
    first, *rest = volume.source_shape
    unit = _unit(volume)[0]
    rows = max(unit, SLAB_BYTES // (4 * math.prod(rest)) // unit * unit)
    for start in range(0, first, rows):
        yield ((start, min(start + rows, first)), *((0, n) for n in rest))


def cell(volume: Volume, slab: Box, budget_bytes: int) -> tuple[int, ...]:
    """What is read at once: whole chunks, as many as fit, full along the last axis first; at least one."""
    sizes = [stop - start for start, stop in slab]
    found = [min(n, u) for n, u in zip(sizes, _unit(volume), strict=True)]
    held = cell_bytes(volume, tuple(found))
    for axis in reversed(range(len(found))):
        times = max(1, min(budget_bytes // held, -(-sizes[axis] // found[axis])))
        found[axis] = min(found[axis] * times, sizes[axis])
        held *= times
    return tuple(found)


def cell_bytes(volume: Volume, shape: tuple[int, ...]) -> int:
    """Memory for one cell: as it is stored, and as float32."""
    return math.prod(shape) * (np.dtype(volume.dtype).itemsize + 4)


def _unit(volume: Volume) -> tuple[int, ...]:
    return volume.chunks if volume.compressed else (1,) * len(volume.chunks)
