"""A TIFF file as a picture: any layout that `tiffseries` reads, palettes as colours, the Orientation tag honoured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from converters import tiff
from converters.exif import exif_record, icc_record, orientation_of, read_exif_file, with_xmp
from converters.faults import reading
from converters.picture import Picture
from converters.tiffchain import ORIENTATION
from converters.tiffpages import decoded_as_rgb
from converters.tiffseries import SENSOR_COLOURS, TiffStack
from converters.volume import Array, Box, Volume
from scray.errors import BadInput, MixedInput, Unsupported

_PALETTE, _SEPARATED, _WHITE = 3, 5, 0
_COLOURS = {
    0: "grey, zero is white",
    1: "grey",
    2: "RGB",
    3: "palette",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
} | SENSOR_COLOURS


class TiffPicture(Picture):
    """See `Picture`; the principal series, or series `series`. Raises what `TiffStack` raises, and Unsupported."""

    def __init__(self, root: Path, name: str, series: int | None = None) -> None:
        self.name = name
        with reading(name, "TIFF"):
            source = tiff.probe(root, (name,), {} if series is None else {"dataset": series})
        if len(source.volumes) != 1:
            raise Unsupported(f"{name} holds complex numbers, which are no picture. Upload it with the sensor TIFF.")
        volume = source.volumes[0]
        self.stack = TiffStack(root, name, volume.options["series"])
        try:
            self._describe(root, volume, source.metadata)
        except BaseException:
            self.close()
            raise
        self.notes = (*source.notes, *self._colour_notes())

    def _describe(self, root: Path, volume: Volume, metadata: dict[str, Any]) -> None:
        if self.stack.parts != frozenset({str(root / self.name)}):
            raise MixedInput(f"{self.name} refers to pixels in other files. Upload the set with the sensor TIFF.")
        looks = self.stack.looks
        if len({dict(look)[ORIENTATION] for look in looks}) > 1:
            raise MixedInput(f"The pages of {self.name} have different orientations. Upload it with the sensor TIFF.")
        page = self.stack.keyframe
        self.photometric = int(page.photometric or 0)
        self.axes, self.compressed = volume.source_axes, volume.compressed
        self.stored_shape, self.stored_chunks, self.dtype = volume.source_shape, volume.chunks, volume.dtype
        if "s" in self.axes and self.axes[-1] != "s":
            self.axes = tuple("c" if axis == "s" else axis for axis in self.axes)
        with (root / self.name).open("rb") as file:
            exif = read_exif_file(file)
        packet = _tag(page, 700, b"")
        self.exif = with_xmp(exif, packet if isinstance(packet, bytes) else b"")
        self.orientation = orientation_of({"image": {"Orientation": _tag(page, ORIENTATION, 1)}})
        self.colour = self._colour(page)
        self.metadata = {**metadata, "colour": self.colour}
        blocks = {key: block for key, block in self.exif.items() if key != "image"}  # the image's tags are in "tags"
        if blocks:
            self.metadata["exif"] = exif_record(blocks)
        profile = _tag(page, 34675, b"")
        if isinstance(profile, bytes) and profile:
            self.metadata["icc"] = icc_record(profile)
            self.metadata["tags"] = {k: v for k, v in metadata["tags"].items() if k != "InterColorProfile"}
        if self.photometric == _PALETTE and "s" not in self.axes and len(looks) <= 1:
            self._expand(page)

    def _colour(self, page: Any) -> str:
        if decoded_as_rgb(page):
            return "RGB"
        return _COLOURS.get(self.photometric, f"photometric {self.photometric}")

    def _expand(self, page: Any) -> None:
        """Each index becomes three samples of 8 bits: the high byte of the colour map's 16."""
        colours = np.asarray(page.colormap)
        if colours.ndim != 2 or colours.shape[0] != 3 or np.dtype(self.dtype).kind != "u":
            raise BadInput(f"{self.name} has a palette that cannot be read.")
        wide = colours.max(initial=0) > 255  # some writers put 8 bits into the numbers of 16
        self.palette = (colours.T >> 8 if wide else colours.T).astype(np.uint8)
        self.indices, self.index_dtype = True, self.dtype
        self.stored_shape, self.stored_chunks = (*self.stored_shape, 3), (*self.stored_chunks, 3)
        self.axes, self.dtype = (*self.axes, "s"), "|u1"
        self.notes += (f"{self.name}: its palette indices are the first field, their colours of 8 bits the second.",)

    def _colour_notes(self) -> tuple[str, ...]:
        plain = self.indices or self.colour in ("grey", "RGB")
        said = () if plain else (f"{self.name}: its samples are {self.colour} and are kept as they are.",)
        return (*self.notes, *said)

    def read_stored(self, box: Box) -> Array:
        if not self.indices:
            return self._exact(self.stack.read(box))
        found = self.read_indices(box[:-1])
        if found.size and int(found.max()) >= len(self.palette):
            raise BadInput(f"{self.name} has a pixel with number {int(found.max())} and {len(self.palette)} colours.")
        return self.palette[found][..., slice(*box[-1])]

    def read_indices(self, box: Box) -> Array:
        return self._exact(self.stack.read(box))

    def _exact(self, array: Array) -> Array:
        return array.astype(self.index_dtype if self.indices else self.dtype, copy=False)

    def close(self) -> None:
        self.stack.close()


def _tag(page: Any, code: int, default: Any) -> Any:
    tag = page.tags.get(code)
    value = default if tag is None else tag.value
    return int(value) if isinstance(default, int) and isinstance(value, int) else value
