"""Whether the chunks of an HDF5 dataset unpack to as many bytes as their samples need.

The library does not look: of a chunk whose filters give fewer bytes it shows what lies behind them in its memory (HDF5
File Format Specification 3.0, "Filter Pipeline"). Sizes are taken from the headers of the codecs where these have one.
"""

from __future__ import annotations

import bz2
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import h5py
import imagecodecs
import numpy as np

from converters.h5scale import HEAD_BYTES, at_the_edge, sample_bytes
from converters.volume import Box
from scray.errors import BadInput, TruncatedInput

_CHECKSUM_BYTES = 4
_BITSHUFFLE_CODEC = 4  # which of its numbers names the codec behind it; 0 is none
_BIG_ENDIAN_HEAD = 8
_BITS = (h5py.h5z.FILTER_NBIT, h5py.h5z.FILTER_SCALEOFFSET)
_NBIT_AS_IT_IS, _NBIT_CLASS, _NBIT_PRECISION = 1, 3, 6  # where n-bit's numbers have these
_NBIT_NUMBERS = 1
_MORE_BYTES = 4096  # of packed bytes than of samples, where one filter follows another


# What a filter gives, at most so many bytes.
_CODECS: dict[int, Callable[[bytes, int], bytes | bytearray]] = {
    h5py.h5z.FILTER_DEFLATE: lambda data, limit: imagecodecs.deflate_decode(data, out=limit),
    307: lambda data, limit: bz2.BZ2Decompressor().decompress(data, limit),
    32000: lambda data, limit: imagecodecs.lzf_decode(data, out=limit),
    # The filter takes the error code of its decoder for a size, and memory that nobody wrote for samples.
    32015: lambda data, limit: imagecodecs.zstd_decode(data, out=limit),
}
# How many bytes others say that they give; those that are nowhere cannot be asked.
_SIZES: dict[int, Callable[[bytes], int]] = {
    h5py.h5z.FILTER_SZIP: lambda data: int.from_bytes(data[:4], "little"),
    32001: lambda data: int.from_bytes(data[4:8], "little"),
    32004: lambda data: int.from_bytes(data[:_BIG_ENDIAN_HEAD], "big"),
    32008: lambda data: int.from_bytes(data[:_BIG_ENDIAN_HEAD], "big"),
}


class Chunks:
    """The chunks of an open dataset that were looked at, each once."""

    def __init__(self, item: Any, name: str) -> None:
        self.item, self.name = item, name
        properties = item.id.get_create_plist()
        written = item.chunks and item.id.get_storage_size()  # of chunks of nothing h5py asks for any number of bytes
        known = written and not item.dtype.hasobject  # a text of any length takes more in the file than is told
        self.filters = [properties.get_filter(i) for i in range(properties.get_nfilters())] if known else []
        self.samples = math.prod(item.chunks or ())
        self.bytes = self.samples * sample_bytes(item)
        self.seen: set[tuple[int, ...]] = set()

    def check(self, box: Box) -> None:
        """Raise TruncatedInput for a chunk that a box touches and that is too short; BadInput as decoders do."""
        if not self.filters:
            return
        for at in self._touched(box):
            if at not in self.seen:
                self.seen.add(at)
                self._check(at)

    def _touched(self, box: Box) -> Iterator[tuple[int, ...]]:
        spans = zip(box, self.item.chunks, strict=True)
        return product(*(range(start // c * c, stop, c) for (start, stop), c in spans))

    def _check(self, at: tuple[int, ...]) -> None:
        try:
            mask, data = self.item.id.read_direct_chunk(at)
        except RuntimeError:
            return  # never written
        if len(data) == self.bytes and at_the_edge(self.item, at):
            return  # as it is; if not, the library finds that it does not decode
        try:
            size = self._unpacked(data, mask)
        except (imagecodecs.DeflateError, imagecodecs.LzfError, imagecodecs.ZstdError) as error:
            raise BadInput(
                f"{self.name}: the chunk at {at} is damaged, or larger than its {self.bytes} bytes."
            ) from error
        if size is not None and size < self.bytes:
            raise TruncatedInput(f"{self.name}: the chunk at {at} unpacks to {size} of its {self.bytes} bytes.")

    def _unpacked(self, data: bytes, mask: int) -> int | None:
        """The bytes of a chunk after its filters; None where they cannot be told without undoing all of them."""
        mixed = False
        for number, (code, _, values, _) in reversed(list(enumerate(self.filters))):
            plain = code == 32008 and (len(values) <= _BITSHUFFLE_CODEC or not values[_BITSHUFFLE_CODEC])
            if mask >> number & 1:
                continue
            if code == h5py.h5z.FILTER_SHUFFLE:  # some write it behind the codec
                data = _unshuffled(data, *values[:1])
            elif plain:
                mixed = True
            elif code == h5py.h5z.FILTER_FLETCHER32:
                data = data[:-_CHECKSUM_BYTES]
            elif mixed:
                return None
            elif code in _CODECS:
                limit = 2 * self.bytes + _MORE_BYTES if _packs(self.filters[:number]) else self.bytes
                data = bytes(_CODECS[code](data, limit))
            elif code in _SIZES:
                return None if _packs(self.filters[:number]) else _SIZES[code](data)
            elif code in _BITS and not number:
                needed = _needed(code, data, values, self.samples, self.bytes // self.samples)
                return self.bytes if len(data) >= needed else len(data)
            else:
                return None
        return len(data)


def _needed(code: int, data: bytes, values: Sequence[int], samples: int, size: int) -> int:
    """The bytes that a filter that packs bits needs of so many samples of `size` bytes (H5Znbit; H5Zscaleoffset)."""
    if code == h5py.h5z.FILTER_SCALEOFFSET:
        return HEAD_BYTES + -(-samples * int.from_bytes(data[:4], "little") // 8)
    if len(values) <= _NBIT_PRECISION or values[_NBIT_CLASS] != _NBIT_NUMBERS:
        return 0
    return -(-samples * (8 * size if values[_NBIT_AS_IT_IS] else values[_NBIT_PRECISION]) // 8)


def _packs(filters: Sequence[tuple[int, Any, Any, Any]]) -> bool:
    """Whether these change how many bytes there are."""
    return any(code != h5py.h5z.FILTER_SHUFFLE for code, *_ in filters)


def _unshuffled(data: bytes, size: int = 1) -> bytes:
    """The bytes before shuffle put the first ones of all samples of `size` bytes first; a rest stays behind."""
    count = len(data) // size
    whole = np.frombuffer(data, "u1", count * size).reshape(size, count)
    return whole.T.tobytes() + data[count * size :]
