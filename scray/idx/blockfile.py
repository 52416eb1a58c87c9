"""A block file on disk: its table of blocks, and the payloads the table points at.

Version 6: ten words of file header, then ten big-endian words a block and field (offset low and high at 2 and 3, size
at 4, flags at 5). Versions 1 to 5: a file header of 0 (version 1) or 4 words, then three words a block: offset, size,
whether it is zip. ARCO: the whole file is one payload.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scray.errors import BadInput, MissingSource, TruncatedInput
from scray.idx import codecs
from scray.idx.header import Header

_WORD = np.dtype(">u4")
_ENTRY_WORDS = 10
_OLD_ENTRY_WORDS = 3


@dataclass(frozen=True)
class Entry:
    """Where a stored block lies in its file, and how it is encoded."""

    offset: int
    size: int
    flags: int

    @property
    def row_major(self) -> bool:
        return bool(self.flags & codecs.ROW_MAJOR)


class BlockFile:
    """An open block file; `payload` returns a view that is valid until the next call.

    Opening raises MissingSource where there is no such file, TruncatedInput where it ends within its table.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.header = header
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingSource(f"the block file {path.name} is missing") from error
        except OSError as error:
            raise BadInput(f"the block file {path.name} cannot be opened: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise MissingSource(f"{path.name} is no file")
            self.size = os.fstat(self._fd).st_size
            self._buffer = bytearray()
            self._table = _no_table if header.arco else self._read_table()
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        os.close(self._fd)

    def entry(self, index: int, block: int) -> Entry | None:
        """Where the block of field number `index` lies; None where the file does not hold it."""
        if self.header.arco:
            field = self.header.fields[index]
            layout = codecs.ROW_MAJOR if field.row_major else 0
            return Entry(0, self.size, codecs.word_flag(field.codec) | layout) if self.size else None
        row = index * self.header.blocks_per_file + self.header.position_in_file(block)
        entry = self._table(row)
        return entry if entry.offset and entry.size else None

    def payload(self, entry: Entry, block_bytes: int) -> memoryview:
        """The encoded bytes of a block that decodes to `block_bytes`; raises TruncatedInput and BadInput."""
        if entry.offset + entry.size > self.size:
            missing = entry.offset + entry.size - self.size
            raise TruncatedInput(f"{self.path.name} ends {missing} bytes before the end of a block")
        if entry.size > 2 * block_bytes + 1024:
            raise BadInput(f"{self.path.name} has a block of {entry.size} bytes for {block_bytes} bytes of samples")
        if entry.size > len(self._buffer):
            self._buffer = bytearray(max(entry.size, block_bytes))
        view = memoryview(self._buffer)[: entry.size]
        self._read(view, entry.offset)
        return view

    def _read(self, view: memoryview, offset: int) -> None:
        done = 0
        while done < len(view):
            count = os.preadv(self._fd, [view[done:]], offset + done)
            if not count:
                raise TruncatedInput(f"{self.path.name} ends at byte {offset + done}")
            done += count

    def _read_table(self) -> Callable[[int], Entry]:
        old = self.header.version < 6
        head = _ENTRY_WORDS if not old else 0 if self.header.version == 1 else 4
        words = _OLD_ENTRY_WORDS if old else _ENTRY_WORDS
        rows = self.header.blocks_per_file * len(self.header.fields)
        start, length = head * _WORD.itemsize, rows * words * _WORD.itemsize
        if start + length > self.size:
            raise TruncatedInput(f"{self.path.name} ends within its table of blocks")
        raw = bytearray(length)
        self._read(memoryview(raw), start)
        table: NDArray[Any] = np.frombuffer(raw, _WORD).reshape(rows, words)
        _check_spans(self.path.name, *_spans(table, old), start + length)
        return lambda row: _old_entry(table[row]) if old else _entry(table[row])


def _spans(table: NDArray[Any], old: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Offsets and sizes of the blocks that are stored, each pair once, by offset."""
    words = table.astype(np.int64)
    offset, size = (words[:, 0], words[:, 1]) if old else (words[:, 2] | words[:, 3] << 32, words[:, 4])
    stored = (offset > 0) & (size > 0)
    pairs = np.unique(np.stack((offset[stored], size[stored]), axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _check_spans(name: str, offsets: NDArray[Any], sizes: NDArray[Any], table_end: int) -> None:
    """Raise BadInput where blocks begin within the table or within each other: its numbers are damaged.

    Blocks that are the same from their first byte to their last may share them.
    """
    if len(offsets) and offsets[0] < table_end:
        raise BadInput(f"{name} has a block that begins within its table of blocks, at byte {offsets[0]}")
    inside = np.flatnonzero(offsets[1:] - offsets[:-1] < sizes[:-1])
    if len(inside):
        at = offsets[inside[0] + 1]
        raise BadInput(f"{name} has a block that begins within another one, at byte {at}: its table is damaged")


def _no_table(row: int) -> Entry:
    raise LookupError(row)


def _entry(row: NDArray[Any]) -> Entry:
    low, high, size, flags = (int(word) for word in row[2:6])
    return Entry(low | high << 32, size, flags)


def _old_entry(row: NDArray[Any]) -> Entry:
    offset, size, zipped = (int(word) for word in row)
    return Entry(offset, size, codecs.ZIP if zipped else codecs.RAW)
