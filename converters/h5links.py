"""Opening HDF5 objects without ever leaving the dataset's own folder.

HDF5 follows soft links, external links, virtual datasets and external storage by itself, wherever they lead, and
shows fill values where a target is missing. Here every link is resolved one step at a time and every file that a
dataset's samples live in is checked before a sample is read (HDF5 File Format Specification, III.B and IV.A.2).
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import hdf5plugin  # noqa: F401  (registers the filters)
import numpy as np

from converters.faults import reading
from converters.h5scale import check_scaled, sample_bytes
from scray.errors import (
    BadInput,
    HostileInput,
    MissingFilter,
    MissingSource,
    TooLarge,
    TruncatedInput,
    UnsafePath,
    Unsupported,
)

MAX_HOPS = 32
MAX_FILES = 512
MAX_SOURCES = 100_000
SPARSE_BYTES = 1 << 30
MAX_RATIO = 100_000  # zeros packed by the best filter are a few ten thousand times smaller
CACHE_BYTES = 1 << 20  # boxes follow chunks, so the chunk cache has nothing to keep
_SPELT = re.compile(rb"\\x([0-9a-f]{2})")
_DRIVERS = (b"NCSAfami", b"NCSAmult")
_HEAD_BYTES = 4096
_FILTER_NAMES = {
    305: "LZO",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32015: "Zstandard",
}


@dataclass(frozen=True)
class Found:
    """An object and where it really is: the file, relative to the root, and the path inside it."""

    file: str
    path: str
    item: Any

    @cached_property
    def identity(self) -> tuple[str, int]:
        """Equal for two paths that lead to one object."""
        return self.file, int(h5py.h5o.get_info(self.item.id).addr)


class H5Store:
    """The HDF5 files of one dataset, opened read-only and unlocked as they are needed; a context manager."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._files: dict[str, Any] = {}
        self._external: dict[tuple[str, int], Any] = {}  # datasets in external files, opened once
        self._checked: set[tuple[str, int]] = set()

    def file(self, name: str) -> Any:
        """The open file; raises BadInput by name."""
        if name not in self._files:
            if len(self._files) >= MAX_FILES:
                raise TooLarge(f"The dataset's HDF5 files refer to more than {MAX_FILES} further files.")
            with reading(name, "HDF5"):
                try:
                    self._files[name] = h5py.File(self.root / name, "r", locking=False, rdcc_nbytes=CACHE_BYTES)
                except OSError:
                    _check_alone(self.root / name, name)
                    raise
        return self._files[name]

    @property
    def opened(self) -> tuple[str, ...]:
        """The files that were needed so far."""
        return tuple(self._files)

    def find(self, name: str, path: str) -> Found:
        """The object at a path, through soft and external links; raises MissingSource or UnsafePath by name."""
        steps = deque(_steps(path))
        at: Any = self.file(name)
        trail: list[str] = []
        hops = 0
        while steps:
            step = steps.popleft()
            link = link_of(at, step, f"{name}:{path}")
            if isinstance(link, h5py.HardLink):
                at, trail = self._open(name, at, step, "/".join(trail)), [*trail, step]
                continue
            hops += 1
            if hops > MAX_HOPS:
                raise HostileInput(f"{name}: the links of {path} lead in a circle.")
            if isinstance(link, h5py.ExternalLink):
                name, at, trail = self.beside(name, link.filename), None, []
                at = self.file(name)
            elif link.path.startswith("/"):
                at, trail = self.file(name), []
            steps.extendleft(reversed(_steps(link.path)))
        return Found(name, "/" + "/".join(trail), at)

    def child(self, group: Found, key: str, link: Any) -> Found:
        """What a link of a group leads to, as `find` does, without the way from the root where that is not needed."""
        path = f"{group.path.rstrip('/')}/{key}"
        if not isinstance(link, h5py.HardLink):
            return self.find(group.file, path)
        return Found(group.file, path, self._open(group.file, group.item, key, group.path))

    def _open(self, name: str, group: Any, step: str, where: str) -> Any:
        """The object of a hard link; samples kept in other files are looked for beside this one."""
        if not isinstance(group, h5py.Group):
            raise MissingSource(f"{name}: there is no {step} below {group.name}.")
        path = f"{where}/{step}".lstrip("/")
        with reading(f"{name}:/{path}", "HDF5"):
            raw = _raw(group, step)
            if self._external and (known := self._external.get((name, _address(group, raw)))):
                return known
            item = _object(group, raw)
            if not isinstance(item, h5py.Dataset) or not item.external:
                return item
            item = None  # HDF5 would look in the working directory, and refuses another prefix while it is open
            key = (name, _address(group, raw))
            access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
            access.set_efile_prefix(str((self.root / name).parent).encode())
            self._external[key] = h5py.Dataset(h5py.h5d.open(group.id, raw, access))
            return self._external[key]

    def beside(self, name: str, other: str) -> str:
        """Another file that `name` refers to, relative to the root; it has to lie inside the dataset's folder."""
        folder = (self.root / name).parent
        target = folder / other
        if Path(other).is_absolute() and not target.exists():
            target = folder / Path(other).name  # as HDF5 does: the path of another machine, the file beside this one
        resolved = target.resolve()
        if not resolved.is_relative_to(self.root):
            raise UnsafePath(f"{name} refers to {other}, which is outside the dataset's own folder.")
        if not resolved.is_file():
            raise MissingSource(
                f"{name} refers to {other}, which is not part of the dataset. Upload it together with {name}."
            )
        return str(resolved.relative_to(self.root))

    def check_samples(self, found: Found, depth: int = 0) -> None:
        """Raise unless every sample of a dataset can be read: filters, virtual sources and external files are there."""
        if found.identity in self._checked:
            return
        if depth > MAX_HOPS:
            raise HostileInput(f"{found.file}: the virtual dataset {found.path} refers to itself.")
        _check_filters(found)
        _check_written(found)
        check_scaled(self.root / found.file, found.item, f"{found.file}:{found.path}")
        self._check_external(found, depth)
        if found.item.is_virtual:
            for source, whole in self.sources(found):
                self.check_samples(source, depth + 1)
                if any(n > m for n, m in zip(whole, source.item.shape, strict=True)):
                    raise MissingSource(
                        f"{source.file}:{source.path} holds fewer samples than {found.path} needs of it."
                    )
        self._checked.add(found.identity)

    def sources(self, found: Found) -> Iterator[tuple[Found, tuple[int, ...]]]:
        """The datasets a virtual dataset is made of, each with the extent used of it (zeros: what it has)."""
        with reading(f"{found.file}:{found.path}", "HDF5"):
            maps = found.item.virtual_sources()
        if len(maps) > MAX_SOURCES:
            raise TooLarge(f"{found.file}: {found.path} is made of more than {MAX_SOURCES} pieces.")
        seen: set[tuple[str, str, tuple[int, ...]]] = set()
        for entry in maps:
            for file, path in self._expand(found, entry.file_name, entry.dset_name):
                extent = _used_extent(entry.src_space)
                if (file, path, extent) not in seen:
                    seen.add((file, path, extent))
                    yield self._source(found, file, path, extent)

    def _source(self, found: Found, file: str, path: str, extent: tuple[int, ...]) -> tuple[Found, tuple[int, ...]]:
        source = self.find(file, path)
        if not isinstance(source.item, h5py.Dataset):
            raise MissingSource(f"{found.file}: {found.path} refers to {path} in {file}, which is no dataset.")
        return source, extent if len(extent) == source.item.ndim else (0,) * source.item.ndim

    def _expand(self, found: Found, file_name: str, path: str) -> Iterator[tuple[str, str]]:
        """The file and path of a mapping; "%b" counts blocks from 0 as far as they exist."""
        if "%b" not in file_name + path:
            yield self._source_file(found, file_name), path
            return
        for block in range(MAX_FILES):
            try:
                file = self._source_file(found, file_name.replace("%b", str(block)))
                self.find(file, path.replace("%b", str(block)))
            except MissingSource:
                if not block:
                    raise
                return
            yield file, path.replace("%b", str(block))

    def _source_file(self, found: Found, file_name: str) -> str:
        file_name = file_name.replace("%%", "%")
        return found.file if file_name == "." else self.beside(found.file, file_name)

    def _check_external(self, found: Found, depth: int) -> None:
        pieces = found.item.external or ()
        if pieces and depth:
            raise Unsupported(f"{found.file}:{found.path} is a source of a virtual dataset and lies in external files.")
        left = int(np.prod(found.item.shape, dtype=object)) * sample_bytes(found.item)
        for file_name, offset, size in pieces:
            file = self.beside(found.file, os.fsdecode(file_name))
            used = min(int(size), left)
            if (self.root / file).stat().st_size < int(offset) + used:
                raise TruncatedInput(f"{file} is shorter than {found.file}:{found.path} needs.")
            left -= used
        if pieces and left > 0:
            raise TruncatedInput(f"The external files of {found.file}:{found.path} do not hold all its samples.")

    def close(self) -> None:
        """Close every file."""
        self._external = {}
        for file in self._files.values():
            file.close()
        self._files = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_alone(path: Path, name: str) -> None:
    """Raise Unsupported for one of the files that HDF5 spread a dataset over (driver information block)."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if any(driver in head for driver in _DRIVERS):
        raise Unsupported(
            f"{name} is one of several files that HDF5 spread one over (its drivers family, split or multi). "
            "Join them with `h5repack`, and upload the one file."
        )


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in ("", ".")]


def spelt(key: str | bytes) -> str:
    """The name of a link as text: what is no UTF-8 comes as bytes, and is spelt `caf\\xe9`."""
    return key if isinstance(key, str) else key.decode("utf-8", "backslashreplace")


def _raw(group: Any, step: str) -> bytes:
    """The name of a link as it is in the file: that of this text, or else what is spelt by it."""
    raw = step.encode()
    if "\\x" not in step or group.id.links.exists(raw):
        return raw
    return _SPELT.sub(lambda code: bytes([int(code[1], 16)]), raw)


def _address(group: Any, raw: bytes) -> int:
    return int(h5py.h5o.get_info(group.id, raw).addr)


def _object(group: Any, raw: bytes) -> Any:
    opened = h5py.h5o.open(group.id, raw)
    kinds = {h5py.h5g.GroupID: h5py.Group, h5py.h5d.DatasetID: h5py.Dataset}
    return kinds.get(type(opened), h5py.Datatype)(opened)


def link_of(group: Any, step: str, what: str) -> Any:
    """The link of a group by its name; raises MissingSource where there is none."""
    link = None
    if isinstance(group, h5py.Group):
        with reading(what, "HDF5"):
            raw, links = _raw(group, step), group.id.links
            hard = links.exists(raw) and links.get_info(raw).type == h5py.h5l.TYPE_HARD
            link = h5py.HardLink() if hard else group.get(step, getlink=True)  # by no other spelling than its own
    if link is None:
        raise MissingSource(f"{what} does not exist: there is no {step}.")
    return link


def _used_extent(space: Any) -> tuple[int, ...]:
    """The shape that holds everything selected of a source; empty where it follows the source's own size."""
    try:
        if space.get_select_type() == h5py.h5s.SEL_ALL:
            return tuple(int(n) for n in space.get_simple_extent_dims())
        _, high = space.get_select_bounds()
    except (ValueError, RuntimeError, OSError):
        return ()
    return tuple(int(n) + 1 for n in high) if max(high, default=0) < 1 << 62 else ()


def _check_filters(found: Found) -> None:
    missing = missing_filters(found.item)
    if missing:
        raise MissingFilter(
            f"{found.file}:{found.path} is compressed with HDF5 {', '.join(missing)}, which is not available."
        )


def _check_written(found: Found) -> None:
    """Raise where next to nothing of a large array was ever written: no filter packs that well; or too little of a
    chunk.
    """
    item = found.item
    if item.is_virtual or item.external:
        return
    declared = int(np.prod(item.shape, dtype=object)) * sample_bytes(item)
    stored = item.id.get_storage_size()
    if declared > SPARSE_BYTES and stored < declared // MAX_RATIO:
        raise TooLarge(
            f"{found.file}:{found.path} declares {declared} bytes, of which {stored} were ever written. "
            "Shrink it to what was measured and upload it again."
        )
    if item.chunks and not item.id.get_create_plist().get_nfilters():
        whole = int(np.prod(item.chunks, dtype=object)) * sample_bytes(item)
        if stored < item.id.get_num_chunks() * whole:  # HDF5 takes for the rest what lies in its memory
            raise TruncatedInput(f"{found.file}:{found.path} has chunks that are shorter than their {whole} bytes.")


def missing_filters(item: Any) -> list[str]:
    """The filters of a dataset that are not available here, by number and name."""
    properties = item.id.get_create_plist()
    filters = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    missing = [(n, label) for n, _, _, label in filters if not h5py.h5z.filter_avail(n)]
    return [f"filter {n} ({_FILTER_NAMES.get(n) or os.fsdecode(label) or 'unnamed'})" for n, label in missing]


def check_dataset(found: Found) -> None:
    """Raise unless this is a dataset with a readable type."""
    if not isinstance(found.item, h5py.Dataset):
        raise BadInput(f"{found.file}:{found.path} is not a dataset.")
