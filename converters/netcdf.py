"""NetCDF: every data variable a field, every grid a dataset, the CF time axis as time steps, values as they are stored.

Classic files are read by the NetCDF library; NetCDF-4 files are HDF5 and read as such, which gives the same values,
all filters, and every check on links (NetCDF classic and NetCDF-4 formats; CF conventions).
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # before the NetCDF library brings its own HDF5

import netCDF4

from converters import cdfheader, fill, hdf5
from converters.faults import check_size, reading
from converters.h5chunks import Chunks
from converters.h5links import H5Store
from converters.h5walk import Node, Tree, attribute, walk, walking
from converters.hdf5 import packed_option, part_of, part_options, paths_of, storage_of
from converters.joined import JoinedReader, join
from converters.jsonsafe import json_safe
from converters.ncunlisted import as_listed, by_scales, stored, unreadable, with_unlisted
from converters.ncvars import Variable, attributes, coordinate_paths, coordinates, data_variables, time_axis, variables
from converters.samples import left_out, parts, take, type_name, type_text
from converters.sniff import kind_of
from converters.volume import MAX_SPACE_AXES, Array, Box, Reader, Source, Volume, overlap, roles_for
from scray.errors import (
    BadInput,
    BadParameter,
    EmptyInput,
    HostileInput,
    MissingSource,
    MixedInput,
    NothingToConvert,
    Unsupported,
)

FORMAT = "netcdf"
CACHE_BYTES = 1 << 20
MAX_FILES_TOLD = 1000
MAX_TOLD = 30
MAX_LOOKED_AT = 1000  # objects, to tell NetCDF-4 from other HDF5
SCALES = ("DIMENSION_LIST", "_Netcdf4Dimid", "REFERENCE_LIST")


def probe(root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    """Every data variable of the files; `variable` (or `dataset`) limits and orders them.

    Variables on one grid are fields of one dataset; the largest dataset comes first. Several files are joined along
    time. Raises BadInput and its kinds, MixedInput, NothingToConvert, BadParameter that lists what there is.
    """
    if not files:
        raise EmptyInput("There is no NetCDF file in the dataset.")
    wanted = paths_of(parameters.get("variable") or parameters.get("dataset"))
    found = [_probe_one(root, name, [path.strip("/") for path in wanted]) for name in files]
    if len({len(source.volumes) for source in found}) > 1:
        raise MixedInput(f"{files[0]} and the other files hold different variables; upload them separately.")
    volumes = tuple(join(_one_form(same), "time", "file") for same in zip(*(s.volumes for s in found), strict=True))
    metadata = found[0].metadata if len(files) == 1 else {**found[0].metadata, **_first_axes(files, found)}
    return replace(found[0], volumes=volumes, metadata=metadata)


def _one_form(volumes: Sequence[Volume]) -> Sequence[Volume]:
    """The same, read by the NetCDF library where some are classic and some are HDF5: it reads both."""
    mixed = len({volume.format for volume in volumes}) > 1
    return [replace(volume, format=FORMAT) for volume in volumes] if mixed else volumes


def _first_axes(files: tuple[str, ...], found: list[Source]) -> dict[str, Any]:
    """The coordinates along which files were joined, file by file."""
    axes = {source.volumes[0].source_axes[0] for source in found}
    told = {}
    for name, source in list(zip(files, found, strict=True))[:MAX_FILES_TOLD]:
        told[name] = {k: v for k, v in source.metadata["coordinates"].items() if k.rsplit("/", 1)[-1] in axes}
    return {"coordinates_by_file": told}


def is_netcdf4(root: Path, name: str) -> bool:
    """Whether an HDF5 file was written as NetCDF-4: it says so, or its datasets have dimension scales."""
    with reading(name, "HDF5"), H5Store(root) as store:
        file = store.file(name)
        if attribute(file, "_NCProperties") is not None:
            return True
        first = islice(walking(store, name, Tree()), MAX_LOOKED_AT)
        return any(attribute(node.found.item, key) is not None for node in first for key in SCALES)


@contextmanager
def _opened(root: Path, name: str) -> Iterator[tuple[Any, H5Store, Tree | None]]:
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
            except (AttributeError, TypeError, NotImplementedError, ValueError, KeyError) as error:
                raise Unsupported(
                    f"{name} has types or dimensions that the NetCDF library cannot read here; the sensor HDF5 can."
                ) from error
        with opened as dataset:
            dataset.set_auto_maskandscale(False)
            dataset.set_auto_chartostring(False)
            yield dataset


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


def _probe_one(root: Path, name: str, wanted: list[str]) -> Source:
    with reading(name, "NetCDF"), _opened(root, name) as (dataset, store, tree):
        every = list(variables(dataset))
        if tree:
            every = with_unlisted(tree, by_scales(store, name, dataset, every))
        chosen = _named(name, every, wanted) if wanted else data_variables(every)
        if not chosen:
            known = _listing(every) if every or not tree else ", ".join(unreadable(tree, every)[:MAX_TOLD])
            raise NothingToConvert(f"{name} holds no array of numbers. Its variables: {known or 'none'}.")
        axes = {v.dims[0]: v for v in every if v.is_axis}
        grids = _grids(chosen)
        aside = coordinate_paths(every)
        ordered = grids if wanted else sorted(grids, key=lambda grid: _rank(grid, aside, axes))
        volumes: list[Volume] = []
        for label, grid in _labelled(ordered).items():
            for variable in grid:
                volumes += _volumes(store if tree else None, name, variable, label, axes)
        metadata = _metadata(dataset, name, every)
        notes = _left_out(every, chosen, metadata["coordinates"], tree) + _notes(chosen)
        return Source(FORMAT, tuple(volumes), metadata=metadata, notes=notes)


def _named(name: str, every: list[Variable], wanted: list[str]) -> list[Variable]:
    known = {variable.path: variable for variable in every}
    missing = [path for path in wanted if path not in known]
    if missing:
        raise BadParameter(f"{name} has no variable {missing[0]}. Variables in it: {_listing(every)}.")
    return [known[path] for path in dict.fromkeys(wanted)]


def _listing(every: list[Variable]) -> str:
    told = (f"{v.path} ({type_name(v.dtype)}{'' if v.samples else ', empty'})" for v in every[:MAX_TOLD])
    return ", ".join(told) or "none"


def _grids(chosen: list[Variable]) -> list[list[Variable]]:
    """Variables by grid, in their order."""
    grids: dict[tuple[Any, ...], list[Variable]] = {}
    for variable in chosen:
        grids.setdefault((variable.dims, variable.shape), []).append(variable)
    return list(grids.values())


def _rank(grid: list[Variable], aside: set[str], axes: dict[str, Variable]) -> tuple[bool, bool, int]:
    """Data before coordinates, what fits the axes of a dataset before what has to be folded, then the largest."""
    first = grid[0]
    folded = first.long_axes - (time_axis(first, axes) is not None) > MAX_SPACE_AXES
    largest = max(v.samples * v.dtype.itemsize for v in grid)
    return all(v.path in aside for v in grid), folded, -largest


def _labelled(grids: list[list[Variable]]) -> dict[str, list[Variable]]:
    """Grids by name: "" if alone, else by variable or dimensions."""
    if len(grids) == 1:
        return {"": grids[0]}
    named: dict[str, list[Variable]] = {}
    for grid in grids:
        label = grid[0].path.replace("/", "_") if len(grid) == 1 else "_".join(grid[0].dims).replace("/", "_")
        while label in named or not label:
            label += "_2" if label else "scalars"
        named[label] = grid
    return named


def _volumes(
    store: H5Store | None, name: str, variable: Variable, dataset: str, axes: dict[str, Variable]
) -> list[Volume]:
    """One variable as volumes: one, or one a column of a table."""
    what = f"{name}:{variable.path}"
    check_size(what, math.prod(variable.shape), variable.dtype.itemsize)
    outer = variable.shape or (1,)
    node = _as_hdf5(store, name, variable) if store else None
    if not node and tuple(variable.item.shape) != variable.shape:
        raise Unsupported(f"{what} has dimensions that share their names with others of its groups. Rename them.")
    rows = (1,) * (len(outer) - 1) + outer[-1:]
    chunks, compressed = storage_of(store, node.found) if store and node else (rows, False)
    dtype, path = (node.found.item.dtype, node.path) if node else (variable.dtype, f"/{variable.path}")
    time, kind = time_axis(variable, axes), type_text(variable.dtype)
    return [
        Volume(
            format=hdf5.FORMAT if node else FORMAT,
            files=(name,),
            selector=variable.path + part.suffix,
            name=variable.name + part.suffix,
            dataset=dataset,
            source_shape=outer + part.inner,
            source_axes=(_axis_names(variable.dims) or ("x",)) + tuple(f"element{i}" for i in range(len(part.inner))),
            roles=roles_for(outer + part.inner, time_axis=time),
            source_dtype=kind,
            dtype=part.dtype,
            chunks=chunks + part.inner,
            compressed=compressed,
            attributes=variable.attributes,
            options={
                "path": path,
                **part_options(part),
                **_default_fill(variable),
                **(packed_option(node.found.item, part) if node else {}),
            },
        )
        for part in parts(dtype, what)
    ]


def _default_fill(variable: Variable) -> dict[str, Any]:
    """What the NetCDF library shows where nothing was written and no _FillValue is said; bytes have no such number."""
    dtype = variable.dtype
    number = netCDF4.default_fillvals.get(dtype.str[1:]) if dtype.names is None and dtype.kind in "iuf" else None
    if number is None or dtype.itemsize == 1 or "_FillValue" in variable.attributes:
        return {}
    return {fill.OPTION: json_safe(np.array(number, dtype)[()])}


def _axis_names(dims: tuple[str, ...]) -> tuple[str, ...]:
    """The dimensions without their groups, made unique by a number."""
    names = [dim.rsplit("/", 1)[-1] for dim in dims]
    return tuple(n + (str(names[:i].count(n) + 1) if n in names[:i] else "") for i, n in enumerate(names))


def _as_hdf5(store: H5Store, name: str, variable: Variable) -> Node | None:
    """The dataset that holds a variable, if it holds all of it: an unlimited axis may have grown past it."""
    node = stored(store, name, variable.path)
    if node is None or not isinstance(node.found.item, h5py.Dataset):
        return None
    store.check_samples(node.found)
    item = node.found.item
    if item.shape != variable.shape:
        _check_filled(item, f"{name}:{variable.path}")
        return None
    if item.dtype.names is None and item.dtype.newbyteorder("<") != variable.dtype.newbyteorder("<"):
        return None
    return node


def _check_filled(item: Any, what: str) -> None:
    """Raise where the NetCDF library would leave samples as its memory was: never written, and never to be filled."""
    if not item.chunks or item.id.get_create_plist().get_fill_time() != h5py.h5d.FILL_TIME_NEVER:
        return
    if item.id.get_num_chunks() < math.prod(-(-n // c) for n, c in zip(item.shape, item.chunks, strict=True)):
        raise BadInput(f"{what} has samples that were never written and no fill value for them.")


def _left_out(
    every: list[Variable], chosen: list[Variable], written: Mapping[str, Any], tree: Tree | None
) -> tuple[str, ...]:
    """What is neither converted nor written down with its values, scalars aside."""
    kept = {v.path for v in chosen} | {path for path, told in written.items() if "values" in told}
    rest = [f"{v.path} {v.shape} ({type_name(v.dtype)})" for v in every if v.samples and v.shape and v.path not in kept]
    rest += unreadable(tree, every) if tree else []
    more = f" and {len(rest) - MAX_TOLD} more" if len(rest) > MAX_TOLD else ""
    return (f"Variables that were left out: {', '.join(rest[:MAX_TOLD])}{more}.",) if rest else ()


def _notes(chosen: list[Variable]) -> tuple[str, ...]:
    unsigned = [
        v.path for v in chosen if str(v.attributes.get("_Unsigned", "")).lower() == "true" and v.dtype.kind == "i"
    ]
    tables = {v.path: left_out(v.dtype) for v in chosen}
    notes = [
        f"Columns of {path} that hold no numbers: {', '.join(cols[:30])}." for path, cols in tables.items() if cols
    ]
    if unsigned:
        notes.append(f"Stored as signed, meant as unsigned (_Unsigned), kept as stored: {', '.join(unsigned[:30])}.")
    return tuple(notes)


def _metadata(dataset: Any, name: str, every: list[Variable]) -> dict[str, Any]:
    dims = {dim: length for v in every for dim, length in zip(v.dims, v.shape, strict=True)}
    return {
        "file": name,
        "data_model": str(dataset.data_model),
        "attributes": attributes(dataset),
        "groups": {path: attributes(group) for path, group in list(dataset.groups.items())[:1000]},
        "dimensions": dims,
        "variables": {
            v.path: {"dimensions": list(v.dims), "dtype": str(v.dtype), **v.attributes} for v in every[:2000]
        },
        "coordinates": coordinates(every),
    }


class NetCDFReader(Reader):
    """Reads boxes of one variable through the NetCDF library; one thread at a time."""

    def __init__(self, root: Path, volume: Volume) -> None:
        super().__init__(root, volume)
        self._part = part_of(volume)
        self._opened = _opened(root, volume.files[0])
        dataset, store, tree = self._opened.__enter__()
        try:
            with reading(volume.files[0], "NetCDF"):
                self._item = dataset[as_listed(volume.options["path"])]
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


def open_volume(root: Path, volume: Volume) -> Reader:
    """A reader of a volume that `probe` found."""
    return JoinedReader(root, volume, NetCDFReader) if len(volume.files) > 1 else NetCDFReader(root, volume)
