"""A volume: one lazy N-d array of a source, described as data and read box by box.

A `Volume` is plain data (it travels in the plan, as JSON); a `Reader` opens it. Every format module offers
`probe(root, files, parameters) -> Source` and `open_volume(root, volume) -> Reader`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from scray.errors import EmptyInput, Unsupported

Role = Literal["time", "space", "single", "component"]
Box = tuple[tuple[int, int], ...]  # [start, stop) an axis
Array = NDArray[Any]

MAX_SPACE_AXES = 5
PACKED = "packed_bytes"  # an option: what a compressed chunk unpacks to, where that is more than the samples of it
PIECE_BYTES = 8 << 20  # of a source, read at once where its samples are turned or replaced
_ROLES: tuple[Role, ...] = ("time", "space", "component", "single")
IDX_DTYPES = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"})


@dataclass(frozen=True)
class Volume:
    """One array of a source, normalised to (time, space…) plus components; nothing is read yet.

    `source_shape` and `roles` describe the array as the file has it: axes of role "time" are flattened, in order,
    into time steps; "space" axes keep their order (slowest first, z y x); "single" axes have length 1 and vanish;
    one "component" axis holds the samples of an element (RGB). `order` are the source axes in the order in which each
    role takes them, where that is not theirs. `dtype` is what `Reader.read` returns: little-endian, one of IDX_DTYPES.
    `chunks` is the natural unit of reading, in source axes; `compressed` says that touching a part of a chunk costs
    decoding all of it. Samples equal to one of `nothing` are read as `fill`, both numbers of `dtype` as text.
    """

    format: str
    files: tuple[str, ...]  # relative to the input root, in reading order
    selector: str  # the array inside the files, as the format names it ("/entry/data", "air", "series[0]")
    name: str  # what the field is called, before sanitising
    dataset: str  # volumes with one dataset name are fields of one IDX dataset; "" where there is only one
    source_shape: tuple[int, ...]
    source_axes: tuple[str, ...]
    roles: tuple[Role, ...]
    source_dtype: str
    dtype: str
    chunks: tuple[int, ...]
    compressed: bool
    attributes: dict[str, Any] = field(default_factory=dict)  # JSON-safe: units, scale_factor, …
    options: dict[str, Any] = field(default_factory=dict)  # JSON-safe: what the reader of this format needs
    order: tuple[int, ...] = ()
    fill: str = ""
    nothing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.source_shape), len(self.source_axes), len(self.roles), len(self.chunks)}
        if len(lengths) != 1:
            raise ValueError(f"{self.selector}: shape, axes, roles and chunks differ in length")
        if self.dtype not in IDX_DTYPES:
            raise Unsupported(f"{self.selector}: samples of type {self.source_dtype} cannot be stored in IDX")
        if 0 in self.source_shape:
            raise EmptyInput(f"{self.selector} has no samples: its shape is {self.source_shape}")
        if self.roles.count("space") > MAX_SPACE_AXES:
            raise Unsupported(f"{self.selector}: {self.roles.count('space')} axes in space, at most {MAX_SPACE_AXES}")

    def axes_of(self, role: Role) -> tuple[int, ...]:
        """The positions of the source axes with this role, in the order in which they are taken."""
        return tuple(i for i in self.order or range(len(self.roles)) if self.roles[i] == role)

    @property
    def taken(self) -> tuple[int, ...]:
        """The source axes as `Reader.read_steps` has them: time, space (slowest first), components, and the rest."""
        return tuple(i for role in _ROLES for i in self.axes_of(role))

    @property
    def turned(self) -> bool:
        """Whether samples have to be put into another order than the file's."""
        long = [i for i in self.taken if self.roles[i] != "single"]
        return long != sorted(long)

    @property
    def steps(self) -> int:
        """Time steps; 1 where there is no time."""
        return math.prod(self.source_shape[i] for i in self.axes_of("time"))

    @property
    def space(self) -> tuple[int, ...]:
        """The shape of one time step, C order (z y x), without components; (1,) for a single sample."""
        return tuple(self.source_shape[i] for i in self.axes_of("space")) or (1,)

    @property
    def components(self) -> int:
        return math.prod(self.source_shape[i] for i in self.axes_of("component"))

    @property
    def sample_bytes(self) -> int:
        """Bytes of one element, all its components."""
        return self.components * np.dtype(self.dtype).itemsize

    @property
    def step_bytes(self) -> int:
        return math.prod(self.space) * self.sample_bytes

    @property
    def total_bytes(self) -> int:
        return self.steps * self.step_bytes

    @property
    def axis_names(self) -> tuple[str, ...]:
        """The names of the axes in space, in the order of `space`."""
        return tuple(self.source_axes[i] for i in self.axes_of("space")) or ("x",)

    @property
    def space_chunks(self) -> tuple[int, ...]:
        """The natural chunk in the axes of `space`, clipped to it."""
        chunk = tuple(min(self.chunks[i], self.source_shape[i]) for i in self.axes_of("space"))
        return chunk or (1,)

    @property
    def step_chunk(self) -> int:
        """How many consecutive time steps one source chunk spans."""
        axes = self.axes_of("time")
        return min(self.chunks[axes[-1]], self.source_shape[axes[-1]]) if axes else 1


def roles_for(
    shape: tuple[int, ...], *, time_axis: int | None = None, component_axis: int | None = None
) -> tuple[Role, ...]:
    """The usual roles: the named time and component axes, length-1 axes vanish, what exceeds 5-D becomes time."""
    roles: list[Role] = ["single" if n == 1 else "space" for n in shape]
    if time_axis is not None:
        roles[time_axis] = "time"
    if component_axis is not None:
        roles[component_axis] = "component"
    surplus = roles.count("space") - MAX_SPACE_AXES
    for i, role in enumerate(roles):
        if role == "space" and surplus > 0:
            roles[i] = "time"
            surplus -= 1
    return tuple(roles)


@dataclass(frozen=True)
class Linked:
    """An IDX header among the linked files, by its name in the result, whose blocks are to be checked."""

    header: str
    raw_bytes: int  # of all its samples, uncompressed
    block_bytes: int  # of one block


@dataclass(frozen=True)
class Source:
    """What probing an input found: its volumes (the principal dataset first), or files to keep as they are.

    `metadata` is JSON-safe and ends in metadata.json. `links` are (input file, name in the result), relative to the
    input root and the result: for inputs that are already IDX, or nothing that can be converted. `linked` are the IDX
    headers among them, the principal one first, each once.
    """

    format: str
    volumes: tuple[Volume, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    linked: tuple[Linked, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def gathered(notes: Sequence[str], limit: int = 50) -> tuple[str, ...]:
    """Notes, the surplus counted."""
    if len(notes) <= limit:
        return tuple(notes)
    return (*notes[:limit], f"{len(notes) - limit} more notes of this kind are left out.")


class Reader(ABC):
    """An open volume. One thread at a time; a context manager."""

    def __init__(self, root: Path, volume: Volume) -> None:
        self.root = root
        self.volume = volume

    @abstractmethod
    def read_source(self, box: Box) -> Array:
        """The samples of a box in source axes, `volume.dtype`, shape of the box; raises BadInput and its kind."""

    @abstractmethod
    def close(self) -> None: ...

    def unwritten(self, box: Box) -> Iterator[Box]:  # noqa: ARG002 - most formats do not know
        """The parts of a box in source axes for which the source has no samples at all."""
        return iter(())

    def read(self, step: int, box: Box) -> Array:
        """One time step of a box in space: shape of the box, plus (components,) where there are several."""
        axes = self.volume.axes_of("time")
        lengths = tuple(self.volume.source_shape[i] for i in axes)
        at = np.unravel_index(step, lengths) if axes else ()
        found: Array = self._taken({axis: (int(i), int(i) + 1) for axis, i in zip(axes, at, strict=True)}, box)[0]
        return found

    def read_steps(self, steps: tuple[int, int], box: Box) -> Array:
        """Several time steps of a box: as `read`, with the steps in front; source chunks are touched once."""
        axes = self.volume.axes_of("time")
        if len(axes) > 1:
            return np.stack([self.read(step, box) for step in range(*steps)])
        return self._taken(dict.fromkeys(axes, steps), box)

    def _taken(self, times: Mapping[int, tuple[int, int]], box: Box) -> Array:
        """These spans of the time axes, and this box of space: (steps, *box[, components]), C order."""
        volume = self.volume
        spans = {**dict(zip(volume.axes_of("space"), box, strict=False)), **times}
        source = tuple(spans.get(axis, (0, length)) for axis, length in enumerate(volume.source_shape))
        out = self._laid(source) if volume.turned or volume.fill else self.read_source(source)
        tail = (volume.components,) if volume.components > 1 else ()
        return np.ascontiguousarray(out).reshape(-1, *(stop - start for start, stop in box), *tail)

    def _laid(self, box: Box) -> Array:
        """A box in source axes, laid out as it is taken: read piece by piece, each source chunk of it once."""
        volume = self.volume
        out = np.empty(tuple(box[i][1] - box[i][0] for i in volume.taken), volume.dtype)
        stored = out.transpose(np.argsort(volume.taken))
        for piece in pieces(volume, box):
            stored[_within(piece, box)] = self._filled(self.read_source(piece))
            for hole in self.unwritten(piece) if volume.fill else ():
                stored[_within(hole, box)] = np.dtype(volume.dtype).type(volume.fill)
        return out

    def _filled(self, array: Array) -> Array:
        """The same with what stands for nothing replaced."""
        number = np.dtype(self.volume.dtype).type
        found: Array = array
        for value in map(number, self.volume.nothing):
            absent = np.isnan(array) if value != value else array == value
            found = np.where(absent, number(self.volume.fill), found)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def raw_bytes(array: Array) -> memoryview:
    """The bytes of an array in C order; a copy only where the array is not contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def grid(shape: tuple[int, ...], cell: tuple[int, ...]) -> list[Box]:
    """The boxes that tile a shape by cells, C order; the last of an axis is clipped."""
    spans = [[(a, min(a + c, n)) for a in range(0, n, c)] for n, c in zip(shape, cell, strict=True)]
    return list(product(*spans))


def pieces(volume: Volume, box: Box) -> Iterator[Box]:
    """The parts of a box in source axes that are read at once: of about PIECE_BYTES, cut where chunks end."""
    unit = volume.chunks if volume.compressed else (1,) * len(volume.chunks)
    spanned = [-(-stop // n) - start // n for (start, stop), n in zip(box, unit, strict=True)]
    held = math.prod(unit) * np.dtype(volume.dtype).itemsize
    cell = list(unit)
    for axis in reversed(range(len(cell))):
        times = max(1, min(PIECE_BYTES // held, spanned[axis]))
        cell[axis] *= times
        held *= times
    return product(*(_cut(span, n, size) for span, n, size in zip(box, unit, cell, strict=True)))


def overlap(one: Box, other: Box) -> Box | None:
    """What two boxes share; None where that is nothing."""
    shared = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))
    return shared if all(start < stop for start, stop in shared) else None


def _within(box: Box, outer: Box) -> tuple[slice, ...]:
    return tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(box, outer, strict=True))


def _cut(span: tuple[int, int], unit: int, size: int) -> list[tuple[int, int]]:
    """A span in parts of `size`, the first of which begins where a unit does."""
    start, stop = span
    edges = [start, *range(start // unit * unit + size, stop, size), stop]
    return list(pairwise(edges))
