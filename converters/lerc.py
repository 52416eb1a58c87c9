"""LERC strips and tiles of TIFF (Esri's Limited Error Raster Compression): what is no number is in a mask.

libtiff, which defined LERC in TIFF, leaves NaN out of the numbers, and an alpha of two values too; samples of a pixel
that are not all NaN together it keeps as bands, each with a mask (tif_lerc.c of libtiff 4.5).
"""

from __future__ import annotations

import imagecodecs
import numpy as np

from converters.volume import Array
from scray.errors import BadInput, Unsupported

LERC = 34887
PARAMETERS = 50674  # the tag: version, and what LERC is packed with
_PACKED = {1: imagecodecs.zlib_decode, 2: imagecodecs.zstd_decode}
_MAGIC, _FIRST_WITH_SAMPLES = b"Lerc2 ", 4


def decode_lerc(data: bytes, packed: int, samples: int, order: str, what: str) -> Array:
    """A strip or tile as (rows, columns, samples); raises BadInput or Unsupported, naming `what`.

    `packed` is 1 for deflate around LERC and 2 for Zstandard. In a file of `order` ">" the bytes were swapped first.
    """
    image = _valued(data, packed, samples, what)
    return image.view(image.dtype.newbyteorder()).astype(image.dtype) if order == ">" else image


def _valued(data: bytes, packed: int, samples: int, what: str) -> Array:
    data = bytes(_PACKED[packed](data)) if packed in _PACKED else data
    found, mask = imagecodecs.lerc_decode(data, masks=True)
    image = _samples_last(np.asarray(found), data)
    valid = np.ones((1, 1, 1), np.bool_) if mask is None else _samples_last(np.asarray(mask, np.bool_), b"")
    if image.shape[2] == samples - 1 and image.dtype == np.uint8:
        alpha = np.broadcast_to(np.uint8(255) * valid[..., :1], (*image.shape[:2], 1))
        return np.concatenate([image, alpha], axis=2, dtype=np.uint8)
    if image.shape[2] != samples:
        raise BadInput(f"{what} has {image.shape[2]} samples a pixel in its LERC data, not {samples}.")
    if valid.all():
        return image
    if image.dtype.kind != "f":
        raise Unsupported(f"{what} has integers that its LERC data mark as no numbers.")
    return np.where(valid, image, image.dtype.type(np.nan))


def _samples_last(array: Array, data: bytes) -> Array:
    """LERC has the samples of a pixel behind, if it counts them itself, else one image behind the other."""
    if array.ndim == 2:
        return array[..., np.newaxis]
    if array.ndim != 3:
        raise BadInput("LERC data hold several images of several samples a pixel.")
    return array if _samples(data) > 1 else np.moveaxis(array, 0, -1)


def _samples(data: bytes) -> int:
    """How many samples a pixel the header counts: behind name, version, checksum, rows and columns."""
    version = int.from_bytes(data[6:10], "little")
    counts = data.startswith(_MAGIC) and version >= _FIRST_WITH_SAMPLES
    return int.from_bytes(data[22:26], "little") if counts else 1
