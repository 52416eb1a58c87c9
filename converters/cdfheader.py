"""The header of a classic NetCDF file, read only to know where its data end (NetCDF classic format, CDF-1, -2, -5).

The NetCDF library shows zeros where such a file was cut short; so the promised extents are compared with the file
before it is asked.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from converters.faults import check_size, reading
from scray.errors import BadInput, TruncatedInput

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
_STREAMING = {4: 0xFFFFFFFF, 8: 0xFFFFFFFFFFFFFFFF}
MAX_RANK = 1024


@dataclass(frozen=True)
class _Variable:
    name: str
    shape: tuple[int, ...]
    itemsize: int
    begin: int
    record: bool

    @property
    def size_bytes(self) -> int:
        """Bytes without padding: of the whole, or of one record."""
        return math.prod(self.shape[1:] if self.record else self.shape) * self.itemsize


class _Bytes:
    """Big-endian numbers and names from a file; every length is checked against what is left of it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        version = self.take(4)[3]
        self.wide = 8 if version == 5 else 4
        self.offset_bytes = 4 if version == 1 else 8

    def take(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise TruncatedInput("the header ends early")
        return self.file.read(count)

    def skip(self, count: int) -> None:
        if count > self.size - self.file.tell():
            raise TruncatedInput("the header ends early")
        self.file.seek(count, 1)

    def number(self, width: int = 4) -> int:
        return int(struct.unpack(">I" if width == 4 else ">Q", self.take(width))[0])

    def count(self) -> int:
        return self.number(self.wide)

    def name(self) -> str:
        length = self.count()
        text = self.take(length).partition(b"\0")[0].decode("utf-8", "replace")  # the library stops at a zero, too
        self.skip(-length % 4)
        return text

    def entries(self, tag: int) -> int:
        """How many entries a list has; an absent list is two zeros."""
        found, count = self.number(), self.count()
        if (found, count) != (0, 0) and found != tag:
            raise BadInput("a list of the header has a wrong tag")
        return count

    def attributes(self) -> None:
        for _ in range(self.entries(0x0C)):
            self.name()
            itemsize = _itemsize(self.number())
            length = self.count() * itemsize
            self.skip(length + -length % 4)


def check(path: Path, name: str) -> None:
    """Raise unless the file is as long as its header promises: TruncatedInput, BadInput, TooLarge, by name."""
    size = path.stat().st_size
    with path.open("rb") as file, reading(name, "NetCDF"):
        try:
            records, variables = _header(_Bytes(file, size))
        except TruncatedInput as error:
            raise TruncatedInput(f"{name} is cut short: {error.message}.") from error
        except BadInput as error:
            raise BadInput(f"{name} is damaged: {error.message}.") from error
    step = _record_bytes(variables)
    for variable in variables:
        count = records if variable.record else 1
        check_size(f"{name}:{variable.name}", count * variable.size_bytes, 1)
        end = variable.begin + max(0, count - 1) * step + variable.size_bytes
        if count and end > size:
            raise TruncatedInput(f"{name} is cut short: {variable.name} ends at byte {end}, the file at {size}.")


def _header(data: _Bytes) -> tuple[int, list[_Variable]]:
    records = data.number(data.wide)
    lengths, dims = [], []
    for _ in range(data.entries(0x0A)):
        dims.append(data.name())
        lengths.append(data.count())
    data.attributes()
    variables = [_variable(data, lengths) for _ in range(data.entries(0x0B))]
    _check_names("dimensions", dims)
    _check_names("variables", [variable.name for variable in variables])
    if records == _STREAMING[data.wide]:
        raise BadInput("its number of records was never written, its program did not end")
    return records, variables


def _check_names(what: str, names: list[str]) -> None:
    """Of two with one name the library shows one alone."""
    for name, count in Counter(names).items():
        if count > 1:
            raise BadInput(f"it has {count} {what} of the name {name}")


def _variable(data: _Bytes, lengths: list[int]) -> _Variable:
    name = data.name()
    rank = data.count()
    if rank > MAX_RANK:
        raise BadInput(f"{name} claims {rank} dimensions")
    ids = [data.count() for _ in range(rank)]
    if any(i >= len(lengths) for i in ids):
        raise BadInput(f"{name} has a dimension that does not exist")
    data.attributes()
    itemsize = _itemsize(data.number())
    data.number(data.wide)  # vsize: redundant, and wrong for large variables
    begin = data.number(data.offset_bytes)
    shape = tuple(lengths[i] for i in ids)
    return _Variable(name, shape, itemsize, begin, bool(shape) and shape[0] == 0)


def _itemsize(kind: int) -> int:
    if kind not in _TYPE_BYTES:
        raise BadInput(f"the header has data of unknown type {kind}")
    return _TYPE_BYTES[kind]


def _record_bytes(variables: list[_Variable]) -> int:
    """Bytes from one record to the next: padded to four, unless there is one record variable alone."""
    sizes = [v.size_bytes for v in variables if v.record]
    return sizes[0] if len(sizes) == 1 else sum(n + -n % 4 for n in sizes)
