"""A PNG file's chunks (W3C PNG specification, third edition), walked and their checksums verified before decoding."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from scray.errors import BadInput, TruncatedInput, Unsupported

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_COLOURS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA"}
CHUNK_BYTES = 12  # of every chunk beside its body: length, kind, checksum
DEFLATE_RATIO = 1040  # deflate cannot do better than 1032
MAX_TEXT = 1 << 20
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_KEPT = frozenset({b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs", b"tIME", b"bKGD"})


@dataclass
class PngFile:
    """What the chunks say; `components` of a decoded pixel, palettes expanded."""

    width: int = 0
    height: int = 0
    bits: int = 0
    colour_type: int = 0
    interlaced: bool = False
    transparent: bool = False
    palette: tuple[int, int] = (0, 0)  # [start, stop) of its chunk
    animated: bool = False
    data_bytes: int = 0
    exif: bytes = b""
    icc: bytes = b""
    texts: dict[str, str] = field(default_factory=dict)
    chunks: dict[str, str] = field(default_factory=dict)

    @property
    def components(self) -> int:
        bare = 3 if self.colour_type == 3 else _SAMPLES[self.colour_type]
        return bare + (1 if self.transparent and bare in (1, 3) else 0)

    @property
    def dtype(self) -> str:
        return "<u2" if self.bits == 16 else "|u1"

    @property
    def few_colours(self) -> bool:
        """Whether a pixel can have a number that the palette has no colour for."""
        start, stop = self.palette
        return self.colour_type == 3 and stop - start - CHUNK_BYTES < 3 << self.bits

    @property
    def colour(self) -> str:
        return _COLOURS[self.components]


def parse_png(data: bytes, name: str) -> PngFile:
    """Walk the chunks to the end; raises TruncatedInput, BadInput or Unsupported by name."""
    found = PngFile()
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        start = at
        kind, body, at = _chunk(data, at, name)
        if kind == b"PLTE":
            found.palette = start, at
        if not found.width and kind != b"IHDR":
            raise BadInput(f"{name} is damaged: it does not begin with a PNG header.")
        if kind[:1].isupper() and kind not in _CRITICAL:
            raise Unsupported(f"{name} has a chunk {kind.decode('latin-1')!r}, which no PNG reader may pass over.")
        _note(found, kind, body, name)
    _check(found, name)
    return found


def with_more_colours(data: bytes, found: PngFile) -> bytes:
    """The image with a palette filled up with white: pixels that change had no colour, and were made black."""
    start, stop = found.palette
    body = b"PLTE" + data[start + 8 : stop - 4].ljust(3 << found.bits, b"\xff")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:start] + chunk + data[stop:]


def _chunk(data: bytes, at: int, name: str) -> tuple[bytes, memoryview, int]:
    if at + 12 > len(data):
        raise TruncatedInput(f"{name} is cut short: the PNG image has no end.")
    length, kind = struct.unpack_from(">I4s", data, at)
    if at + 12 + length > len(data):
        raise TruncatedInput(f"{name} is cut short or damaged within its chunk {kind!r}.")
    body = memoryview(data)[at + 8 : at + 8 + length]
    stated = struct.unpack_from(">I", data, at + 8 + length)[0]
    if zlib.crc32(body, zlib.crc32(kind)) != stated:
        raise BadInput(f"{name} is damaged: the checksum of its chunk {kind.decode('latin-1')!r} is wrong.")
    return kind, body, at + 12 + length


def _note(found: PngFile, kind: bytes, body: memoryview, name: str) -> None:
    if kind == b"IHDR":
        _header(found, body, name)
    elif kind == b"IDAT":
        found.data_bytes += len(body)
    elif kind == b"tRNS":
        found.transparent = True
    elif kind == b"acTL":
        found.animated = True
    elif kind == b"eXIf":
        found.exif = bytes(body)
    else:
        _describe(found, kind, bytes(body))


def _header(found: PngFile, body: memoryview, name: str) -> None:
    if found.width or len(body) != 13:
        raise BadInput(f"{name} is damaged: its PNG header is wrong.")
    width, height, bits, colour, method, filtering, interlace = struct.unpack(">IIBBBBB", body)
    if not width or not height or bits not in _DEPTHS.get(colour, ()) or method or filtering or interlace > 1:
        raise BadInput(f"{name} is damaged: its PNG header holds values that no PNG has.")
    found.width, found.height, found.bits, found.colour_type = width, height, bits, colour
    found.interlaced = bool(interlace)


def _describe(found: PngFile, kind: bytes, body: bytes) -> None:
    if kind in (b"tEXt", b"zTXt", b"iTXt") and len(found.texts) < 1000:
        word, _, rest = body.partition(b"\0")
        found.texts[word.decode("latin-1")] = _text(kind, rest)
    elif kind == b"iCCP":
        found.icc = _inflate(body.partition(b"\0")[2][1:])
    elif kind in _KEPT:
        found.chunks[kind.decode()] = body.hex()


def _text(kind: bytes, rest: bytes) -> str:
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        return _inflate(rest[1:]).decode("latin-1")
    packed = rest[:1] == b"\1"
    value = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return (_inflate(value) if packed else value).decode("utf-8", "replace")


def _inflate(data: bytes) -> bytes:
    """At most MAX_TEXT bytes; nothing where the data are damaged: it is no pixel."""
    try:
        return zlib.decompressobj().decompress(data, MAX_TEXT)
    except zlib.error:
        return b""


def _check(found: PngFile, name: str) -> None:
    if found.colour_type == 3 and not any(found.palette):
        raise BadInput(f"{name} is damaged: its palette is missing.")
    row_bits = found.width * found.bits * _SAMPLES[found.colour_type]
    if not found.data_bytes or found.height * (row_bits // 8) > found.data_bytes * DEFLATE_RATIO:
        raise TruncatedInput(f"{name} claims {found.width}×{found.height} pixels in {found.data_bytes} bytes of data.")
