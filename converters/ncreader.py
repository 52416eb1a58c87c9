"""Reading a NetCDF file: the file in the NetCDF library, checked first, and boxes of one of its variables."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # before the NetCDF library brings its own HDF5

import netCDF4

from converters import cdfheader, fill
from converters.faults import reading
from converters.h5chunks import Chunks
from converters.h5links import H5Store
from converters.h5walk import Tree, walk
from converters.hdf5 import part_of
from converters.jsonsafe import json_safe
from converters.ncunlisted import as_listed, stored
from converters.ncvars import Variable
from converters.samples import take
from converters.sniff import kind_of
from converters.volume import Array, Box, Reader, Volume, overlap
from scray.errors import BadInput, HostileInput, MissingSource, MixedInput, Unsupported

CACHE_BYTES = 1 << 20


@contextmanager
def opened(root: Path, name: str) -> Iterator[tuple[Any, H5Store, Tree | None]]:
    """The file in the NetCDF library, values raw, and its HDF5 objects where it is HDF5.

    Checked first: the library shows zeros for what is missing, and follows any link.
    """
    path = root.resolve() / name
    with H5Store(root) as store:
        tree = _checked(store, name) if kind_of(path) == "hdf5" else None
        if not tree:
            cdfheader.check(path, name)
        with _dataset(path, name) as dataset:
            yield dataset, store, tree


@contextmanager
def _dataset(path: Path, name: str) -> Iterator[Any]:
    with reading(name, "NetCDF"):
        netCDF4.set_chunk_cache(CACHE_BYTES, 521, 0.75)
        with warnings.catch_warnings(action="ignore"):  # types that it does not know are told in a note
            try:
                opened = netCDF4.Dataset(str(path), "r")
            except UnicodeDecodeError as error:
                raise Unsupported(f"{name} has names that are no UTF-8 text. Rename what they call.") from error
            except (AttributeError, TypeError, NotImplementedError, ValueError, KeyError) as error:
                raise Unsupported(
                    f"{name} has types or dimensions that the NetCDF library cannot read here; the sensor HDF5 can."
                ) from error
            except OSError as error:
                if error.errno is None or error.errno >= 0:
                    raise
                raise BadInput(f"{name} is no sound NetCDF file: {_reason(error)}.") from error
        with opened as dataset:
            dataset.set_auto_maskandscale(False)
            dataset.set_auto_chartostring(False)
            yield dataset


def _reason(error: OSError) -> str:
    """What the NetCDF library says, without the path that it knows the file by."""
    return str(error.strerror).removeprefix("NetCDF: ").rstrip(".")


def _checked(store: H5Store, name: str) -> Tree:
    """The objects of a file; no link may lead outside, and what its samples are made of has to be there."""
    tree = walk(store, name)
    for error in tree.broken.values():
        if isinstance(error, (HostileInput, MissingSource)):
            raise error
    for node in tree.datasets:
        if node.found.item.is_virtual or node.found.item.external:
            store.check_samples(node.found)
    return tree


class NetCDFReader(Reader):
    """Reads boxes of one variable through the NetCDF library; one thread at a time."""

    def __init__(self, root: Path, volume: Volume) -> None:
        super().__init__(root, volume)
        self._part = part_of(volume)
        self._opened = opened(root, volume.files[0])
        dataset, store, tree = self._opened.__enter__()
        try:
            with reading(volume.files[0], "NetCDF"):
                path = as_listed(volume.options["path"])
                self._item = (
                    dataset.variables[path] if path in dataset.variables else dataset[path]
                )  # a/b may be a name
                self._extent: Box = tuple((0, int(n)) for n in self._item.shape)
                self._chunks = self._in_hdf5(store) if tree else None
            if (tuple(self._item.shape) or (1,)) + self._part.inner != volume.source_shape:
                raise MixedInput(f"{volume.files[0]}:{volume.selector} has changed since it was planned.")
        except BaseException:
            self.close()
            raise

    def _in_hdf5(self, store: H5Store) -> Chunks | None:
        """The chunks of the dataset that holds the variable, and in `_extent` how much of it."""
        name = self.volume.files[0]
        node = stored(store, name, self.volume.options["path"])
        if node is None:
            return None
        self._extent = tuple((0, int(n)) for n in node.shape)
        return Chunks(node.found.item, f"{name}:{node.path}")

    def read_source(self, box: Box) -> Array:
        """The samples of a box in source axes, exactly."""
        at = tuple(slice(start, stop) for start, stop in box)
        outer = len(self._item.shape) if self._item.shape else 1
        shape = tuple(stop - start for start, stop in box)
        with reading(f"{self.volume.files[0]}:{self.volume.selector}", "NetCDF"):
            whole = self._read(box[:outer]) if self._item.shape else np.asarray(self._item[...])
            whole = take(whole, self._part).reshape(*shape[:outer], *self._part.inner)
            return whole[(slice(None),) * outer + at[outer:]].reshape(shape)

    def _read(self, box: Box) -> Array:
        """A box in the axes of the variable. Behind what was written the library gives right samples one at a time
        alone: of more, where two axes are unlimited, it leaves some as its memory was.
        """
        written = overlap(box, self._extent)
        if written and self._chunks:
            self._chunks.check(written)
        if written == box:
            return np.asarray(self._item[_slices(box)])
        nothing = np.asarray(self._item[tuple(stop - 1 for _, stop in box)])
        out = np.full(tuple(stop - start for start, stop in box), nothing, nothing.dtype)
        if written:
            out[_slices(written, box)] = self._item[_slices(written)]
        return out

    def close(self) -> None:
        self._opened.__exit__(None, None, None)


def _slices(box: Box, outer: Box = ()) -> tuple[slice, ...]:
    """A box as an index, of the whole or of another box."""
    begins = [start for start, _ in outer] or [0] * len(box)
    return tuple(slice(start - at, stop - at) for (start, stop), at in zip(box, begins, strict=True))


def default_fill(variable: Variable) -> dict[str, Any]:
    """What the NetCDF library shows where nothing was written and no _FillValue is said; bytes have no such number."""
    dtype = variable.dtype
    number = netCDF4.default_fillvals.get(dtype.str[1:]) if dtype.names is None and dtype.kind in "iuf" else None
    if number is None or dtype.itemsize == 1 or "_FillValue" in variable.attributes:
        return {}
    return {fill.OPTION: json_safe(np.array(number, dtype)[()])}
