"""Bilevel fax coding (ITU-T T.4 and T.6) as TIFF holds it: proof that a strip's decoded pixels are what was encoded.

The decoder fills what is missing or damaged with white and says nothing. But these codes leave an encoder no choice:
the pixels encoded anew are the same bits, but for the ends of lines and of the page, and padding.
"""

from __future__ import annotations

import io
import re

import numpy as np
import tifffile
from PIL import Image

from converters.volume import Array

RLE, GROUP3, RLE_WORDS, GROUP4 = 2, 3, 32771, 4
FAX = frozenset({RLE, GROUP3, RLE_WORDS, GROUP4})
_NAMES = {RLE: "tiff_ccitt", GROUP3: "group3", GROUP4: "group4"}
_END_OF_LINE = re.compile("0{11,}1")  # no run of codes has eleven zeros
_END_OF_BLOCK = "000000000001" * 2
_T4_OPTIONS, _ROWS_A_STRIP = 292, 278
_REVERSED = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))


def proven(pixels: Array, data: bytes, compression: int, options: int, *, reverse: bool) -> bool:
    """Whether these pixels, (rows, columns) of 0 and 1, encode to this strip; `reverse`: its bits are low to high."""
    if compression not in _NAMES:
        return False
    stored = data.translate(_REVERSED) if reverse else data
    return _codes(stored, compression) == _codes(_encoded(pixels, compression, options), compression)


def _encoded(pixels: Array, compression: int, options: int) -> bytes:
    """One strip, as libtiff encodes it."""
    out = io.BytesIO()
    tags = {_ROWS_A_STRIP: len(pixels)} | ({_T4_OPTIONS: options} if compression == GROUP3 else {})
    Image.fromarray(pixels.astype(np.bool_)).save(out, "TIFF", compression=_NAMES[compression], tiffinfo=tags)
    out.seek(0)
    with tifffile.TiffFile(out) as file:
        page = file.pages.first
        out.seek(page.dataoffsets[0])
        return out.read(sum(page.databytecounts))


def _codes(data: bytes, compression: int) -> object:
    """What a strip says of its pixels, without the ends of lines and of the page, and padding."""
    if compression == RLE:
        return data.rstrip(b"\0")
    bits = bin(int.from_bytes(b"\1" + data, "big"))[3:].rstrip("0")
    if compression == GROUP4:
        return bits.partition(_END_OF_BLOCK)[0].rstrip("0")  # what follows it nobody reads
    return [line.rstrip("0") for line in _END_OF_LINE.split(bits) if line]
