"""TIFF: stacks in one file (ImageJ, OME, BigTIFF, LSM, STK …), one page a file, several stacks as time steps.

What is read is tifffile's view of the file, page by page (TIFF 6.0, BigTIFF, OME-TIFF, ImageJ hyperstacks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converters.jsonsafe import json_safe
from converters.samples import Part, parts, take
from converters.tiffseries import TiffStack
from converters.volume import Array, Box, Reader, Source, Volume, roles_for
from scray.errors import BadParameter, EmptyInput, MixedInput

FORMAT = "tiff"
OPEN_FILES = 16
_LAYOUT_TAGS = frozenset({273, 279, 288, 289, 324, 325, 330, 347, 50839, 50838, 33628, 33629, 65426})


def probe(root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    """The volume in these files, which are in natural order; `dataset` names a series, "series[1]" or "1".

    One file: its principal series. Several files of one page: a stack along z. Several files of several pages, all
    of one shape: a time step each. Raises MixedInput, naming the files, where they do not fit together.
    """
    if not files:
        raise EmptyInput("There is no TIFF file in the dataset.")
    wanted = _series_number(parameters.get("dataset"))
    used: list[str] = []
    covered: set[str] = set()
    with TiffStack(root, files[0], wanted) as first:
        for name in files:
            if str(root / name) in covered:
                continue
            if name == files[0]:
                covered |= first.parts
            else:
                with TiffStack(root, name, wanted) as stack:
                    _check_alike(first, stack, files[0], name)
                    covered |= stack.parts
            used.append(name)
        return _source(first, tuple(used))


def _series_number(value: Any) -> int | None:
    if value is None:
        return None
    match = re.fullmatch(r"(?:series\[)?(\d{1,9})\]?", str(value).strip())
    if not match:
        raise BadParameter(f"dataset={value!r}: a TIFF has series, named series[0], series[1] and so on.")
    return int(match.group(1))


def _check_alike(first: TiffStack, other: TiffStack, first_name: str, name: str) -> None:
    if (first.shape, first.axes, first.pages.dtype) != (other.shape, other.axes, other.pages.dtype):
        raise MixedInput(
            f"{first_name} holds {_shape_text(first)} and {name} holds {_shape_text(other)}: "
            "files of one dataset have to be of one size and type."
        )


def _shape_text(stack: TiffStack) -> str:
    return f"{'×'.join(map(str, stack.shape))} samples of {stack.pages.dtype}"


def _source(stack: TiffStack, files: tuple[str, ...]) -> Source:
    pieces = parts(stack.pages.dtype, stack.name)
    volumes = tuple(_volume(stack, files, part) for part in pieces)
    notes = [f"{stack.name}: only {_series_text(stack, stack.index)} is converted."] if len(stack.every) > 1 else []
    if stack.series.is_pyramidal:
        notes.append(f"{stack.name}: {len(stack.series.levels) - 1} coarser copies in the file are left out.")
    if stack.pages.dtype == np.dtype(bool):
        notes.append(f"{stack.name}: pixels of one bit become 0 and 1.")
    return Source(FORMAT, volumes, metadata=_metadata(stack, files), notes=tuple(notes))


def _volume(stack: TiffStack, files: tuple[str, ...], part: Part) -> Volume:
    shape, axes, chunks = stack.shape, stack.axes, stack.chunks
    component = len(shape) - 1 if stack.component else None
    time = axes.index("T") if "T" in axes else None
    if len(files) > 1:
        flat = len(shape) - stack.component <= 2
        shape, axes, chunks = (len(files), *shape), ("Z" if flat else "T", *axes), (1, *chunks)
        component = None if component is None else component + 1
        time = None if flat else 0
    roles = list(roles_for(shape, time_axis=time, component_axis=component))
    roles = ["time" if a == "T" and n > 1 else r for a, n, r in zip(axes, shape, roles, strict=True)]
    return Volume(
        format=FORMAT,
        files=files,
        selector=f"series[{stack.index}]" + part.suffix,
        name=(PurePosixPath(files[0]).stem if len(files) == 1 else "data") + part.suffix,
        dataset="",
        source_shape=shape,
        source_axes=_unique(axes),
        roles=tuple(roles),
        source_dtype=stack.pages.dtype.newbyteorder(stack.file.byteorder).str,
        dtype=part.dtype,
        chunks=chunks,
        compressed=not stack.pages.raw,
        options={"series": stack.index, "plane": part.plane, "suffix": part.suffix},
    )


def _unique(axes: tuple[str, ...]) -> tuple[str, ...]:
    """Axis names in lower case, made unique by a number."""
    return tuple(a.lower() + (str(axes[:i].count(a)) if a in axes[:i] else "") for i, a in enumerate(axes))


def _series_text(stack: TiffStack, index: int) -> str:
    series = stack.every[index]
    return f"series[{index}] ({'×'.join(map(str, series.shape))} {series.dtype})"


def _metadata(stack: TiffStack, files: tuple[str, ...]) -> dict[str, Any]:
    page = stack.keyframe
    tags = {str(t.name): json_safe(t.value) for t in page.tags if t.code not in _LAYOUT_TAGS}
    found: dict[str, Any] = {
        "kind": stack.series.kind,
        "shape": list(stack.shape),
        "axes": list(stack.axes),
        "byte_order": "big" if stack.file.byteorder == ">" else "little",
        "compression": json_safe(page.compression),
        "tags": tags,
        "files": len(files),
        "series": [_series_text(stack, i) for i in range(min(len(stack.every), 100))],
    }
    for flavour in ("imagej", "ome", "lsm", "stk", "geotiff", "gdal_structural", "shaped", "micromanager"):
        found |= _flavour(stack, flavour)
    return found


def _flavour(stack: TiffStack, flavour: str) -> dict[str, Any]:
    """The metadata of one dialect; what its parser cannot read is left out: the tags have it as it is."""
    try:
        value = getattr(stack.file, f"{flavour}_metadata")
    except Exception:
        return {}
    return {flavour: json_safe(value)} if value else {}


class TiffReader(Reader):
    """Reads boxes of a TIFF volume; keeps a few files open."""

    def __init__(self, root: Path, volume: Volume) -> None:
        super().__init__(root, volume)
        self._open: dict[str, TiffStack] = {}
        self._part = Part(volume.options["suffix"], volume.dtype, plane=volume.options["plane"])

    def read_source(self, box: Box) -> Array:
        """The samples of a box in source axes, exactly."""
        if len(self.volume.files) == 1:
            return take(self._stack(self.volume.files[0]).read(box), self._part)
        out = np.empty(tuple(stop - start for start, stop in box), self.volume.dtype)
        for i, name in enumerate(self.volume.files[slice(*box[0])]):
            out[i] = take(self._stack(name).read(box[1:]), self._part)
        return out

    def _stack(self, name: str) -> TiffStack:
        if name not in self._open:
            if len(self._open) >= OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            self._open[name] = self._checked(TiffStack(self.root, name, self.volume.options["series"]))
        return self._open[name]

    def _checked(self, stack: TiffStack) -> TiffStack:
        expected = self.volume.source_shape[1:] if len(self.volume.files) > 1 else self.volume.source_shape
        if stack.shape != expected:
            stack.close()
            raise MixedInput(f"{stack.name} has changed: it holds {stack.shape}, expected were {expected}.")
        return stack

    def close(self) -> None:
        for stack in self._open.values():
            stack.close()
        self._open = {}


def open_volume(root: Path, volume: Volume) -> Reader:
    """A reader of a volume that `probe` found."""
    return TiffReader(root, volume)
