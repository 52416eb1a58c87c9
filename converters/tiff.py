"""TIFF: stacks in one file (ImageJ, OME, BigTIFF, LSM, STK …), one page a file, several stacks as time steps.

What is read is tifffile's view of the file, page by page (TIFF 6.0, BigTIFF, OME-TIFF, ImageJ hyperstacks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converters.faults import reading
from converters.joined import JoinedReader, join
from converters.jsonsafe import json_safe
from converters.kept import keep, open_stack
from converters.samples import Part, parts, take
from converters.tiffpages import decoded_as_rgb
from converters.tiffseries import SENSOR_COLOURS, TiffStack, master
from converters.volume import Array, Box, Reader, Role, Source, Volume, gathered, roles_for
from scray.errors import BadParameter, EmptyInput, MixedInput

FORMAT = "tiff"
MAX_TOLD = 20  # series that are left out, by name
_OME = (".ome.tif", ".ome.tiff", ".ome.tf2", ".ome.tf8", ".ome.btf")
# Of PhotometricInterpretation, where numbers are not plain.
_MEANINGS = {
    0: "zero is white",
    3: "palette indices",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICC Lab",
    10: "ITU Lab",
} | SENSOR_COLOURS
_LAYOUT_TAGS = frozenset({273, 279, 288, 289, 324, 325, 330, 347, 50839, 50838, 33628, 33629, 65426})


def probe(root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    """The volume in these files, which are in natural order; `dataset` names a series, "series[1]" or "1".

    One file: its principal series. Several files of one page: a stack along z. Several files of several pages, all
    of one shape: a time step each. Raises MixedInput, naming the files, where they do not fit together.
    """
    if not files:
        raise EmptyInput("There is no TIFF file in the dataset.")
    wanted = _series_number(parameters.get("dataset"))
    found = _sources(root, files, wanted)
    _check_meaning(found)
    flat = len(found[0].volumes[0].space) <= 2
    role: Role = "space" if flat else "time"
    volumes = tuple(join(same, role, "z" if flat else "t") for same in zip(*(s.volumes for s in found), strict=True))
    if len(found) > 1:
        volumes = tuple(replace(volume, name="data" + volume.options["suffix"]) for volume in volumes)
    notes = gathered([*_nothings(found), *(note for source in found for note in source.notes)])
    return replace(found[0], volumes=volumes, metadata={**found[0].metadata, "files": len(found)}, notes=notes)


def _sources(root: Path, files: tuple[str, ...], wanted: int | None) -> list[Source]:
    """What each file holds that no other describes; files that are described elsewhere wait for those that do."""
    found: list[Source] = []
    covered: set[str] = set()
    masters: dict[str, str] = {}
    for name in files:
        if name.lower().endswith(_OME) and str(root / name) not in covered and (told_by := master(root, name)):
            masters[name] = told_by
        else:
            _join(root, name, wanted, found, covered)
    for name, told_by in masters.items():
        before = len(found)
        _join(root, name, wanted, found, covered)
        if len(found) > before:
            note = f"{name}: its OME description is in {told_by}, which is not read: pages are taken as they lie."
            found[-1] = replace(found[-1], notes=(note, *found[-1].notes))
    return found


def _join(root: Path, name: str, wanted: int | None, found: list[Source], covered: set[str]) -> None:
    if str(root / name) not in covered:
        with reading(name, "TIFF"), TiffStack(root, name, wanted) as stack:
            covered |= stack.described
            found.append(_source(stack, with_metadata=not found))


def _check_meaning(found: Sequence[Source]) -> None:
    """Numbers that are inks, indices or brightness in one file and something else in another are no one array."""
    said = {source.volumes[0].attributes.get("samples"): source.volumes[0].files[0] for source in reversed(found)}
    if len(said) > 1:
        told = ", ".join(f"{file} ({meaning or 'plain numbers'})" for meaning, file in reversed(said.items()))
        raise MixedInput(f"Numbers that mean different things cannot be joined: {told}. Upload the files separately.")


def _nothings(found: Sequence[Source]) -> list[str]:
    """What is to be said where files call different numbers "no data": the numbers stay, the first file's is told."""
    said = {source.volumes[0].attributes.get("fill_value"): source.volumes[0].files[0] for source in reversed(found)}
    if len(said) < 2:
        return []
    told = ", ".join(f"{file} ({'none' if value is None else f'{value:g}'})" for value, file in reversed(said.items()))
    return [f"The files have different numbers for no data, of which only the first file's is heeded: {told}."]


def _series_number(value: Any) -> int | None:
    if value is None:
        return None
    names = value if isinstance(value, (list, tuple)) else [value]
    match = re.fullmatch(r"(?:series\[)?(\d{1,9})\]?", str(names[0]).strip()) if len(names) == 1 else None
    if not match:
        raise BadParameter(f"dataset={value!r}: name one series of the TIFF, as series[0], series[1] and so on.")
    return int(match.group(1))


def _source(stack: TiffStack, *, with_metadata: bool) -> Source:
    volumes = tuple(_volume(stack, part) for part in parts(stack.pages.dtype, stack.name))
    notes = [_left_out(stack)] if len(stack.every) > 1 else []
    if stack.overcounted:
        notes.append(f"{stack.name}: its description counts {stack.counted} images, and it holds {stack.planes}.")
    if stack.misdescribed:
        notes.append(f"{stack.name}: its description does not fit its pages, which are taken as they lie.")
    if unused := stack.unused:
        notes.append(f"{stack.name}: {unused} pages behind those that its description counts are left out.")
    if stack.series.is_pyramidal:
        notes.append(f"{stack.name}: {len(stack.series.levels) - 1} coarser copies in the file are left out.")
    if stack.pages.dtype == np.dtype(bool):
        notes.append(f"{stack.name}: pixels of one bit become 0 and 1.")
    return Source(FORMAT, volumes, metadata=_metadata(stack) if with_metadata else {}, notes=tuple(notes))


def _volume(stack: TiffStack, part: Part) -> Volume:
    component = len(stack.shape) - 1 if stack.component else None
    roles = roles_for(stack.shape, component_axis=component)
    named = zip(stack.axes, stack.shape, roles, strict=True)
    return Volume(
        format=FORMAT,
        files=(stack.name,),
        selector=f"series[{stack.index}]" + part.suffix,
        name=PurePosixPath(stack.name).stem + part.suffix,
        dataset="",
        source_shape=stack.shape,
        source_axes=_unique(stack.axes),
        roles=tuple("time" if axis == "T" and length > 1 else role for axis, length, role in named),
        source_dtype=stack.pages.dtype.newbyteorder(stack.file.byteorder).str,
        dtype=part.dtype,
        chunks=stack.chunks,
        compressed=not stack.pages.raw,
        attributes=_attributes(stack),
        options={"series": stack.asked, "plane": part.plane, "suffix": part.suffix},
    )


def _attributes(stack: TiffStack) -> dict[str, Any]:
    """What a viewer has to know of the numbers: what they stand for, and which of them stands for nothing."""
    page = stack.keyframe
    told = 262 in page.tags and not decoded_as_rgb(page)
    meaning = _MEANINGS.get(int(page.photometric or 0)) if told else None
    said: dict[str, Any] = {"samples": meaning, "fill_value": stack.nodata}
    return {name: value for name, value in said.items() if value is not None}


def _unique(axes: tuple[str, ...]) -> tuple[str, ...]:
    """Axis names in lower case, made unique by a number."""
    return tuple(a.lower() + (str(axes[:i].count(a)) if a in axes[:i] else "") for i, a in enumerate(axes))


def _left_out(stack: TiffStack) -> str:
    """What other series there are, and how to ask for one."""
    others = [_series_text(stack, i) for i in range(len(stack.every)) if i != stack.index]
    more = f" and {len(others) - MAX_TOLD} more" if len(others) > MAX_TOLD else ""
    return (
        f"{stack.name}: only {_series_text(stack, stack.index)} is converted. Left out: {', '.join(others[:MAX_TOLD])}"
        f"{more}; the parameter dataset names another, as dataset=series[{int(not stack.index)}]."
    )


def _series_text(stack: TiffStack, index: int) -> str:
    series = stack.every[index]
    return f"series[{index}] ({'×'.join(map(str, series.shape))} {series.dtype})"


def _metadata(stack: TiffStack) -> dict[str, Any]:
    page = stack.keyframe
    tags = {str(t.name): json_safe(t.value) for t in page.tags if t.code not in _LAYOUT_TAGS}
    found: dict[str, Any] = {
        "kind": stack.series.kind,
        "shape": list(stack.shape),
        "axes": list(stack.axes),
        "byte_order": "big" if stack.file.byteorder == ">" else "little",
        "compression": json_safe(page.compression),
        "tags": tags,
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
    """Reads boxes of one file's series."""

    def __init__(self, root: Path, volume: Volume) -> None:
        super().__init__(root, volume)
        self._part = Part("", volume.dtype, plane=volume.options["plane"])
        self._opened = open_stack(root, volume.files[0], volume.options["series"])
        if self._opened.stack.shape != volume.source_shape:
            self._opened.stack.close()
            raise MixedInput(f"{volume.files[0]} has changed: it held {volume.source_shape} samples.")

    def read_source(self, box: Box) -> Array:
        """The samples of a box in source axes, exactly."""
        return take(self._opened.stack.read(box), self._part)

    def close(self) -> None:
        keep(self._opened)


def open_volume(root: Path, volume: Volume) -> Reader:
    """A reader of a volume that `probe` found."""
    return JoinedReader(root, volume, TiffReader) if len(volume.files) > 1 else TiffReader(root, volume)
