"""Variables of a NetCDF-4 file that the NetCDF library leaves out, or takes for text: float16, bitfields, arrays.

Other programs write them, and HDF5 reads them (NetCDF-4 format: dimensions are HDF5 dimension scales).
"""

from __future__ import annotations

from typing import Any

from converters.h5walk import Node, Tree, attribute, attributes, text
from converters.ncvars import Variable

PLACEHOLDER = "This is a netCDF dimension but not a netCDF variable"


def with_unlisted(tree: Tree, listed: list[Variable]) -> list[Variable]:
    """`listed`, and the datasets of numbers that are none of its variables of numbers."""
    known = {variable.path for variable in listed if variable.numeric}
    found = [_variable(node) for node in tree.datasets if node.path.strip("/") not in known and not _placeholder(node)]
    paths = {variable.path for variable in found}
    return [variable for variable in listed if variable.path not in paths] + found


def _placeholder(node: Node) -> bool:
    """Whether this is but a dimension: NetCDF keeps one without a variable as an empty dataset."""
    return text(attribute(node.found.item, "NAME")).startswith(PLACEHOLDER)


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
