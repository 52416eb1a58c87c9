"""A JPEG file's own structure (ITU-T T.81 annex B), and whether its entropy-coded data are all there.

The decoder fills what is missing with grey and says nothing, so success of the decoder proves nothing. Two trials
do: data put in before the end of each scan must not change a pixel (else the scan ended early), and the last bytes of
the last scan, spoiled, must change some (else the scan lost its step and ended too soon). Damage that keeps the step
cannot be seen: the format has no checksum.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from converters.volume import Array
from scray.errors import BadInput, TruncatedInput, Unsupported

_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
LOSSLESS = "lossless"
_DECODABLE = {
    0xC3: LOSSLESS,
    0xC0: "baseline",
    0xC1: "extended",
    0xC2: "progressive",
    0xC9: "arithmetic",
    0xCA: "arithmetic",
}
_MARKER = re.compile(rb"\xff+[\x01-\xfe]", re.DOTALL)
_STUFFING = bytes((n * 151 + 43) % 250 for n in range(64))  # no 0xFF, neither zeros nor ones alone
_TAIL_BYTES = 6
_SPOILS = 24  # ways to spoil the end, tried until one is seen: a single one may leave all visible pixels as they are
TELLING_BYTES = 32
PIXELS_A_BYTE = 512  # a block of 64 pixels costs at least one bit


@dataclass
class JpegFile:
    """What the markers say. `scans` are the [start, stop) of entropy-coded pieces, restart intervals apart."""

    width: int = 0
    height: int = 0
    precision: int = 0
    components: int = 0
    process: str = ""
    exif: bytes = b""
    xmp: bytes = b""
    comments: list[bytes] = field(default_factory=list)
    icc_parts: dict[int, bytes] = field(default_factory=dict)
    adobe_transform: int | None = None
    several: bool = False  # a multi-picture file (CIPA DC-007): others follow
    scans: list[tuple[int, int]] = field(default_factory=list)
    refined: dict[int, bytearray] = field(default_factory=dict)  # lowest bit that scans told, a component, coefficient
    end: int = 0

    @property
    def icc(self) -> bytes:
        return b"".join(self.icc_parts[n] for n in sorted(self.icc_parts))


def parse_jpeg(data: bytes, name: str) -> JpegFile:
    """Walk the markers up to the end of the image; raises TruncatedInput, BadInput or Unsupported by name."""
    found = JpegFile()
    at = 2
    while True:
        marker, at = _next_marker(data, at, name)
        if marker == 0xD9:
            break
        if marker in _STANDALONE:
            continue
        body, after = _segment(data, at, name)
        _note(found, marker, body, name)
        at = _entropy(data, after, found, name) if marker == 0xDA else after
    found.end = at
    _check(found, name)
    return found


def _next_marker(data: bytes, at: int, name: str) -> tuple[int, int]:
    if at < len(data) and data[at] != 0xFF:
        raise BadInput(f"{name} is damaged: there is no JPEG marker where one has to be.")
    while at < len(data) and data[at] == 0xFF:
        at += 1
    if at >= len(data):
        raise TruncatedInput(f"{name} is cut short: the JPEG image has no end.")
    return data[at], at + 1


def _segment(data: bytes, at: int, name: str) -> tuple[bytes, int]:
    if at + 2 > len(data):
        raise TruncatedInput(f"{name} is cut short within its JPEG markers.")
    length = struct.unpack_from(">H", data, at)[0]
    if length < 2 or at + length > len(data):
        raise TruncatedInput(f"{name} is cut short or damaged: a JPEG marker reaches beyond its end.")
    return data[at + 2 : at + length], at + length


def _note(found: JpegFile, marker: int, body: bytes, name: str) -> None:
    if marker in _FRAMES:
        _frame(found, marker, body, name)
    elif marker == 0xDA:
        _scan(found, body, name)
    elif marker == 0xDC:
        raise Unsupported(f"{name} is a JPEG that states its height after its pixels, which cannot be read.")
    elif marker == 0xE1 and body.startswith(b"Exif\0") and not found.exif:
        found.exif = body[6:]
    elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
        found.xmp = body[29:]
    elif marker == 0xE2 and body.startswith(b"MPF\0"):
        found.several = True
    elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
        found.icc_parts.setdefault(body[12], body[14:])
    elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        found.adobe_transform = body[11]
    elif marker == 0xFE:
        found.comments.append(body)


def _frame(found: JpegFile, marker: int, body: bytes, name: str) -> None:
    if found.process:
        raise BadInput(f"{name} is damaged: it describes its JPEG frame twice.")
    if marker not in _DECODABLE:
        raise Unsupported(f"{name} is a hierarchical JPEG, which cannot be read.")
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise BadInput(f"{name} is damaged: the description of its JPEG frame is too short.")
    found.precision, found.height, found.width, found.components = struct.unpack_from(">BHHB", body)
    found.process = _DECODABLE[marker]


def _scan(found: JpegFile, body: bytes, name: str) -> None:
    """Which bits of which coefficients a scan tells: 64 a component, spectral selection, successive approximation."""
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count or max(body[-3], body[-2]) > 63:
        raise BadInput(f"{name} is damaged: the description of a JPEG scan is wrong.")
    first, last, low = body[-3], body[-2], body[-1] & 15
    for component in body[1 : 1 + 2 * count : 2]:
        told = found.refined.setdefault(component, bytearray(b"\xff" * 64))
        told[first : last + 1] = bytes([low]) * (last + 1 - first)


def _entropy(data: bytes, start: int, found: JpegFile, name: str) -> int:
    """The position of the marker that ends a scan."""
    while True:
        match = _MARKER.search(data, start)
        if match is None:
            raise TruncatedInput(f"{name} is cut short: its JPEG data end before the image does.")
        found.scans.append((start, match.start()))
        if not 0xD0 <= data[match.end() - 1] <= 0xD7:
            return match.start()
        start = match.end()


def _check(found: JpegFile, name: str) -> None:
    if not found.process or not found.scans:
        raise BadInput(f"{name} is a JPEG without an image.")
    if found.precision not in (8, 12) and found.process != LOSSLESS:
        raise Unsupported(f"{name} is a JPEG of {found.precision} bits a sample; only 8 and 12 can be read.")
    if not found.width or not found.height:
        raise BadInput(f"{name} is a JPEG of {found.width}×{found.height} pixels.")
    if found.process != LOSSLESS and len(found.refined) != found.components:
        raise TruncatedInput(f"{name} is cut short: some of its JPEG components have no scan.")
    if found.process == "progressive" and any(any(told) for told in found.refined.values()):
        raise TruncatedInput(f"{name} is cut short: the scans that refine its JPEG image are not all there.")
    coded = sum(stop - start for start, stop in found.scans)
    if found.process != LOSSLESS and found.width * found.height > PIXELS_A_BYTE * max(1, coded):
        raise TruncatedInput(f"{name} claims {found.width}×{found.height} pixels in {coded} bytes of JPEG data.")


def decode_whole(data: bytes, found: JpegFile, decode: Callable[[bytes], Array], name: str) -> Array:
    """The pixels that `decode` makes; raises TruncatedInput or BadInput where they are not what was once encoded."""
    pixels = decode(data)
    whole = _digest(pixels)
    if _digest(decode(with_more(data, found))) != whole:
        raise TruncatedInput(f"{name} is cut short: its JPEG data end before its last pixel.")
    # Scans of a progressive image refine what is there: their last bytes need not be seen; nor those of a tiny one.
    telling = found.process == "baseline" and found.scans[-1][1] - found.scans[-1][0] >= TELLING_BYTES
    if telling and all(_digest(decode(with_spoilt_end(data, found, n))) == whole for n in range(_SPOILS)):
        raise BadInput(f"{name} is damaged: its JPEG data go on after its last pixel.")
    return pixels


def _digest(pixels: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data).digest()


def with_more(data: bytes, found: JpegFile) -> bytes:
    """The image with data put in at the end of each piece of a scan: a whole image decodes to the same pixels."""
    pieces, at = [], 0
    for _, stop in found.scans:
        pieces += [data[at:stop], _STUFFING]
        at = stop
    return b"".join(pieces) + data[at : found.end]


def with_spoilt_end(data: bytes, found: JpegFile, number: int) -> bytes:
    """The image with the end of its last scan changed in one of several ways: a whole image decodes to other pixels."""
    stop = found.scans[-1][1]
    first = stop - _TAIL_BYTES
    first += data[first - 1] == 0xFF  # what follows belongs to it
    noise = bytes((n * 97 + number * 71 + number * n * 13) % 250 for n in range(stop - first))
    return data[:first] + noise + data[stop : found.end]
