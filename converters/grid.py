"""A grid: one IDX dataset of the result, the volumes that are its fields, and how they are cut into bricks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from converters.volume import Volume
from scray.idx import codecs
from scray.idx.geometry import Geometry, Shape, choose
from scray.idx.header import Field, Header, TimeRange, field_names
from scray.idx.template import default_template
from scray.storage import DATA_FOLDER

LOCAL_BLOCK_BITS = 16
CLOUD_BLOCK_BYTES = 1 << 20
DEFAULT_FILE_BYTES = 32 << 20
MAX_BLOCK_BYTES = 8 << 20  # one block of all fields; beyond, the fields are split over several grids


@dataclass(frozen=True)
class Grid:
    """Fields that share a shape and time steps, and so share files.

    `shape` is z y x of one time step; `depth` (D) is the depth of the bricks in the kd-tree, `fan` (k) how many
    levels a merge climbs; both depend on memory and workers and change no byte of the result.
    """

    name: str  # folder of the dataset in the result; "" where there is only one
    volumes: tuple[int, ...]  # which volumes of the source, one field each
    fields: tuple[str, ...]  # their names in the header
    dtypes: tuple[str, ...]
    components: tuple[int, ...]
    shape: Shape
    steps: int
    bitmask: str
    bits_per_block: int
    file_bits: int
    arco: bool
    depth: int = 0
    fan: int = 1
    strategy: str = "direct"
    amplification: float = 1.0

    @cached_property
    def geometry(self) -> Geometry:
        return Geometry(self.shape, self.bitmask, self.bits_per_block, self.file_bits)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one element over all fields."""
        return sum(np.dtype(d).itemsize * c for d, c in zip(self.dtypes, self.components, strict=True))

    @property
    def file_bytes(self) -> int:
        """Raw bytes of one full block file, all fields."""
        return self.sample_bytes << (self.bits_per_block + self.file_bits)

    @property
    def step_bytes(self) -> int:
        return math.prod(self.shape) * self.sample_bytes

    def path(self, name: str) -> str:
        """A name inside this dataset, relative to the result."""
        return f"{self.name}/{name}" if self.name else name

    def header(self, codec: str, folder: str) -> Header:
        """The header of this dataset, without minima and maxima; block files lie under `folder`."""
        word = codecs.profile(codec).word
        fields = tuple(
            Field(name=n, dtype=d, components=c, codec=word, row_major=True, default_value=0)
            for n, d, c in zip(self.fields, self.dtypes, self.components, strict=True)
        )
        largest = max(np.dtype(d).itemsize * c for d, c in zip(self.dtypes, self.components, strict=True))
        digits = len(str(self.steps - 1))
        return Header(
            version=6,
            box=tuple((0, n - 1) for n in reversed(self.shape)),
            bitmask="V" + self.bitmask,
            bits_per_block=self.bits_per_block,
            blocks_per_file=1 << self.file_bits,
            fields=fields,
            time=TimeRange(0, self.steps - 1, 1, f"time_%0{digits}d/") if self.steps > 1 else None,
            filename_template=default_template(folder, len(self.bitmask), self.bits_per_block),
            arco=largest << self.bits_per_block if self.arco else 0,
        )


def grids_for(volumes: tuple[Volume, ...], profile: str, file_bytes: int) -> list[Grid]:
    """The grids of a source, without bricks: one for each group of volumes that share dataset, shape and steps.

    The first volume's grid, the principal one, comes first.
    """
    groups: dict[tuple[str, Shape, int, int], list[int]] = {}
    filled: dict[tuple[str, Shape, int], tuple[int, int]] = {}
    for index, volume in enumerate(volumes):
        key = (volume.dataset, volume.space, volume.steps)
        block = volume.sample_bytes << LOCAL_BLOCK_BITS
        part, used = filled.get(key, (0, 0))
        if used and used + block > MAX_BLOCK_BYTES:
            part, used = part + 1, 0
        filled[key] = (part, used + block)
        groups.setdefault((*key, part), []).append(index)
    labels = _labels([key[0] for key in groups])
    return [
        _grid(label, tuple(members), volumes, profile, file_bytes)
        for label, members in zip(labels, groups.values(), strict=True)
    ]


def _labels(datasets: list[str]) -> tuple[str, ...]:
    """Folder names of the datasets; never one that looks like a data folder, or `visus`, where ARCO data lie."""
    if len(datasets) == 1:
        return ("",)
    names = field_names([d or "data" for d in datasets])
    return tuple(f"{n}_" if DATA_FOLDER.fullmatch(n) or n.lower() == "visus" else n for n in names)  # none ends in _


def _grid(label: str, members: tuple[int, ...], volumes: tuple[Volume, ...], profile: str, file_bytes: int) -> Grid:
    first = volumes[members[0]]
    cloud = profile == "cloud"
    largest = max(volumes[i].sample_bytes for i in members)
    block_bits = max(1, (CLOUD_BLOCK_BYTES // largest).bit_length() - 1) if cloud else LOCAL_BLOCK_BITS
    together = sum(volumes[i].sample_bytes for i in members)
    geometry = choose(first.space, together, file_bytes=0 if cloud else file_bytes, block_bits=block_bits)
    return Grid(
        name=label,
        volumes=members,
        fields=field_names([volumes[i].name for i in members]),
        dtypes=tuple(volumes[i].dtype for i in members),
        components=tuple(volumes[i].components for i in members),
        shape=first.space,
        steps=first.steps,
        bitmask=geometry.bitmask,
        bits_per_block=geometry.bits_per_block,
        file_bits=geometry.file_bits,
        arco=cloud,
    )
