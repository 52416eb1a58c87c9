"""Several files of one kind as one volume: stacked along a new axis, or laid end to end along their time axis."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from converters.volume import Array, Box, Reader, Role, Volume
from scray.errors import MixedInput

OPEN_FILES = 16
# What decides the meaning of stored numbers: files that differ in one of these cannot share an array.
MEANING = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned", "units")
SERIES = "time_series"  # an option: the first axis is time, though there is too little else to make time steps of it
Opener = Callable[[Path, Volume], Reader]


def join(volumes: Sequence[Volume], role: Role, axis: str) -> Volume:
    """One volume made of the same array in every file, in this order; raises MixedInput by name.

    Arrays whose first axis is time are laid end to end, however long each is; others, all of one shape, are stacked
    along a new first axis with this role and name. Time of a mere series (`SERIES`) stays an axis in space.
    """
    first = volumes[0]
    if len(volumes) == 1:
        return first
    along = first.roles[0] == "time" or SERIES in first.options
    for other in volumes[1:]:
        _check_alike(first, other, 1 if along else 0)
    files = tuple(volume.files[0] for volume in volumes)
    lengths = [volume.source_shape[0] if along else 1 for volume in volumes]
    options = {**first.options, "lengths": lengths, "along": along}
    if along:
        shape = (sum(lengths), *first.source_shape[1:])
        roles: tuple[Role, ...] = ("space", *first.roles[1:]) if SERIES in first.options else first.roles
        return replace(first, files=files, source_shape=shape, roles=roles, options=options)
    axes = (axis if axis not in first.source_axes else f"{axis}_of_files", *first.source_axes)
    return replace(
        first,
        files=files,
        source_shape=(len(files), *first.source_shape),
        source_axes=axes,
        roles=(role, *first.roles),
        chunks=(1, *first.chunks),
        options=options,
    )


def _check_alike(first: Volume, other: Volume, start: int) -> None:
    def form(volume: Volume) -> tuple[object, ...]:
        shape, roles = volume.source_shape[start:], volume.roles[start:]
        return shape, volume.source_axes, roles, _type(volume), volume.selector, SERIES in volume.options

    if form(first) != form(other):
        raise MixedInput(
            f"{first.files[0]} holds {_text(first)} and {other.files[0]} holds {_text(other)}: "
            "files of one dataset have to be of one size and type."
        )
    for key in MEANING:
        values = first.attributes.get(key), other.attributes.get(key)
        if values[0] != values[1]:
            raise MixedInput(
                f"{first.selector} has {key} {values[0]} in {first.files[0]} and {values[1]} in {other.files[0]}: "
                "stored numbers that mean different things cannot be joined. Upload the files separately."
            )


def _text(volume: Volume) -> str:
    return f"{'×'.join(map(str, volume.source_shape))} samples of {_type(volume)} in {volume.selector}"


def _type(volume: Volume) -> str:
    """What the samples are, in whatever order each file has their bytes."""
    try:
        return np.dtype(volume.source_dtype).name
    except TypeError:
        return volume.source_dtype  # a table


class JoinedReader(Reader):
    """Reads a joined volume through readers of its files; keeps a few of them open."""

    def __init__(self, root: Path, volume: Volume, opener: Opener, open_files: int = OPEN_FILES) -> None:
        super().__init__(root, volume)
        self._open_files = open_files
        self._opener = opener
        self._open: dict[int, Reader] = {}
        self._stops = list(accumulate(volume.options["lengths"]))

    def read_source(self, box: Box) -> Array:
        """The samples of a box in source axes, from as many files as it touches."""
        out = np.empty(tuple(stop - start for start, stop in box), self.volume.dtype)
        for number, (at, end), inner in self._parts(box):
            piece = self._reader(number).read_source(inner)
            out[at - box[0][0] : end - box[0][0]] = piece.reshape(end - at, *out.shape[1:])
        return out

    def unwritten(self, box: Box) -> Iterator[Box]:
        """The parts for which a file has no samples."""
        for number, (at, end), inner in self._parts(box):
            for hole in self._reader(number).unwritten(inner):
                if self.volume.options["along"]:
                    begin = at - inner[0][0]
                    yield ((hole[0][0] + begin, hole[0][1] + begin), *hole[1:])
                else:
                    yield ((at, end), *hole)

    def _parts(self, box: Box) -> Iterator[tuple[int, tuple[int, int], Box]]:
        """The files that a box touches: number, span along the joined axis, and the box in the file's own axes."""
        at, stop = box[0]
        while at < stop:
            number = bisect_right(self._stops, at)
            begin = self._stops[number] - self.volume.options["lengths"][number]
            end = min(stop, self._stops[number])
            yield number, (at, end), ((at - begin, end - begin), *box[1:]) if self.volume.options["along"] else box[1:]
            at = end

    def _reader(self, number: int) -> Reader:
        if number not in self._open:
            if len(self._open) >= self._open_files:
                self._open.pop(next(iter(self._open))).close()
            self._open[number] = self._opener(self.root, self._single(number))
        return self._open[number]

    def _single(self, number: int) -> Volume:
        volume = self.volume
        options = {key: value for key, value in volume.options.items() if key not in ("lengths", "along", "paths")}
        if "paths" in volume.options:
            options["path"] = volume.options["paths"][number]
        volume = replace(volume, order=())
        if volume.options["along"]:
            shape = (volume.options["lengths"][number], *volume.source_shape[1:])
            return replace(volume, files=volume.files[number : number + 1], source_shape=shape, options=options)
        return replace(
            volume,
            files=volume.files[number : number + 1],
            source_shape=volume.source_shape[1:],
            source_axes=volume.source_axes[1:],
            roles=volume.roles[1:],
            chunks=volume.chunks[1:],
            options=options,
        )

    def close(self) -> None:
        for reader in self._open.values():
            reader.close()
        self._open = {}
