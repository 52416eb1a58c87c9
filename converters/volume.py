"""A volume: one lazy N-d array of a source, described as data and read box by box.

A `Volume` is plain data (it travels in the plan, as JSON); a `Reader` opens it. Every format module offers
`probe(root, files, parameters) -> Source` and `open_volume(root, volume) -> Reader`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from itertools import product
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
IDX_DTYPES = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"})


@dataclass(frozen=True)
class Volume:
    """One array of a source, normalised to (time, space…) plus components; nothing is read yet.

    `source_shape` and `roles` describe the array as the file has it: axes of role "time" are flattened, in order,
    into time steps; "space" axes keep their order (slowest first, z y x); "single" axes have length 1 and vanish;
    one "component" axis, the last, holds the samples of an element (RGB). `dtype` is what `Reader.read` returns:
    little-endian, one of IDX_DTYPES. `chunks` is the natural unit of reading, in source axes; `compressed` says that
    touching a part of a chunk costs decoding all of it.
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
        """The positions of the source axes with this role."""
        return tuple(i for i, r in enumerate(self.roles) if r == role)

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

    def read(self, step: int, box: Box) -> Array:
        """One time step of a box in space: shape of the box, plus (components,) where there are several."""
        volume = self.volume
        at = self._time_index(step)
        space = iter(box)
        source: list[tuple[int, int]] = []
        for role, length, t in zip(volume.roles, volume.source_shape, at, strict=True):
            if role == "time":
                source.append((t, t + 1))
            elif role == "space":
                source.append(next(space))
            else:
                source.append((0, length))
        out = self.read_source(tuple(source))
        shape = tuple(stop - start for start, stop in box)
        tail = (volume.components,) if volume.components > 1 else ()
        return np.ascontiguousarray(out).reshape(shape + tail)

    def read_steps(self, steps: tuple[int, int], box: Box) -> Array:
        """Several time steps of a box: as `read`, with the steps in front; source chunks are touched once."""
        axes = self.volume.axes_of("time")
        if not axes:
            return self.read(0, box)[np.newaxis]
        if len(axes) != 1:
            return np.stack([self.read(step, box) for step in range(*steps)])
        space = iter(box)
        source = tuple(
            steps if role == "time" else next(space) if role == "space" else (0, length)
            for role, length in zip(self.volume.roles, self.volume.source_shape, strict=True)
        )
        out = np.moveaxis(self.read_source(source), axes[0], 0)
        tail = (self.volume.components,) if self.volume.components > 1 else ()
        shape = tuple(stop - start for start, stop in (steps, *box))
        return np.ascontiguousarray(out).reshape(shape + tail)

    def _time_index(self, step: int) -> tuple[int, ...]:
        axes = self.volume.axes_of("time")
        lengths = tuple(self.volume.source_shape[i] for i in axes)
        at = dict(zip(axes, np.unravel_index(step, lengths) if axes else (), strict=True))
        return tuple(int(at.get(i, 0)) for i in range(len(self.volume.roles)))

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
