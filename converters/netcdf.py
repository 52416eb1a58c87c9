"""NetCDF: every data variable a field, every grid a dataset, the CF time axis as time steps, values as they are stored.

Classic files are read by the NetCDF library; NetCDF-4 files are HDF5 and read as such, which gives the same values,
all filters, and every check on links (NetCDF classic and NetCDF-4 formats; CF conventions).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import h5py

from converters import hdf5
from converters.faults import check_size, reading
from converters.h5links import H5Store
from converters.h5walk import Node, Tree, attribute, walking
from converters.hdf5 import packed_option, part_options, paths_of, storage_of
from converters.joined import SERIES, JoinedReader
from converters.ncfiles import one_source, slim
from converters.ncreader import NetCDFReader, default_fill, opened
from converters.ncunlisted import as_listed, by_scales, hollow, is_hollow, stored, unreadable, with_unlisted
from converters.ncvars import (
    Variable,
    attributes,
    coordinate_paths,
    coordinates,
    data_variables,
    is_series,
    time_axis,
    variables,
)
from converters.samples import left_out, parts, type_name, type_text
from converters.volume import MAX_SPACE_AXES, Reader, Source, Volume, roles_for
from scray.errors import (
    BadInput,
    BadParameter,
    EmptyInput,
    NothingToConvert,
    Unsupported,
)

FORMAT = "netcdf"
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
    wanted = [path.strip("/") for path in paths_of(parameters.get("variable") or parameters.get("dataset"))]
    if len(files) == 1:
        return _probe_one(root, files[0], wanted)
    found = _probe_each(root, files, wanted)
    source = one_source(found, FORMAT)
    rest = [name for name in files if name not in found]
    left = (f"Files without these variables were left out: {', '.join(rest[:MAX_TOLD])}.",) if rest else ()
    volumes = sorted(source.volumes, key=lambda volume: wanted.index(_path(volume))) if wanted else source.volumes
    return replace(source, volumes=tuple(volumes), notes=(*source.notes, *left))


def _probe_each(root: Path, files: tuple[str, ...], wanted: list[str]) -> dict[str, Source]:
    """Every file that has one of the wanted variables, each of which has to be in one of them."""
    found: dict[str, Source] = {}
    refused: list[BadParameter] = []
    for name in files:
        try:
            source = _probe_one(root, name, wanted, alone=False)
        except BadParameter as error:
            refused.append(error)
            continue
        found[name] = slim(source, next(iter(found.values()), source))
    held = {_path(volume) for source in found.values() for volume in source.volumes}
    missing = [path for path in wanted if path not in held]
    if refused and not found:
        raise refused[0]
    if missing:
        raise BadParameter(f"None of the {len(files)} files has a variable {missing[0]}.")
    return found


def _path(volume: Volume) -> str:
    """The variable that a volume is, or is a part of."""
    return as_listed(volume.options["path"])


def is_netcdf4(root: Path, name: str) -> bool:
    """Whether an HDF5 file was written as NetCDF-4: it says so, or its datasets have dimension scales."""
    with reading(name, "HDF5"), H5Store(root) as store:
        file = store.file(name)
        if attribute(file, "_NCProperties") is not None:
            return True
        first = islice(walking(store, name, Tree()), MAX_LOOKED_AT)
        return any(attribute(node.found.item, key) is not None for node in first for key in SCALES)


def _probe_one(root: Path, name: str, wanted: list[str], *, alone: bool = True) -> Source:
    with reading(name, "NetCDF"), opened(root, name) as (dataset, store, tree):
        every = list(variables(dataset))
        if tree:
            every = with_unlisted(tree, by_scales(store, name, dataset, every))
        chosen = _named(name, every, wanted, alone) if wanted else data_variables(every)
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
        metadata = _metadata(dataset, name, every, hollow(tree) if tree else frozenset())
        notes = _left_out(every, chosen, metadata["coordinates"], tree) + _notes(chosen)
        return Source(FORMAT, tuple(volumes), metadata=metadata, notes=notes)


def _named(name: str, every: list[Variable], wanted: list[str], alone: bool) -> list[Variable]:
    """The wanted variables; where the file is not alone, those of them that it has."""
    known = {variable.path: variable for variable in every}
    missing = [path for path in wanted if path not in known]
    if len(missing) > (0 if alone else len(wanted) - 1):
        raise BadParameter(f"{name} has no variable {missing[0]}. Variables in it: {_listing(every)}.")
    return [known[path] for path in dict.fromkeys(wanted) if path in known]


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
                **default_fill(variable),
                **({SERIES: True} if is_series(variable, axes) else {}),
                **(packed_option(node.found.item, part) if node else {}),
            },
        )
        for part in parts(dtype, what)
    ]


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
    differs = item.dtype.names is None and item.dtype.newbyteorder("<") != variable.dtype.newbyteorder("<")
    if item.shape == variable.shape and not differs:
        return node
    if is_hollow(item):
        raise BadInput(f"{name}:{variable.path} has samples that were never written and no fill value for them.")
    return None


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


def _metadata(dataset: Any, name: str, every: list[Variable], unwritten: frozenset[str]) -> dict[str, Any]:
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
        "coordinates": coordinates(every, unwritten),
    }


def open_volume(root: Path, volume: Volume) -> Reader:
    """A reader of a volume that `probe` found."""
    return JoinedReader(root, volume, NetCDFReader) if len(volume.files) > 1 else NetCDFReader(root, volume)
