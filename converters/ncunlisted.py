"""Variables of a NetCDF-4 file that the NetCDF library leaves out, or takes for text: float16, bitfields, arrays.

Other programs write them, and HDF5 reads them (NetCDF-4 format: dimensions are HDF5 dimension scales).
"""

from __future__ import annotations

from typing import Any

from converters.h5links import H5Store
from converters.h5walk import Node, attribute, attributes, text, walk
from converters.ncvars import Variable
from scray.errors import ScrayError

PLACEHOLDER = "This is a netCDF dimension but not a netCDF variable"


def with_unlisted(store: H5Store, name: str, listed: list[Variable]) -> list[Variable]:
    """`listed`, and the datasets of numbers that are none of its variables of numbers."""
    known = {identity for v in listed if v.numeric for identity in _identity(store, name, v.path)}
    found = [_variable(node) for node in walk(store, name).datasets if _is_variable(node, known)]
    paths = {variable.path for variable in found}
    return [variable for variable in listed if variable.path not in paths] + found


def _identity(store: H5Store, name: str, path: str) -> list[tuple[str, int]]:
    try:
        return [store.find(name, path).identity]
    except ScrayError:
        return []


def _is_variable(node: Node, known: set[tuple[str, int]]) -> bool:
    placeholder = text(attribute(node.found.item, "NAME")).startswith(PLACEHOLDER)
    return not placeholder and node.found.identity not in known


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
