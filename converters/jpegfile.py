"""A JPEG file's own structure (ITU-T T.81 annex B), and whether its entropy-coded data are all there.

The decoder fills what is missing with grey and says nothing, so success of the decoder proves nothing. The codes of a
sequential image are walked (`converters.huffman`). Of others a trial is made: data put in before the end of each scan
must not change a pixel, else the scan ended early. Damage that keeps the step cannot be seen: the format has no
checksum.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from converters.huffman import Coded, Part, check_codes
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
_UNSAID = b"\0"  # an arithmetic coder leaves out the zeros at its end (T.81 D.1.8), and decoders add them
MAX_SAMPLING = 4
WALKED_PIXELS = 1 << 27  # walking the codes of more would take longer than a step may be silent
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
    coded: list[Coded] = field(default_factory=list)  # scans, where every table of them is known
    frame: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # of a component: blocks across, down, steps
    huffman: dict[int, bytes] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)  # of means, by the number of a quantisation table
    interval: int = 0
    refined: dict[int, bytearray] = field(default_factory=dict)  # lowest bit that scans told, a component, coefficient
    end: int = 0

    @property
    def icc(self) -> bytes:
        return b"".join(self.icc_parts[n] for n in sorted(self.icc_parts))


def parse_jpeg(data: bytes, name: str, tables: bytes = b"") -> JpegFile:
    """Walk the markers up to the end of the image; raises TruncatedInput, BadInput or Unsupported by name.

    `tables` are what an image without tables of its own shares with others.
    """
    found = JpegFile()
    _shared(tables, found, name)
    at = 2
    while True:
        marker, at = _next_marker(data, at, name)
        if marker == 0xD9:
            break
        if marker in _STANDALONE:
            continue
        body, after = _segment(data, at, name)
        _note(found, marker, body, name)
        at = _entropy(data, after, found, body, name) if marker == 0xDA else after
    found.end = at
    _check(found, name)
    return found


def _shared(tables: bytes, found: JpegFile, name: str) -> None:
    at = 2
    while at < len(tables):
        marker, at = _next_marker(tables, at, name)
        if marker == 0xD9:
            break
        body, at = _segment(tables, at, name)
        if marker in (0xC4, 0xDB):
            _note(found, marker, body, name)


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
    elif marker == 0xC4:
        _huffman(found, body)
    elif marker == 0xDB:
        _quantisation(found, body)
    elif marker == 0xDD and len(body) >= 2:
        found.interval = struct.unpack_from(">H", body)[0]
    elif marker == 0xDC:
        raise Unsupported(f"{name} is a JPEG that states its height after its pixels, which cannot be read.")
    elif marker == 0xE1 and body.startswith(b"Exif\0\0") and not found.exif:
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
    for identity, sampling, table in zip(*(body[i : 6 + 3 * body[5] : 3] for i in (6, 7, 8)), strict=True):
        found.frame[identity] = (sampling >> 4, sampling & 15, table)
        if not all(1 <= factor <= MAX_SAMPLING for factor in found.frame[identity][:2]):
            raise BadInput(f"{name} is damaged: the sampling of its JPEG components is impossible.")


def _huffman(found: JpegFile, body: bytes) -> None:
    while len(body) > 16:
        size = 17 + sum(body[1:17])
        found.huffman[body[0]] = body[1:size]
        body = body[size:]


def _quantisation(found: JpegFile, body: bytes) -> None:
    while len(body) > 64:
        wide = body[0] >> 4 != 0
        found.steps[body[0] & 15] = int.from_bytes(body[1 : 2 + wide])
        body = body[129 if wide else 65 :]


def _scan(found: JpegFile, body: bytes, name: str) -> None:
    """Which bits of which coefficients a scan tells: 64 a component, spectral selection, successive approximation."""
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count or max(body[-3], body[-2]) > 63:
        raise BadInput(f"{name} is damaged: the description of a JPEG scan is wrong.")
    first, last, low = body[-3], body[-2], body[-1] & 15
    for component in body[1 : 1 + 2 * count : 2]:
        told = found.refined.setdefault(component, bytearray(b"\xff" * 64))
        told[first : last + 1] = bytes([low]) * (last + 1 - first)


def _entropy(data: bytes, start: int, found: JpegFile, body: bytes, name: str) -> int:
    """The position of the marker that ends the scan that `body` describes."""
    before = len(found.scans)
    while True:
        match = _MARKER.search(data, start)
        if match is None:
            raise TruncatedInput(f"{name} is cut short: its JPEG data end before the image does.")
        found.scans.append((start, match.start()))
        restart = data[match.end() - 1] - 0xD0
        if not 0 <= restart <= 7:
            found.coded += _coded(found, body, found.scans[before:])
            return match.start()
        if restart != (len(found.scans) - before - 1) % 8:
            raise BadInput(f"{name} is damaged: the restarts of its JPEG data do not follow each other.")
        start = match.end()


def _coded(found: JpegFile, body: bytes, pieces: list[tuple[int, int]]) -> list[Coded]:
    """A scan as its codes are walked; none where it is not sequential, or lacks a table, which decoders then assume."""
    last = 1 + 2 * body[0]
    chosen = [(found.frame.get(i), tables) for i, tables in zip(body[1:last:2], body[2:last:2], strict=True)]
    if found.process not in ("baseline", "extended") or not chosen:
        return []
    parts = []
    for component, tables in chosen:
        dc, ac = found.huffman.get(tables >> 4), found.huffman.get(16 | tables & 15)
        if component is None or dc is None or ac is None or component[2] not in found.steps:
            return []
        blocks = component[0] * component[1] if len(chosen) > 1 else 1
        parts.append(Part(blocks, dc, ac, found.steps[component[2]]))
    return [Coded(tuple(parts), _units(found, [c for c, _ in chosen if c]), found.interval, tuple(pieces))]


def _units(found: JpegFile, components: list[tuple[int, int, int]]) -> int:
    """How many units a scan has: blocks of a single component, else what all components have of the same pixels."""
    across, down = (max(c[i] for c in found.frame.values()) for i in (0, 1))
    if len(components) > 1:
        return math.ceil(found.width / (8 * across)) * math.ceil(found.height / (8 * down))
    ((width, height, _),) = components
    columns, rows = math.ceil(found.width * width / across), math.ceil(found.height * height / down)
    return math.ceil(columns / 8) * math.ceil(rows / 8)


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
    known = sum(len(coded.pieces) for coded in found.coded) == len(found.scans)
    if known and found.width * found.height <= WALKED_PIXELS:
        for coded in found.coded:
            check_codes(data, coded, found.precision, name)
        return decode(data)
    pixels = decode(data)
    if _digest(decode(with_more(data, found))) != _digest(pixels):
        raise TruncatedInput(f"{name} is cut short: its JPEG data end before its last pixel.")
    return pixels


def _digest(pixels: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data).digest()


def with_more(data: bytes, found: JpegFile) -> bytes:
    """The image with data put in at the end of each piece of a scan: a whole image decodes to the same pixels."""
    more = _UNSAID + _STUFFING if found.process == "arithmetic" else _STUFFING
    pieces, at = [], 0
    for _, stop in found.scans:
        pieces += [data[at:stop], more]
        at = stop
    return b"".join(pieces) + data[at : found.end]
