"""Compressed streams as they are read: frames of gzip, bzip2, xz or zstd, one behind the other."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any

import zstandard

PACKED_BYTES = 4 << 10  # read at once: of zstd they may become many megabytes
PIECE_BYTES = 1 << 20
MAX_WINDOW_BYTES = 1 << 30  # of zstd
MAX_EMPTY = 1000  # frames in a row that hold nothing: who packs data has one or two


class _Gzip:
    """A member of a gzip file with the manners of the other codecs: it keeps what it was not asked for."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)  # with its head and checksum

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    def decompress(self, piece: bytes, limit: int) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + piece, limit)


class Frames:
    """A stream of compressed frames, one behind the other, perhaps with zeros between them.

    The libraries take the end of a stream that is cut short, or a damaged second frame, for the end; this one raises
    EOFError, or what the frame raises. `limit` bounds what is unpacked at once, where the codec can.
    """

    def __init__(self, packed: IO[bytes], new_frame: Callable[[], Any], *limit: int) -> None:
        self.packed, self.new_frame, self.limit = packed, new_frame, limit
        self.frame = new_frame()
        self.waiting = memoryview(b"")
        self.empty = 0

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none at the end."""
        while not self.waiting:
            piece = self._next_frame() if self.frame.eof else self._more()
            if self.frame.eof:
                return b""
            self.waiting = memoryview(self.frame.decompress(piece, *self.limit))
        self.empty = 0
        out, self.waiting = self.waiting[:size], self.waiting[size:]  # no copies: it may be many megabytes
        return bytes(out)

    def _more(self) -> bytes:
        if not getattr(self.frame, "needs_input", True):
            return b""
        piece = self.packed.read(PACKED_BYTES)
        if not piece:
            raise EOFError
        return piece

    def _next_frame(self) -> bytes:
        """Begins the next frame, if there is one."""
        piece = self.frame.unused_data.lstrip(b"\0")
        while not piece and (piece := self.packed.read(PACKED_BYTES)):
            piece = piece.lstrip(b"\0")
        if piece:
            self.frame = self.new_frame()
            self.empty += 1
            if self.empty > MAX_EMPTY:
                raise zlib.error(f"more than {MAX_EMPTY:,} frames in a row hold nothing")
        return bytes(piece)

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        self.waiting = memoryview(b"")


def _xz_frame() -> Any:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ)


def _zstd_frame() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()


OPENERS: dict[str, Callable[[IO[bytes]], Frames]] = {
    "gzip": lambda packed: Frames(packed, _Gzip, PIECE_BYTES),
    "bzip2": lambda packed: Frames(packed, bz2.BZ2Decompressor, PIECE_BYTES),
    "xz": lambda packed: Frames(packed, _xz_frame, PIECE_BYTES),
    "zstd": lambda packed: Frames(packed, _zstd_frame),
}
