"""The pixels of one TIFF page, box by box: only the strips or tiles that a box touches are read and decoded.

A page is seen in five axes: separate sample planes, depth, rows, columns, samples of a pixel. What cannot be
decoded whole is an error; nothing is ever filled in, except tiles that GDAL deliberately left out (sparse files).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tifffile
from imagecodecs import jpeg_decode
from numpy.typing import NDArray

from converters.fax import FAX, proven
from converters.jpegfile import decode_whole, parse_jpeg
from converters.lerc import LERC, PARAMETERS, decode_lerc
from converters.nodata import left_out
from converters.volume import Box
from scray.errors import BadInput, ScrayError, TruncatedInput, Unsupported

Array = NDArray[Any]
BLOCK_BYTES = 4 << 20  # what is read at once where more than the box has to be read
_START_OF_IMAGE = b"\xff\xd8"
_JPEG_XR = frozenset({22610, 34934})
_NOISE = bytes((n * 89 + 41) % 256 for n in range(256))
_PREDICTED = frozenset({5, 8, 32946, 34925, 50000})  # compressions whose Predictor tag is heeded by every reader
_UNSIZED = frozenset({1, 32773, *_PREDICTED})  # compressions whose data do not say how many columns they hold
_SONY_RAW = 28672
OLD_JPEG = 6
_YCBCR = 6
JPEG_CODES = frozenset({OLD_JPEG, 7, 34892, 33007})
_UNKNOWN = re.compile("not supported|is not a known|^COMPRESSION|Bogus JPEG color")  # what is said of what nobody reads
_GDAL_TAGS = (42112, 42113, 33550, 34735)


class Pages:
    """Reads pages that share the layout of one keyframe; raises BadInput and its kinds by name."""

    def __init__(self, keyframe: Any, name: str) -> None:
        _check_readable(keyframe, name)
        _check_tags(keyframe, name)
        self.keyframe = keyframe
        self.name = name
        self.shaped: tuple[int, ...] = tuple(int(n) for n in keyframe.shaped)
        self.dtype = np.dtype(keyframe.dtype)
        self.raw = bool(keyframe.is_final) and self.dtype.itemsize * 8 == keyframe.bitspersample
        self.segment = _segment_shape(keyframe, name)
        self.counts = tuple(math.ceil(n / s) for n, s in zip(self.shaped, self.segment, strict=True))
        self.header_bytes = 16 if keyframe.parent.is_bigtiff else 8  # no pixels can lie there
        self.sparse = keyframe.is_tiled and any(tag in keyframe.tags for tag in _GDAL_TAGS)

    @property
    def page_bytes(self) -> int:
        return math.prod(self.shaped) * int(self.dtype.itemsize)

    def check(self, page: Any, size: int, name: str) -> None:
        """Raise unless every strip or tile of this page lies inside the file; reads nothing."""
        offsets, counts = page.dataoffsets, page.databytecounts
        if self.plain(page):
            if offsets[0] < self.header_bytes or offsets[0] + self.page_bytes > size:
                raise TruncatedInput(f"The pixels of {name} end before the page does: the file is cut short.")
            return
        needed = math.prod(self.counts)
        if len(offsets) != needed or len(counts) != needed:
            said = f"{len(offsets)} strips or tiles and the sizes of {len(counts)}"
            raise BadInput(f"{name} lists {said} where {needed} make up its pixels.")
        if any(n and o < self.header_bytes for o, n in zip(offsets, counts, strict=True)):
            raise BadInput(f"{name} has strips or tiles that lie in the header of the file.")
        if any(o < 0 or n < 0 or o + n > size for o, n in zip(offsets, counts, strict=True)):
            raise TruncatedInput(f"{name} has strips or tiles beyond the end of the file: the file is cut short.")
        if not any(counts):
            raise BadInput(f"{name} holds no pixels: all its strips or tiles are empty.")

    def check_apart(self, page: Any, name: str) -> None:
        """Raise where strips or tiles lie partly over each other, or over the page's own tags; reads nothing."""
        starts, sizes = np.array(page.dataoffsets[:1], np.int64), np.array([self.page_bytes], np.int64)
        if not self.plain(page):
            starts, sizes = (np.array(found, np.int64) for found in (page.dataoffsets, page.databytecounts))
            sizes = np.minimum(sizes, math.prod(self.segment) * self.dtype.itemsize) if self.raw else sizes
        order = np.lexsort((sizes, starts))
        starts, stops = starts[order], (starts + sizes)[order]
        twice = (starts[:-1] == starts[1:]) & (stops[:-1] == stops[1:])  # the very same strip may serve twice
        if ((stops[:-1] > starts[1:]) & (stops[1:] > starts[1:]) & ~twice).any():
            raise BadInput(f"{name} has strips or tiles that lie over each other: the file is damaged.")
        if ((starts <= page.offset) & (page.offset < stops)).any():
            raise BadInput(f"{name} has strips or tiles that lie over its tags: the file is damaged.")

    def plain(self, page: Any) -> bool:
        """Whether this page's pixels lie uncompressed in one piece; that the keyframe's do says nothing of others."""
        offsets, counts = page.dataoffsets, page.databytecounts
        if not self.raw or len(offsets) < 2:
            return self.raw and len(offsets) == 1 and len(counts) < 2
        return len(counts) == len(offsets) and all(
            o + n == following for o, n, following in zip(offsets[:-1], counts[:-1], offsets[1:], strict=True)
        )

    def read(self, fd: int, page: Any, box: Box) -> Array:
        """The samples of a box in the five axes, native byte order."""
        if self.plain(page):
            return self.read_plain(fd, int(page.dataoffsets[0]), box)
        self.check(page, os.fstat(fd).st_size, self.name)
        out = np.empty(tuple(stop - start for start, stop in box), self.dtype)
        spans = [range(a // s, -(-b // s)) for (a, b), s in zip(box, self.segment, strict=True)]
        for at in np.ndindex(*(len(span) for span in spans)):
            place = tuple(span[i] for span, i in zip(spans, at, strict=True))
            self._paste(out, box, place, self._decode(fd, page, place))
        return out

    def _paste(self, out: Array, box: Box, place: tuple[int, ...], tile: Array) -> None:
        into, take = [], []
        for (start, stop), step, i, limit in zip(box, self.segment, place, self.shaped, strict=True):
            low, high = max(start, i * step), min(stop, (i + 1) * step, limit)
            into.append(slice(low - start, high - start))
            take.append(slice(low - i * step, high - i * step))
        piece = tile[tuple(take)]
        if piece.shape != out[tuple(into)].shape:
            raise BadInput(f"A strip or tile of {self.name} is smaller than it has to be.")
        out[tuple(into)] = piece

    def _decode(self, fd: int, page: Any, place: tuple[int, ...]) -> Array:
        """One whole strip or tile, as (1, depth, rows, columns, samples)."""
        index = int(np.ravel_multi_index(place, self.counts))
        offset, count = int(page.dataoffsets[index]), int(page.databytecounts[index])
        if not count:
            if offset or not self.sparse:
                raise BadInput(f"Strip or tile {index} of {self.name} is missing.")
            return np.full(self.segment, left_out(self.keyframe, self.dtype), self.dtype)
        data = os.pread(fd, count, offset)
        if len(data) != count:
            raise TruncatedInput(f"Strip or tile {index} of {self.name} is cut short.")
        if self.keyframe.compression == OLD_JPEG and not data.startswith(_START_OF_IMAGE):
            said = f"{self.name} is compressed by the old way of JPEG in TIFF, which cannot be read"
            raise Unsupported(f"{said}: save it with deflate, and upload it again.")
        if self.keyframe.jpegheader and b"\xff\xd9" not in data[-64:]:
            raise TruncatedInput(f"The JPEG data of strip or tile {index} of {self.name} are cut short.")
        try:
            tile = self._pixels(page, data, index)
        except ScrayError:
            raise
        except Exception as error:
            kind = Unsupported if _UNKNOWN.search(str(error)) else BadInput
            raise kind(f"Strip or tile {index} of {self.name} cannot be decoded: {str(error)[:200]}") from error
        if tile.dtype != self.dtype:
            raise BadInput(f"Strip or tile {index} of {self.name} decodes to {tile.dtype}, not {self.dtype}.")
        if self.keyframe.is_tiled and self.keyframe.compression in _UNSIZED and tile.shape[2] != self.segment[3]:
            raise BadInput(f"Tile {index} of {self.name} is smaller than it has to be.")
        return tile[np.newaxis]

    def _pixels(self, page: Any, data: bytes, index: int) -> Array:
        """A decoded strip or tile; of JPEG only what is proven whole, as its decoder fills in what is missing."""

        def decode(stream: bytes) -> Array:
            try:
                return np.asarray(page.decode(stream, index, **self._tables(page))[0])
            except Exception:
                if self.keyframe.is_tiled or not index:
                    raise
                return np.asarray(page.decode(stream, 0, **self._tables(page))[0])  # a last strip filled up with rows

        if self.keyframe.compression in FAX:
            return self._fax(page, data, index)
        what = f"Strip or tile {index} of {self.name}"
        if self.keyframe.compression == LERC:
            packed = self.keyframe.tags[PARAMETERS].value[1] if PARAMETERS in self.keyframe.tags else 0
            return decode_lerc(data, packed, self.shaped[4], page.parent.byteorder, what)[np.newaxis]
        if self.keyframe.compression in _JPEG_XR:
            return _unmoved(data, decode, what)
        if self.keyframe.compression not in JPEG_CODES or self.keyframe.jpegheader:
            return decode(data)
        found = parse_jpeg(data, what, page.jpegtables or b"")
        plane = partial(self._plane, page.jpegtables)
        return decode_whole(data, found, plane if self.keyframe.planarconfig == 2 else decode, what)

    def _plane(self, tables: bytes | None, stream: bytes) -> Array:
        """One plane of several is grey, whatever they are together."""
        plane = jpeg_decode(stream, tables=tables, bitspersample=int(self.keyframe.bitspersample))
        if plane.ndim != 2:
            raise BadInput(f"{self.name} has planes of one sample a pixel, and JPEG data of several.")
        return plane[np.newaxis, ..., np.newaxis]

    def _fax(self, page: Any, data: bytes, index: int) -> Array:
        pixels = np.asarray(page.decode(data, index)[0])
        options = page.tags.get(292)
        reverse = self.keyframe.fillorder == 2
        compression, flags = int(self.keyframe.compression), int(options.value) if options else 0
        if not proven(pixels.reshape(-1, self.segment[3]), data, compression, flags, reverse=reverse):
            what = f"Strip or tile {index} of {self.name}"
            raise BadInput(f"{what} is damaged or oddly coded: its fax codes are not its pixels.")
        return pixels.astype(np.bool_)

    def _tables(self, page: Any) -> dict[str, Any]:
        if self.keyframe.compression not in JPEG_CODES:
            return {}
        return {"jpegtables": page.jpegtables, "jpegheader": self.keyframe.jpegheader}

    def read_plain(self, fd: int, offset: int, box: Box) -> Array:
        """A box of an uncompressed page whose pixels lie in one piece from `offset` on."""
        stored = self.dtype.newbyteorder(self.keyframe.parent.byteorder)
        planes, depths, (y0, _), columns, samples = box
        _, _, _, width, depth_samples = self.shaped
        out = np.empty(tuple(stop - start for start, stop in box), stored)
        row_bytes = width * depth_samples * self.dtype.itemsize
        for p in range(*planes):
            for d in range(*depths):
                start = offset + ((p * self.shaped[1] + d) * self.shaped[2] + y0) * row_bytes
                self._rows(fd, start, out[p - planes[0], d - depths[0]], columns, samples)
        return out.astype(self.dtype, copy=False)

    def _rows(self, fd: int, start: int, out: Array, columns: tuple[int, int], samples: tuple[int, int]) -> None:
        width, count = self.shaped[3], self.shaped[4]
        pixel = count * self.dtype.itemsize
        row_bytes = width * pixel
        if columns == (0, width) and samples == (0, count):
            pread_exact(fd, out, start, self.name)
            return
        narrow = 2 * (columns[1] - columns[0]) < width
        left, right = columns if narrow else (0, width)
        rows = 1 if narrow else max(1, BLOCK_BYTES // row_bytes)
        for y in range(0, len(out), rows):
            block = np.empty((min(rows, len(out) - y), right - left, count), out.dtype)
            pread_exact(fd, block, start + y * row_bytes + left * pixel, self.name)
            out[y : y + rows] = block[:, columns[0] - left : columns[1] - left, samples[0] : samples[1]]


def _check_readable(page: Any, name: str) -> None:
    """Raise Unsupported for pixels that no reader decodes, or that readers disagree about."""
    coding = page.compression
    if page.dtype is None or isinstance(page.bitspersample, tuple):
        raise Unsupported(f"{name} has samples of {page.bitspersample} bits in a format that cannot be read.")
    if page.bitspersample == 24 and np.dtype(page.dtype).kind in "iu":
        raise Unsupported(f"{name} has integers of 24 bits, whose byte order no standard settles.")
    if not _decodable(coding):
        said = f"{name} is compressed in a way that cannot be read ({getattr(coding, 'name', coding)})"
        raise Unsupported(f"{said}: save it with deflate or uncompressed, and upload it again.")
    if page.predictor != 1 and coding not in _PREDICTED:
        raise Unsupported(f"{name} has a predictor where its compression knows none: readers disagree about it.")
    if page.is_subsampled and (coding not in JPEG_CODES or page.planarconfig == 2):
        said = f"{name} has YCbCr with fewer samples of colour than of brightness, and not as JPEG"
        raise Unsupported(f"{said}: readers disagree about it. Save it as RGB and upload it again.")
    if _SONY_RAW in page.tags and coding in JPEG_CODES:
        raise Unsupported(f"{name} is a raw photo of Sony, whose samples lie in an order of their own.")


def decoded_as_rgb(page: Any) -> bool:
    """Whether the decoder makes RGB of the brightness and colours that the page says it has."""
    return bool(page.photometric == _YCBCR and page.compression in JPEG_CODES and page.planarconfig == 1)


def _decodable(coding: int) -> bool:
    """Whether there is a decoder; the library's table knows only by being asked."""
    try:
        return coding == 1 or bool(tifffile.TIFF.DECOMPRESSORS[coding])
    except KeyError:
        return False


def _check_tags(page: Any, name: str) -> None:
    """Raise where tags contradict each other or have values that no standard knows: readers would guess."""
    said = {code: tag.value for code, tag in page.tags.items() if code in (258, 284)}
    bits, kind = page.bitspersample, np.dtype(page.dtype).kind
    if kind == "c" and page.predictor != 1:
        raise Unsupported(f"{name} stores differences of complex numbers: no standard says how they are taken.")
    if page.predictor == 2 and bits not in (8, 16, 32, 64):
        raise Unsupported(f"{name} stores differences of samples of {bits} bits: no standard says how they are taken.")
    if page.predictor == 3 and kind != "f":
        raise BadInput(f"{name} says that its differences are of floats and its samples are not.")
    if said.get(284, 1) not in (1, 2):
        raise BadInput(f"{name} has a planar configuration that does not exist.")
    if page.fillorder not in (1, 2):
        raise BadInput(f"{name} has an order of bits that does not exist.")
    if page.samplesperpixel < 1 or (277 in page.tags and not page.tags[277].value):
        raise BadInput(f"{name} says that its pixels have no samples.")
    if 273 in page.tags and 324 in page.tags:
        raise BadInput(f"{name} says where its strips are and where its tiles are: readers would guess.")
    told = len(said[258]) if isinstance(said.get(258), tuple) else 1
    if told > 1 and (page.samplesperpixel == 1 or told < page.samplesperpixel):  # some writers tell one too many
        raise BadInput(f"{name} has {page.samplesperpixel} samples a pixel and says the bits of {told}.")
    if 258 not in said and (page.samplesperpixel > 1 or page.photometric not in (0, 1)):
        raise BadInput(f"{name} does not say how many bits its samples have.")


def _unmoved(data: bytes, decode: Callable[[bytes], Array], what: str) -> Array:
    """The pixels of JPEG XR data, which are whole if further data behind them change nothing."""
    pixels = decode(data)
    if decode(data + _NOISE).tobytes() != pixels.tobytes():
        raise TruncatedInput(f"{what} is cut short: its JPEG XR data end before its last pixel.")
    return pixels


def pread_exact(fd: int, out: Array, offset: int, name: str) -> None:
    """Fill a contiguous array from a file position; raises TruncatedInput where the file ends first."""
    view = memoryview(out.reshape(-1).view(np.uint8).data)
    while view:
        got = os.preadv(fd, [view], offset)
        if not got:
            raise TruncatedInput(f"{name} ends before its pixels do: the file is cut short.")
        view, offset = view[got:], offset + got


def _segment_shape(page: Any, name: str) -> tuple[int, ...]:
    """The shape of one strip or tile in the five axes."""
    samples = int(page.shaped[4])
    if page.is_tiled:
        shape = (1, int(page.tiledepth), int(page.tilelength), int(page.tilewidth), samples)
    else:
        shape = (1, 1, int(page.rowsperstrip), int(page.shaped[3]), samples)
    if min(shape) < 1:
        raise BadInput(f"{name} declares strips or tiles of shape {shape}.")
    return shape
