"""MAPIR: flights of Survey3 cameras, with or without a picture of the calibration target.

A frame whose name begins with "target" calibrates the flight and is not part of the result. The TIFF of a shot is its
data, the JPEG beside it a copy. Everything that decides a value is planned here and applied box by box in the reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converters.album import PictureReader, Seen, look, open_picture
from converters.album import told as album_told
from converters.bands import (
    FILTERS,
    Index,
    channel_of,
    filter_named,
    filter_of,
    indices_of,
    normalised,
    reflectance,
)
from converters.calibration import fit, noted
from converters.calibration import told as calibration_told
from converters.exif import model_of
from converters.joined import JoinedReader
from converters.mosaic import lay_out
from converters.sniff import kind_of
from converters.target import panel_means
from converters.volume import Array, Box, Reader, Source, Volume, gathered
from scray.errors import BadInput, EmptyInput, MixedInput, NothingToConvert, Unsupported

FORMAT = "mapir"
ROWS = 256  # calculated at once
_RAW_NOTE = "There is no calibration target: the data are raw digital numbers, the indices are of raw numbers too."


def probe(root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    """The shots in these files: numbers or reflectance, and indices, as fields; else as `rgb` arranges pictures.

    `filter` names the filter where the camera does not. Raises NothingToConvert where only targets are there,
    BadInput naming a target frame without a target, MixedInput for shots of several filters.
    """
    if not files:
        raise EmptyInput("There is no picture in the dataset.")
    shots, copies = _shots(root, files)
    targets = [name for name in shots if is_target(name)]
    seen = [look(root, name) for name in shots]
    pictures = [picture for picture in seen if picture.name not in set(targets)]
    if not pictures:
        raise NothingToConvert("Every picture is one of the calibration target: there is nothing to calibrate.")
    chosen = _filter(seen, parameters)
    lines = _calibrate(root, [p for p in seen if p.name in set(targets)], pictures, chosen)
    pictures = [replace(p, volumes=_fields(p, chosen, lines)) for p in pictures]
    volumes, places, said = lay_out(pictures, parameters)
    notes = [*_notes(chosen, lines, targets, copies), *said, *(note for p in pictures for note in p.notes)]
    metadata = {**album_told(pictures), "filter": chosen or None, "calibrated": bool(lines), **places}
    if lines:
        metadata["calibration"] = calibration_told(lines, targets)
    return Source(FORMAT, volumes, metadata=metadata, notes=gathered(notes))


def is_target(name: str) -> bool:
    """Whether a file is by its name a picture of the calibration target."""
    return PurePosixPath(name).name.casefold().startswith("target")


def _shots(root: Path, files: Sequence[str]) -> tuple[list[str], list[str]]:
    """The file that holds each shot's data, and the JPEG copies that are left out."""
    tiffs = {_shot(name) for name in files if kind_of(root / name) == "tiff"}
    copies = [name for name in files if _shot(name) in tiffs and kind_of(root / name) == "jpeg"]
    return [name for name in files if name not in set(copies)], copies


def _shot(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).casefold()


def _filter(pictures: Sequence[Seen], parameters: Mapping[str, Any]) -> str:
    """The filter of the flight; "" where neither the parameters nor the camera tell one."""
    if parameters.get("filter"):
        return filter_named(parameters["filter"])
    found: dict[str, str] = {}
    for picture in pictures:
        found.setdefault(filter_of(model_of(picture.exif)), picture.name)
    if len(found) > 1:
        said = ", ".join(f"{name or 'no filter'} ({file})" for name, file in found.items())
        raise MixedInput(f"The pictures were taken with several filters: {said}. Upload each flight of its own.")
    return next(iter(found))


def _calibrate(root: Path, targets: Sequence[Seen], pictures: Sequence[Seen], chosen: str) -> list[dict[str, Any]]:
    """A line for each band; none without a target."""
    if not targets:
        return []
    if not chosen:
        raise BadInput(f"{targets[0].name} shows no camera with a known filter: name it with the parameter filter.")
    for picture in (*targets, *pictures):
        _check_bands(picture, chosen)
    dtypes = {p.volumes[0].dtype: p.name for p in (*targets, *pictures)}
    if len(dtypes) > 1 or next(iter(dtypes)) not in ("|u1", "<u2"):
        said = ", ".join(f"{dtype} ({name})" for dtype, name in dtypes.items())
        raise MixedInput(f"A target calibrates pictures of its own type, 8 or 16 bits; here are {said}.")
    means = [(target.name, _means(root, target)) for target in targets]
    return fit(chosen, means, int(np.iinfo(targets[0].volumes[0].dtype).max))


def _means(root: Path, target: Seen) -> Array:
    with open_picture(root, target.name) as picture:
        return panel_means(picture.read(tuple((0, n) for n in picture.shape)), target.name)


def _check_bands(picture: Seen, chosen: str) -> None:
    volume = picture.volumes[0]
    if len(picture.volumes) > 1 or len(volume.space) != 2 or picture.colour not in ("RGB", "RGBA", "grey"):
        raise Unsupported(f"{picture.name} is {picture.colour} of {volume.source_shape} samples, not a Survey3 shot.")
    if volume.components < len(FILTERS[chosen]):
        raise BadInput(f"{picture.name} has {volume.components} bands; the filter {chosen} has {len(FILTERS[chosen])}.")


def _fields(picture: Seen, chosen: str, lines: Sequence[Mapping[str, Any]]) -> tuple[Volume, ...]:
    """Raw numbers, or reflectance a band, then the indices."""
    if not chosen:
        return tuple(replace(volume, format=FORMAT) for volume in picture.volumes)
    _check_bands(picture, chosen)
    bare = replace(picture.volumes[0], format=FORMAT)
    bands = [name for name, _ in FILTERS[chosen]]
    options = {**bare.options, "lines": [{"slope": x["slope"], "intercept": x["intercept"]} for x in lines]}
    named = [_field(bare, f"reflectance_{band}", options | {"channel": i}) for i, band in enumerate(bands)]
    fields = named if lines else [bare]
    for name, index in indices_of(chosen, calibrated=bool(lines)).items():
        pair = [channel_of(chosen, band) for band in (index.first, index.second)]
        fields.append(_field(bare, name, options | {"pair": pair, "soil": index.soil}, _formula(index)))
    return tuple(fields)


def _formula(index: Index) -> dict[str, Any]:
    text = f"({index.first} - {index.second}) / ({index.first} + {index.second}"
    return {"formula": f"{1 + index.soil:g} {text} + {index.soil:g})" if index.soil else f"{text})"}


def _field(bare: Volume, name: str, options: dict[str, Any], attributes: Mapping[str, Any] | None = None) -> Volume:
    """A field of one float32 a pixel, calculated from the picture's bands."""
    several = bare.components > 1
    cut = slice(0, -1) if several else slice(None)
    return replace(
        bare,
        name=name,
        source_shape=bare.source_shape[cut],
        source_axes=bare.source_axes[cut],
        roles=bare.roles[cut],
        chunks=bare.chunks[cut],
        dtype="<f4",
        attributes={"units": "1", "fill_value": "NaN", **(attributes or {})},
        options={**options, "picture": _form(bare)},
    )


def _form(bare: Volume) -> dict[str, Any]:
    """What the reader needs to open the picture that a field is calculated from."""
    keys = ("source_shape", "source_axes", "roles", "dtype", "chunks")
    return {key: list(v) if isinstance(v := getattr(bare, key), tuple) else v for key in keys}


def _notes(
    chosen: str, lines: Sequence[Mapping[str, Any]], targets: Sequence[str], copies: Sequence[str]
) -> Sequence[str]:
    notes = []
    if not chosen:
        notes.append("No camera filter is known, so there are no indices; the parameter filter names one.")
    if lines:
        notes.append(f"Reflectance is calibrated by {', '.join(targets)}, which are not part of the result.")
        notes += noted(lines)
    else:
        notes.append(_RAW_NOTE)
    if copies:
        notes.append(f"{len(copies)} JPEG copies of TIFF pictures are left out: {', '.join(copies[:20])}.")
    return notes


class FieldReader(Reader):
    """Calculates boxes of one field of one shot."""

    def __init__(self, root: Path, volume: Volume) -> None:
        super().__init__(root, volume)
        form: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in volume.options["picture"].items()}
        options = {key: volume.options[key] for key in ("series", "indices")}
        self._bare = replace(volume, **form, options=options)
        self._picture = PictureReader(root, self._bare)

    def read_source(self, box: Box) -> Array:
        """float32 of a box in source axes, calculated in float64, some rows at a time."""
        out = np.empty(tuple(stop - start for start, stop in box), np.float32)
        tail = tuple((0, n) for n in self._bare.source_shape[len(box) :])
        for top in range(*box[0], ROWS):
            rows = (top, min(top + ROWS, box[0][1]))
            bands = self._picture.read_source((rows, *box[1:], *tail))
            out[rows[0] - box[0][0] : rows[1] - box[0][0]] = self._field(bands if tail else bands[..., np.newaxis])
        return out

    def _field(self, bands: Array) -> Array:
        options = self.volume.options
        if "channel" in options:
            return self._band(bands, options["channel"]).astype(np.float32)
        first, second = (self._band(bands, channel) for channel in options["pair"])
        return normalised(first, second, options["soil"])

    def _band(self, bands: Array, channel: int) -> Array:
        lines = self.volume.options["lines"]
        return reflectance(bands[..., channel], lines[channel]) if lines else bands[..., channel]

    def close(self) -> None:
        self._picture.close()


def _open_one(root: Path, volume: Volume) -> Reader:
    return FieldReader(root, volume) if "picture" in volume.options else PictureReader(root, volume)


def open_volume(root: Path, volume: Volume) -> Reader:
    """A reader of a field that `probe` found."""
    return JoinedReader(root, volume, _open_one, 1) if len(volume.files) > 1 else _open_one(root, volume)
