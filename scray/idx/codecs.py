"""The codecs of an IDX block: encode by profile name, decode by the flag a block file states.

zip and small are zlib streams (RFC 1950), one by ISA-L, one by libdeflate; fast is a raw LZ4 block without a
size prefix. Decoding uses libdeflate whoever encoded: it is the fastest, and writes into a given buffer only.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import isal
import lz4
import lz4.block
import numpy as np
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray

from scray.errors import BadInput, BadParameter, TruncatedInput, Unsupported

Buffer = bytes | bytearray | memoryview | NDArray[Any]

_native: Any = imagecodecs  # its stubs know of fewer buffers than it takes
_IsalError: type[Exception] = getattr(igzip_lib, "IsalError")  # noqa: B009 - the stub calls it an instance

RAW, ZIP, JPG, PNG, LZ4, ZFP = 0, 3, 4, 6, 7, 8
CODEC_MASK = 0x0F
ROW_MAJOR = 0x10
HEAD_BYTES = 8  # enough for what ISA-L hashes of a dictionary: four bytes
ZLIB_THEN_STORED = b"\x78\x5e\x00"  # RFC 1950, 2.2: 32 KiB window, fast; RFC 1951, 3.2.4: a stored block, not the last
FLAG_NAMES = {RAW: "raw", ZIP: "zip", JPG: "jpg", PNG: "png", LZ4: "lz4", ZFP: "zfp"}


@dataclass(frozen=True)
class Codec:
    """A way to encode blocks: the word it has in the header, its flag in block files, and who does it."""

    word: str
    flag: int
    implementation: str
    version: str
    encode: Callable[[Buffer], bytes]


def _isal(block: Buffer) -> bytes:
    """A zlib stream: the first bytes stored, the others deflated with those as their dictionary.

    Without a history ISA-L 2.32 (igzip_icf_body_h1_gr_bt.asm, .write_first_byte) hashes the address of its own state
    in place of the third byte, so that one block in some 30,000 comes out otherwise in another thread or process.
    """
    every = np.frombuffer(block, np.uint8)
    head = every[:HEAD_BYTES].tobytes()
    stream = isal_zlib.compressobj(2, isal_zlib.DEFLATED, -15, zdict=head)
    stored = struct.pack("<3sHH", ZLIB_THEN_STORED, len(head), len(head) ^ 0xFFFF) + head
    check = struct.pack(">I", isal_zlib.adler32(every))
    return b"".join((stored, stream.compress(every[HEAD_BYTES:]), stream.flush(), check))


def _libdeflate(block: Buffer) -> bytes:
    return bytes(_native.deflate_encode(block, 6))


def _lz4(block: Buffer) -> bytes:
    return bytes(lz4.block.compress(block, store_size=False))


PROFILES: dict[str, Codec] = {
    "zip": Codec("zip", ZIP, "isal zlib level 2, head stored", isal.__version__, _isal),
    "small": Codec("zip", ZIP, "libdeflate zlib level 6", imagecodecs.deflate_version(), _libdeflate),
    "fast": Codec("lz4", LZ4, "lz4 block", lz4.library_version_string(), _lz4),
    "raw": Codec("raw", RAW, "none", "", bytes),
}


NAMES = tuple(PROFILES)


def profile(codec: str) -> Codec:
    """The codec of this name. Raises BadParameter for a name that is none."""
    if codec not in PROFILES:
        raise BadParameter(f"there is no codec {codec!r}; choose one of {', '.join(PROFILES)}")
    return PROFILES[codec]


def flag(codec: str) -> int:
    """The flag of a codec in a block header, without the layout."""
    return profile(codec).flag


def word(codec: str) -> str:
    """What the header calls this codec."""
    return profile(codec).word


def implementation(codec: str) -> str:
    """Who encodes, with its version: another one may give other bytes."""
    chosen = profile(codec)
    return f"{chosen.implementation} {chosen.version}".strip()


def itemsize(dtype: str) -> int:
    """Bytes of one number of this dtype."""
    return np.dtype(dtype).itemsize


def word_flag(said: str) -> int:
    """The flag that belongs to a codec word of a header (raw, zip, lz4, …); Unsupported for another."""
    for number, name in FLAG_NAMES.items():
        if said.startswith(name):
            return number
    raise Unsupported(f"the IDX dataset is compressed with {said!r}, which cannot be read")


def encode(codec: str, block: Buffer) -> bytes:
    """One block, C-contiguous, as it is stored. zip stays zip, also where that makes a block longer."""
    return profile(codec).encode(block)


def decode(number: int, payload: Buffer, size_bytes: int, out: bytearray | None = None) -> Buffer:
    """The bytes of a block, exactly `size_bytes`; in `out` (of that size) where the codec needs a buffer.

    Raises TruncatedInput where the payload ends too early, BadInput where it makes no sense or holds more,
    Unsupported for a codec that is not built in.
    """
    kind = number & CODEC_MASK
    if kind == RAW:
        return _exact(payload, np.frombuffer(payload, np.uint8).nbytes, size_bytes)
    if kind not in (ZIP, LZ4):
        raise Unsupported(f"a block is compressed with {FLAG_NAMES.get(kind, kind)}, which cannot be read")
    buffer = bytearray(size_bytes) if out is None else out
    decoded = _inflate(payload, buffer) if kind == ZIP else _unlz4(payload, buffer)
    return _exact(buffer, len(decoded), size_bytes)


def canary(codec: str) -> str:
    """SHA-256 of what this codec makes of fixed blocks: nodes that differ must not share a dataset."""
    steps = np.arange(1 << 16, dtype="<u4")
    noise = (steps * np.uint32(2654435761)) >> np.uint32(21)
    smooth = (steps >> np.uint32(5)) * np.uint32(3)
    digest = hashlib.sha256()
    for block in (
        smooth.astype("<u2"),
        (smooth + noise).astype("<u2"),
        noise.astype("<f4"),
        np.zeros(4096, "|u1"),
    ):
        digest.update(encode(codec, block))
    return digest.hexdigest()


def _exact(decoded: Buffer, length: int, size_bytes: int) -> Buffer:
    if length < size_bytes:
        raise TruncatedInput(f"a block ends after {length} of {size_bytes} bytes")
    if length > size_bytes:
        raise BadInput(f"a block holds {length} bytes where {size_bytes} belong")
    return decoded


def _inflate(payload: Buffer, out: bytearray) -> Buffer:
    try:
        decoded: Buffer = _native.deflate_decode(payload, out=out)
    except _native.DeflateError as error:
        if _ends_early(payload, len(out)):
            raise TruncatedInput("a zip block ends before its data do") from error
        raise BadInput(f"a zip block cannot be inflated to {len(out)} bytes: {error}") from error
    return decoded


def _ends_early(payload: Buffer, size_bytes: int) -> bool:
    """True where a zlib stream is sound as far as it goes, but does not reach its end."""
    stream = isal_zlib.decompressobj()
    try:
        stream.decompress(payload, size_bytes + 1)
    except _IsalError:
        return False
    return not stream.eof and not stream.unconsumed_tail


def _unlz4(payload: Buffer, out: bytearray) -> Buffer:
    try:
        decoded: Buffer = _native.lz4_decode(payload, out=out)
    except _native.Lz4Error as error:
        raise BadInput(f"an lz4 block cannot be unpacked to {len(out)} bytes: {error}") from error
    return decoded
