"""Pictures as volumes: one is a 2-D dataset, several alike are time steps, others are a dataset each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from converters.exif import Exif
from converters.faults import check_size
from converters.joined import JoinedReader, join
from converters.photo import Photo
from converters.picture import Picture
from converters.sniff import kind_of
from converters.tiffpicture import TiffPicture
from converters.volume import Array, Box, Reader, Volume, roles_for
from scray.errors import MixedInput

FORMAT = "rgb"
MAX_TOLD = 2000  # pictures whose notes are kept in metadata.json
SELECTOR = "image"


@dataclass(frozen=True)
class Seen:
    """What opening a picture told: its volumes (where there is a palette the indices, then the colours) and notes."""

    name: str
    volumes: tuple[Volume, ...]
    colour: str
    orientation: int
    exif: Exif
    metadata: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def form(self) -> tuple[object, ...]:
        """Pictures of equal form can be time steps of one dataset."""
        shapes = tuple((v.source_shape, v.source_axes, v.dtype, v.name) for v in self.volumes)
        return (self.colour, *shapes)


def open_picture(root: Path, name: str, series: int | None = None) -> Photo | TiffPicture:
    """The picture in a file, by its content; `series` is for TIFF. Raises WrongSensor, BadInput and its kind."""
    if kind_of(root / name) == "tiff":
        return TiffPicture(root, name, series)
    return Photo(root, name)


def look(root: Path, name: str, series: int | None = None) -> Seen:
    """Open a picture and note what it is; no pixel is decoded."""
    with open_picture(root, name, series) as picture:
        said = {"file": name, "shape": list(picture.shape), **picture.metadata}
        if picture.orientation != 1:
            said["orientation"] = {"stated": picture.orientation, "applied": True}
        notes = picture.notes
        if picture.orientation != 1:
            notes = (*notes, f"{name}: its orientation ({picture.orientation}) is applied to pixels and size.")
        volumes = _volumes(picture, series)
        return Seen(name, volumes, picture.colour, picture.orientation, picture.exif, said, notes)


def _volumes(picture: Picture, series: int | None) -> tuple[Volume, ...]:
    shown = _volume(picture, series)
    if not picture.indices:
        return (shown,)
    bare = replace(
        shown,
        name="palette_index",
        source_shape=shown.source_shape[:-1],
        source_axes=shown.source_axes[:-1],
        roles=shown.roles[:-1],
        chunks=shown.chunks[:-1],
        dtype=picture.index_dtype,
        source_dtype=picture.index_dtype,
        options={**shown.options, "indices": True},
    )
    return bare, shown  # what the file stores comes first: a colour map of 16 bits does not fit the colours


def _volume(picture: Picture, series: int | None) -> Volume:
    shape = picture.shape
    check_size(picture.name, int(np.prod(shape, dtype=object)), np.dtype(picture.dtype).itemsize)
    component = len(shape) - 1 if picture.axes[-1] == "s" else None
    return Volume(
        format=FORMAT,
        files=(picture.name,),
        selector=SELECTOR,
        name="data",
        dataset="",
        source_shape=shape,
        source_axes=picture.axes,
        roles=roles_for(shape, component_axis=component),
        source_dtype=picture.dtype,
        dtype=picture.dtype,
        chunks=picture.chunks,
        compressed=picture.compressed,
        attributes={"colour": picture.colour},
        options={"series": series, "indices": False},
    )


def arrange(pictures: Sequence[Seen]) -> tuple[Volume, ...]:
    """All pictures alike: time steps, in this order. Else a dataset each, named after its file."""
    if len({picture.form for picture in pictures}) == 1:
        return tuple(_steps(volumes) for volumes in zip(*(p.volumes for p in pictures), strict=True))
    return separate(pictures)


def _steps(volumes: Sequence[Volume]) -> Volume:
    """One volume; how it is read is planned for the file that is costliest to read."""
    joined = join(volumes, "time", "t")
    if len(volumes) == 1:
        return joined
    costly = max(volumes, key=lambda v: (v.compressed, np.prod(v.chunks, dtype=object)))
    return replace(joined, chunks=(1, *costly.chunks), compressed=costly.compressed)


def separate(pictures: Sequence[Seen]) -> tuple[Volume, ...]:
    """A dataset for each picture."""
    names = _names([picture.name for picture in pictures])
    return tuple(
        replace(v, dataset=name) for name, picture in zip(names, pictures, strict=True) for v in picture.volumes
    )


def _names(files: Sequence[str]) -> list[str]:
    """Names of datasets: the stem of the file, with its folder or ending where that is not enough."""
    paths = [PurePosixPath(file) for file in files]
    for named in (lambda p: p.stem, lambda p: str(p.with_suffix("")), str):
        names = [named(path) for path in paths]
        if len({name.casefold() for name in names}) == len(names):
            break
    return names


def told(pictures: Sequence[Seen]) -> dict[str, Any]:
    """What metadata.json says about the pictures."""
    said: dict[str, Any] = {"pictures": [p.metadata for p in pictures[:MAX_TOLD]], "files": len(pictures)}
    if len(pictures) > MAX_TOLD:
        said["pictures_not_told"] = len(pictures) - MAX_TOLD
    return said


class PictureReader(Reader):
    """Reads boxes of one picture."""

    def __init__(self, root: Path, volume: Volume) -> None:
        super().__init__(root, volume)
        self._picture = open_picture(root, volume.files[0], volume.options["series"])
        bare = self._picture.shape[:-1] if volume.options["indices"] else self._picture.shape
        dtype = self._picture.index_dtype if volume.options["indices"] else self._picture.dtype
        if (bare, dtype) != (volume.source_shape, volume.dtype):
            self.close()
            raise MixedInput(f"{volume.files[0]} has changed: it held {volume.source_shape} samples.")

    def read_source(self, box: Box) -> Array:
        """The samples of a box in source axes, exactly."""
        found = self._picture.read_palette(box) if self.volume.options["indices"] else self._picture.read(box)
        return np.asarray(found, self.volume.dtype)

    def close(self) -> None:
        self._picture.close()


def open_album(root: Path, volume: Volume) -> Reader:
    """A reader of one picture, or of pictures that are time steps: one open at a time, as each may be held decoded."""
    return JoinedReader(root, volume, PictureReader, 1) if len(volume.files) > 1 else PictureReader(root, volume)
