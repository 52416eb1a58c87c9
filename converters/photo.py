"""A JPEG or PNG file as a picture: decoded whole, once, when its first sample is asked for; never repaired."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from converters.exif import Exif, exif_record, icc_record, orientation_of, read_exif, with_xmp
from converters.faults import reading
from converters.jpegfile import LOSSLESS, JpegFile, decode_whole, parse_jpeg
from converters.jsonsafe import json_safe
from converters.picture import Picture, check_pixels
from converters.pngfile import SIGNATURE, PngFile, parse_png, with_more_colours
from converters.volume import Array, Box
from scray.errors import BadInput, EmptyInput, TooLarge, Unsupported, WrongSensor

MAX_FILE_BYTES = 1 << 30
_JPEG_COLOURS = {1: "grey", 3: "RGB", 4: "CMYK"}


class Photo(Picture):
    """See `Picture`; raises EmptyInput, WrongSensor, TruncatedInput, BadInput, TooLarge, Unsupported by name."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self._path = root / name
        self._pixels: Array | None = None
        data = self._data()
        with reading(name, "a picture"):
            if data.startswith(SIGNATURE):
                self._png(parse_png(data, name))
            elif data.startswith(b"\xff\xd8\xff"):
                self._jpeg(parse_jpeg(data, name))
            else:
                raise WrongSensor(f"{name} is neither a JPEG, a PNG nor a TIFF picture.")
        self.stored_chunks = self.stored_shape
        self.compressed = True

    def _data(self) -> bytes:
        size = self._path.stat().st_size
        if not size:
            raise EmptyInput(f"{self.name} is empty.")
        if size > MAX_FILE_BYTES:
            raise TooLarge(f"{self.name} has {size} bytes; a JPEG or PNG may have {MAX_FILE_BYTES}.")
        with reading(self.name, "a picture"):
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                return file.read()

    def _jpeg(self, file: JpegFile) -> None:
        if file.process == LOSSLESS or file.components not in _JPEG_COLOURS:
            raise Unsupported(
                f"{self.name} is a {file.process} JPEG of {file.components} components, which is not read."
            )
        if file.components == 4 and file.adobe_transform is None:
            raise Unsupported(f"{self.name} is a JPEG of four components and does not say what they are.")
        self._shape(file.width, file.height, file.components, "|u1" if file.precision == 8 else "<u2")
        self.colour = _JPEG_COLOURS[file.components]
        self._describe("JPEG", with_xmp(read_exif(file.exif), file.xmp), file.icc)
        self.metadata["process"] = file.process
        if file.comments:
            self.metadata["comments"] = json_safe(file.comments)
        if file.several:
            self.notes += (f"{self.name} holds several pictures: only its first is converted.",)
        if self.colour == "CMYK":
            self.notes += (f"{self.name} holds CMYK: four components that are not RGB and alpha.",)

    def _png(self, file: PngFile) -> None:
        self._shape(file.width, file.height, file.components, file.dtype)
        self.colour = file.colour
        self._describe("PNG", read_exif(file.exif), file.icc)
        self.metadata |= {"bits": file.bits, "palette": file.colour_type == 3, "interlaced": file.interlaced}
        self.metadata |= {key: json_safe(value) for key, value in {**file.chunks, "text": file.texts}.items() if value}
        if file.colour_type == 0 and file.bits < 8:
            self.notes += (f"{self.name} has {file.bits} bits a pixel, which are spread over 0 to 255.",)
        if file.animated:
            self.notes += (f"{self.name} is animated: only its first picture is converted.",)

    def _shape(self, width: int, height: int, components: int, dtype: str) -> None:
        check_pixels(self.name, width, height)
        self.dtype = dtype
        self.axes = ("y", "x", "s") if components > 1 else ("y", "x")
        self.stored_shape = (height, width, components)[: len(self.axes)]

    def _describe(self, kind: str, exif: Exif, icc: bytes) -> None:
        self.exif = exif
        self.orientation = orientation_of(exif)
        self.metadata = {"kind": kind, "colour": self.colour}
        if exif:
            self.metadata["exif"] = exif_record(exif)
        if icc:
            self.metadata["icc"] = icc_record(icc)

    def read_stored(self, box: Box) -> Array:
        """A box of the stored pixels; the whole picture is decoded the first time."""
        if self._pixels is None:
            with reading(self.name, "a picture"):
                self._pixels = self._decode(self._data())
        return self._pixels[tuple(slice(*span) for span in box)]

    def _decode(self, data: bytes) -> Array:
        if data.startswith(SIGNATURE):
            pixels: Any = self._decode_png(data)
        else:
            pixels = self._decode_jpeg(data)
        if pixels.shape != self.stored_shape or np.dtype(pixels.dtype).newbyteorder("<").str != self.dtype:
            raise BadInput(f"{self.name} decodes to {pixels.shape} of {pixels.dtype}, unlike what its header says.")
        return np.asarray(pixels)

    def _decode_png(self, data: bytes) -> Array:
        file = parse_png(data, self.name)
        pixels = np.asarray(imagecodecs.png_decode(data))
        if file.few_colours and not np.array_equal(imagecodecs.png_decode(with_more_colours(data, file)), pixels):
            raise BadInput(f"{self.name} has a pixel whose number is beyond its palette.")
        return pixels

    def _decode_jpeg(self, data: bytes) -> Array:
        file = parse_jpeg(data, self.name)
        return decode_whole(data, file, lambda stream: _jpeg_pixels(stream, file), self.name)

    def close(self) -> None:
        self._pixels = None


def _jpeg_pixels(data: bytes, file: JpegFile) -> Array:
    """Decoded; Adobe writes CMYK inverted, so that 0 means full ink."""
    if file.components != 4:
        return np.asarray(imagecodecs.jpeg8_decode(data))
    pixels = np.asarray(imagecodecs.jpeg8_decode(data, outcolorspace="CMYK"))
    return np.invert(pixels) if file.adobe_transform is not None else pixels
