"""Variables of a NetCDF-4 file that the NetCDF library leaves out, or takes for text: float16, bitfields, arrays.

Other programs write them, and HDF5 reads them (NetCDF-4 format: dimensions are HDF5 dimension scales). A variable that
has the name of a dimension without being its coordinate lies under another one, since that of the dimension is taken.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import h5py

from converters.h5links import H5Store
from converters.h5walk import NO_VALUES, Node, Tree, attributes
from converters.ncvars import Variable
from scray.errors import MissingSource

NO_COORDINATE = "_nc4_non_coord_"


def stored(store: H5Store, name: str, variable: str) -> Node | None:
    """The HDF5 object that the variable of this path is kept in; None where there is none of its name."""
    group, _, own = as_listed(variable).rpartition("/")
    for key in (NO_COORDINATE + own, own):
        try:
            path = f"{group}/{key}".strip("/")
            return Node(f"/{path}", store.find(name, path))
        except MissingSource:
            continue
    return None


def is_hollow(item: h5py.Dataset) -> bool:
    """Whether samples were never written, and are never filled: the NetCDF library shows what its memory was."""
    if item.id.get_create_plist().get_fill_time() != h5py.h5d.FILL_TIME_NEVER or item.is_virtual or not item.size:
        return False
    if not item.chunks:
        return not item.id.get_storage_size()
    chunks = math.prod(-(-n // c) for n, c in zip(item.shape, item.chunks, strict=True))
    return bool(item.id.get_num_chunks() < chunks)


def hollow(tree: Tree) -> frozenset[str]:
    """The variables of at most one axis whose values would be what memory held."""
    short = (node for node in tree.datasets if len(node.shape) <= 1)
    return frozenset(as_listed(node.path) for node in short if is_hollow(node.found.item))


def with_unlisted(tree: Tree, listed: list[Variable]) -> list[Variable]:
    """`listed`, and the datasets of numbers that are none of its variables of numbers."""
    known = {variable.path for variable in listed if variable.numeric}
    found = [_variable(node) for node in tree.datasets if as_listed(node.path) not in known]
    paths = {variable.path for variable in found}
    return [variable for variable in listed if variable.path not in paths] + found


def by_scales(store: H5Store, name: str, dataset: Any, listed: list[Variable]) -> list[Variable]:
    """The variables with the dimensions that HDF5 tells, where groups have some of one name: of these the Python
    library takes the nearest, and with it a wrong shape.
    """
    lengths = dict(_lengths(dataset))
    names = Counter(path.rpartition("/")[2] for path in lengths)
    return [
        _by_scales(store, name, variable, lengths)
        if any(names[dim.rpartition("/")[2]] > 1 for dim in variable.dims)
        else variable
        for variable in listed
    ]


def _lengths(group: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """All dimensions by full name."""
    yield from ((path + name, len(dimension)) for name, dimension in group.dimensions.items())
    for name, child in group.groups.items():
        yield from _lengths(child, f"{path}{name}/")


def _by_scales(store: H5Store, name: str, variable: Variable, lengths: Mapping[str, int]) -> Variable:
    node = stored(store, name, variable.path)
    if node is None or not isinstance(node.found.item, h5py.Dataset) or len(node.shape) != len(variable.dims):
        return variable
    told = [_dimension(node.found.item, axis) for axis in range(len(node.shape))]
    dims = tuple(path if path in lengths else dim for path, dim in zip(told, variable.dims, strict=True))
    return replace(variable, dims=dims, shape=tuple(lengths[dim] for dim in dims))


def unreadable(tree: Tree, listed: list[Variable]) -> list[str]:
    """The datasets that neither library can read as numbers, and why."""
    known = {variable.path for variable in listed}
    refused = [text for text in tree.refused if not text.endswith(NO_VALUES)]
    return [text.lstrip("/") for text in refused if as_listed(text.partition(": ")[0]) not in known]


def as_listed(path: str) -> str:
    """What the NetCDF library calls the variable in this HDF5 dataset."""
    return path.strip("/").replace(NO_COORDINATE, "")


def _variable(node: Node) -> Variable:
    item, path = node.found.item, node.path.strip("/")
    dims = tuple(_dimension(item, axis) or f"{path}/dim{axis}" for axis in range(item.ndim))
    about = {key: value for key, value in attributes(item).items() if key != "DIMENSION_LIST"}
    return Variable(path, item, dims, node.shape, item.dtype, about)


def _dimension(item: Any, axis: int) -> str:
    """The full name of a dimension, by the scale that is attached to it."""
    try:
        scales = item.dims[axis]
        return str(scales[0].name).strip("/") if len(scales) else ""
    except Exception:
        return ""
