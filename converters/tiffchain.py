"""A TIFF's chain of image directories, walked before a library trusts it (TIFF 6.0 section 2; BigTIFF).

The walk ends: a loop, a pointer past the end of the file or an absurd count is an error. For each directory it
notes what decides the meaning of its pixels, so that pages that differ are never stacked as if they were alike.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from scray.errors import BadInput, EmptyInput, TooLarge, TruncatedInput, WrongSensor

MAX_PAGES = 4_000_000
MAX_TAGS = 4096

# What the page is for, width, length, bits, compression, photometric, fill order, samples, planar, predictor, tile
# size, extra samples, sample format, image and tile depth.
_PURPOSE, _MASK = 254, 4
_DECISIVE = frozenset({_PURPOSE, 256, 257, 258, 259, 262, 266, 277, 284, 317, 322, 323, 338, 339, 32997, 32998})
_ONE_EACH = frozenset({258, 338, 339})  # the decisive tags that may have a value for each sample
ORIENTATION, _PALETTE = 274, 320
_LOOK = frozenset({ORIENTATION, _PALETTE})  # what decides how equal numbers look
_LOOK_BYTES = 3 * 2 * 256
_PLACES = frozenset({273, 324})  # where strips and tiles begin
_SIZES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}
_SIMPLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WHOLE = frozenset({*_SIMPLE, 6, 8, 9, 13, 17, 18})  # types of whole numbers
MAX_VALUES = 1 << 16  # of a decisive tag: one a sample

Key = tuple[tuple[int, object], ...]


class _Form(NamedTuple):
    order: str
    number: str  # of the tag count
    entry: str
    entry_bytes: int
    pointer: str


@dataclass(frozen=True)
class Directory:
    """One image file directory: where it lies and what decides its pixels; equal keys mean equal layout.

    `look` is what decides how a picture of these pixels looks. `start` is where the first strip or tile lies, 0 where
    none does.
    """

    offset: int
    key: Key
    look: Key
    start: int = 0

    @property
    def mask(self) -> bool:
        """Whether the page is a transparency mask for another page."""
        return dict(self.key)[_PURPOSE] == _MASK


def walk(path: str | os.PathLike[str], name: str) -> tuple[Directory, ...]:
    """The main chain of directories; raises EmptyInput, WrongSensor, TruncatedInput, BadInput or TooLarge by name."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return tuple(_directories(fd, os.fstat(fd).st_size, name))
    finally:
        os.close(fd)


def read_directory(path: str | os.PathLike[str], offset: int, name: str) -> Directory:
    """One directory, of the main chain or not; raises as `walk` does."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        form, _ = _header(fd, os.fstat(fd).st_size, name)
        return _directory(fd, form, offset, name)[0]
    finally:
        os.close(fd)


def _directories(fd: int, size: int, name: str) -> Iterator[Directory]:
    form, offset = _header(fd, size, name)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise BadInput(f"{name} is damaged: its chain of pages runs in a circle.")
        if len(seen) >= MAX_PAGES:
            raise TooLarge(f"{name} has more than {MAX_PAGES} pages.")
        seen.add(offset)
        directory, offset = _directory(fd, form, offset, f"{name}, page {len(seen)}")
        yield directory
    if not seen:
        raise BadInput(f"{name} is a TIFF without a page.")


def _header(fd: int, size: int, name: str) -> tuple[_Form, int]:
    head = os.pread(fd, 16, 0)
    if not size:
        raise EmptyInput(f"{name} is empty.")
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise WrongSensor(f"{name} is not a TIFF file.")
    version = struct.unpack(order + "H", head[2:4])[0]
    if version == 43 and len(head) == 16:
        return _Form(order, "Q", order + "HHQ8s", 20, "Q"), struct.unpack(order + "Q", head[8:16])[0]
    return _Form(order, "H", order + "HHI4s", 12, "I"), struct.unpack(order + "I", head[4:8])[0]


def _directory(fd: int, form: _Form, offset: int, name: str) -> tuple[Directory, int]:
    width = struct.calcsize(form.order + form.number)
    first = os.pread(fd, width + 24 * form.entry_bytes, offset)
    if len(first) < width:
        raise TruncatedInput(f"{name} lies beyond the end of the file: the file is cut short.")
    count = struct.unpack_from(form.order + form.number, first)[0]
    if count > MAX_TAGS:
        raise BadInput(f"{name} claims to have {count} tags: the file is damaged.")
    pointer_bytes = struct.calcsize(form.order + form.pointer)
    need = width + count * form.entry_bytes + pointer_bytes
    data = first[:need] if len(first) >= need else os.pread(fd, need, offset)
    if len(data) < need:
        raise TruncatedInput(f"The tags of {name} end early: the file is cut short.")
    following = struct.unpack_from(form.order + form.pointer, data, need - pointer_bytes)[0]
    entries = data[width : need - pointer_bytes]
    return Directory(offset, *_keys(fd, form, entries, name), _start(fd, form, entries)), following


def _start(fd: int, form: _Form, entries: bytes) -> int:
    for tag, kind, count, value in struct.iter_unpack(form.entry, entries):
        if tag in _PLACES and kind in _SIMPLE and count:
            letter, size = _SIMPLE[kind], _SIZES[kind]
            at = struct.unpack_from(form.order + form.pointer, value)[0]
            data = value if count * size <= len(value) else os.pread(fd, size, at)
            return struct.unpack_from(form.order + letter, data)[0] if len(data) >= size else 0
    return 0


def _keys(fd: int, form: _Form, entries: bytes, name: str) -> tuple[Key, Key]:
    key: dict[int, object] = {_PURPOSE: 0}
    look: dict[int, object] = {ORIENTATION: 1}
    for tag, kind, count, value in struct.iter_unpack(form.entry, entries):
        if tag in _DECISIVE and (kind not in _WHOLE or not 0 < count <= (MAX_VALUES if tag in _ONE_EACH else 1)):
            raise BadInput(f"{name} has a tag {tag} that makes no sense: readers would guess. The file is damaged.")
        if tag == _PURPOSE:
            purpose = _value(fd, form, kind, count, value)
            key[tag] = purpose & _MASK if isinstance(purpose, int) else purpose
        elif tag in _DECISIVE:
            key.setdefault(tag, found := _value(fd, form, kind, count, value))
            if isinstance(found, tuple) and len(found[2]) < min(count * _SIZES[kind], _LOOK_BYTES):
                raise TruncatedInput(f"The tag {tag} of {name} lies beyond the end of the file: the file is cut short.")
        elif tag in _LOOK:
            look[tag] = _value(fd, form, kind, count, value)
    return tuple(sorted(key.items())), tuple(sorted(look.items()))


def _value(fd: int, form: _Form, kind: int, count: int, value: bytes) -> object:
    """A comparable form of a tag: the number itself when there is one, else type, count and leading bytes."""
    if count == 1 and kind in _SIMPLE:
        return struct.unpack_from(form.order + _SIMPLE[kind], value)[0]
    length = count * _SIZES.get(kind, 1)
    if length <= len(value):
        return kind, count, value[:length]
    at = struct.unpack_from(form.order + form.pointer, value)[0]
    return kind, count, os.pread(fd, min(length, _LOOK_BYTES), at)
