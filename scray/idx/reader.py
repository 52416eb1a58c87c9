"""Reads IDX datasets, all versions: the judge of what the writer wrote, with which it shares no addressing.

Where other readers show zeros for what is absent or cut, this one raises, naming file and block.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from scray.errors import BadInput, MissingSource, NotFound, ScrayError, TooLarge, Unsupported
from scray.idx import codecs
from scray.idx.blockfile import BlockFile, Entry
from scray.idx.header import MAX_TEXT, Header
from scray.idx.hz import BlockLattice, Box, HzOrder, Shape, meet
from scray.storage import inside

__all__ = ["BlockLattice", "Box", "Dataset"]

Array = NDArray[Any]
Absent = Literal["error", "zero"]


class Dataset:
    """An open IDX dataset. One thread at a time; a context manager.

    Boxes are [start, stop) an axis, z y x, in the coordinates of the header's box. Arrays are z y x, components
    last where there are several, little-endian.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder = folder
        self.header = header
        self.hz = HzOrder(header.bitmask, header.bits_per_block, len(header.box))
        self._file: BlockFile | None = None
        self._file_key = (0, 0, 0)
        self._buffers: dict[int, bytearray] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a `visus.idx` (or any `.idx`); raises BadInput, Unsupported, HostileInput, NotFound."""
        return cls(path.parent, read_header(path))

    @property
    def box(self) -> Box:
        """The whole of the dataset."""
        return tuple((low, high + 1) for low, high in reversed(self.header.box))

    def blocks(self, box: Box | None = None, level: int | None = None) -> Iterator[int]:
        """The numbers of the blocks with a sample in the box (default: anywhere), up to a level, ascending."""
        return self.hz.blocks(box or self.box, self.header.max_level if level is None else level)

    def block_lattice(self, block: int) -> BlockLattice:
        """Where the samples of a block lie; may reach past the box."""
        return self.hz.lattice(block)

    def index(self, field: int | str) -> int:
        """The number of a field; raises NotFound."""
        names = [f.name for f in self.header.fields]
        if isinstance(field, str) and field in names:
            return names.index(field)
        if isinstance(field, int) and 0 <= field < len(names):
            return field
        raise NotFound(f"the IDX dataset has no field {field!r}; it has {', '.join(names[:20])}")

    def read(
        self,
        box: Box | None = None,
        step: int | None = None,
        field: int | str = 0,
        level: int | None = None,
        absent: Absent = "error",
    ) -> Array:
        """The samples of a box at a level (default: full resolution), at the first time step unless named.

        A level holds the samples at multiples of its stride, so a coarse one is a plain subsample. With absent
        "zero", missing files and blocks read as the field's default value.
        """
        header, index = self.header, self.index(field)
        box = self.box if box is None else _inside(box, self.box)
        level = header.max_level if level is None else max(0, min(level, header.max_level))
        step = next(header.steps()) if step is None else step
        every = self.hz.stride(level)
        shape = tuple(-(-b // s) - -(-a // s) for (a, b), s in zip(box, every, strict=True))
        out = self._filled(shape, index)
        for block in self.blocks(box, level):
            overlap = meet(self.block_lattice(block), box, every)
            samples = self.read_block(block, step, index, absent) if overlap else None
            if overlap and samples is not None:
                out[overlap.other] = samples[overlap.block]
        return out

    def read_block(self, block: int, step: int, field: int | str = 0, absent: Absent = "error") -> Array | None:
        """All samples of a block, in the shape of its lattice, padding included; valid until the next call.

        None where it is absent and that is allowed. Raises MissingSource, TruncatedInput, BadInput, Unsupported,
        all naming file and block.
        """
        index = self.index(field)
        try:
            return self._decode(block, step, index)
        except MissingSource:
            if absent == "zero":
                return None
            raise

    def file_name(self, block: int, step: int, index: int) -> str:
        """The file of a block, relative to the folder of the header."""
        return self.header.block_file(block, self.header.fields[index].name, step)

    def named(self, block: int, step: int, index: int) -> str:
        """What a message calls a block."""
        name = self.header.fields[index].name
        return f"block {block} of field {name}, time step {step}, in {self.file_name(block, step, index)}"

    def entry(self, block: int, step: int, index: int) -> Entry:
        """Where a block lies in its file; raises MissingSource where it is not stored."""
        try:
            entry = self._open(block, step, index).entry(index, block)
        except ScrayError as error:
            raise type(error)(f"{self.named(block, step, index)}: {error.message}") from error
        if entry is None:
            raise MissingSource(f"{self.named(block, step, index)} is absent")
        return entry

    def check(self) -> int:
        """Read every block that the header promises; returns how many samples lie in the box. Raises as reading."""
        samples = 0
        for step in self.header.steps():
            for block in self.blocks():
                for index in range(len(self.header.fields)):
                    self.read_block(block, step, index)
            samples += int(np.prod(self.header.shape, dtype=object)) * len(self.header.fields)
        return samples

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decode(self, block: int, step: int, index: int) -> Array:
        field = self.header.fields[index]
        if field.filter:
            raise Unsupported(f"field {field.name} went through the filter {field.filter!r}, which cannot be undone")
        entry = self.entry(block, step, index)
        size = self.header.block_bytes(index)
        try:
            file = self._open(block, step, index)
            payload = file.payload(entry, size)
            decoded = codecs.decode(entry.flags, payload, size, self._buffer(size))
        except ScrayError as error:
            raise type(error)(f"{self.named(block, step, index)}: {error.message}") from error
        big_endian = self.header.version <= 2 and field.dtype == "<f4"
        samples = np.frombuffer(decoded, ">f4" if big_endian else field.dtype).reshape(-1, field.components)
        if not (entry.row_major and self.header.version == 6):
            samples = samples[self.hz.order(block)]
        tail = (field.components,) if field.components > 1 else ()
        return samples.reshape(self.block_lattice(block).shape + tail)

    def _open(self, block: int, step: int, index: int) -> BlockFile:
        header = self.header
        key = (block - header.position_in_file(block), step, index if header.arco else 0)
        if self._file is None or self._file_key != key:
            self.close()
            self._file = BlockFile(inside(self.folder, Path(self.file_name(block, step, index))), header)
            self._file_key = key
        return self._file

    def _buffer(self, size: int) -> bytearray:
        if size not in self._buffers:
            self._buffers[size] = bytearray(size)
        return self._buffers[size]

    def _filled(self, shape: Shape, index: int) -> Array:
        field = self.header.fields[index]
        tail = (field.components,) if field.components > 1 else ()
        try:
            default = np.array(field.default_value).astype(field.dtype)  # wraps around where it does not fit
            return np.full(shape + tail, default, field.dtype)
        except (MemoryError, OverflowError, ValueError) as error:
            raise TooLarge(f"{'×'.join(map(str, shape))} samples of {field.name} do not fit into memory") from error


def read_header(path: Path) -> Header:
    """The header in this file; raises BadInput, Unsupported, HostileInput, NotFound."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_TEXT + 1).decode("utf-8", "replace")
    except FileNotFoundError as error:
        raise NotFound(f"there is no IDX header {path}") from error
    except OSError as error:
        raise BadInput(f"the IDX header {path} cannot be read: {error.strerror}") from error
    return Header.parse(text, path.stem)


def _inside(box: Box, whole: Box) -> Box:
    if len(box) != len(whole) or any(not c <= a < b <= d for (a, b), (c, d) in zip(box, whole, strict=True)):
        raise BadInput(f"the box {box} does not lie inside the dataset's {whole}")
    return box
