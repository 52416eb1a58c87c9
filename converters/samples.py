"""How the samples of a source become samples that IDX can hold: exactly, or not at all.

Integers and float32/float64 stay as they are (little-endian), bool becomes uint8, float16 becomes float32 (exact),
complex becomes two arrays, compound becomes one array a numeric field, elements that are arrays themselves become
further axes. Everything else is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scray.errors import Unsupported

MAX_TEXT = 2000
_WIDENED = {"|b1": "|u1", "<f2": "<f4"}


@dataclass(frozen=True)
class Part:
    """One array made of a source array: `path` leads through compound fields, then "re" or "im" of a complex one.

    `inner` is the shape of an element: axes behind those of the source array.
    """

    suffix: str
    dtype: str
    path: tuple[str, ...] = ()
    plane: str = ""
    inner: tuple[int, ...] = ()


def parts(dtype: np.dtype[Any], what: str) -> tuple[Part, ...]:
    """The arrays that hold every number of this type exactly; raises Unsupported, naming `what` and the type.

    Columns of a table that are no numbers have no part: `left_out` names them.
    """
    if dtype.names is not None:
        return _columns(dtype, what)
    if dtype.subdtype is not None:
        base, inner = dtype.subdtype
        return tuple(replace(part, inner=(*inner, *part.inner)) for part in parts(base, what))
    little = dtype.newbyteorder("<").str
    if dtype.kind == "c" and dtype.itemsize in (8, 16):
        half = f"<f{dtype.itemsize // 2}"
        return (Part("_re", half, plane="re"), Part("_im", half, plane="im"))
    if dtype.kind == "b" or (dtype.kind == "f" and dtype.itemsize == 2):
        return (Part("", _WIDENED[little]),)
    if (dtype.kind in "iu" and dtype.itemsize <= 8) or (dtype.kind == "f" and dtype.itemsize in (4, 8)):
        return (Part("", little),)
    raise Unsupported(f"{what} holds samples of type {type_name(dtype)}, which cannot be converted exactly.")


def _columns(dtype: np.dtype[Any], what: str) -> tuple[Part, ...]:
    found: list[Part] = []
    for name, kind in _fields(dtype):
        if is_numeric(kind):
            found += [
                replace(part, suffix=f"_{name}{part.suffix}", path=(name, *part.path)) for part in parts(kind, what)
            ]
    if not found:
        raise Unsupported(f"{what} is a table without a column of numbers: {', '.join(left_out(dtype)[:8])}.")
    return tuple(found)


def _fields(dtype: np.dtype[Any]) -> list[tuple[str, np.dtype[Any]]]:
    return [(name, dtype[name]) for name in dtype.names or ()]


def left_out(dtype: np.dtype[Any], prefix: str = "") -> list[str]:
    """The columns of a table, and of the tables in it, that hold no numbers, with their types."""
    found: list[str] = []
    for name, kind in _fields(dtype):
        if kind.names is not None:
            found += left_out(kind, f"{prefix}{name}.")
        elif not is_numeric(kind):
            found.append(f"{prefix}{name} ({type_name(kind)})")
    return found


def is_numeric(dtype: np.dtype[Any]) -> bool:
    """Whether `parts` would accept this type."""
    try:
        parts(dtype, "")
    except Unsupported:
        return False
    return True


def take(array: NDArray[Any], part: Part) -> NDArray[Any]:
    """The samples of one part, in its dtype and byte order, with its inner axes; bits are kept, NaN payloads too."""
    for name in part.path:
        array = array[name]
    if part.plane:
        array = array.real if part.plane == "re" else array.imag
    if array.dtype.kind == "b":
        array = array.view("u1")  # as it is stored, which HDF5 does not limit to 0 and 1
    return array.astype(part.dtype, copy=False)


def type_text(dtype: np.dtype[Any]) -> str:
    """The type as numpy writes it; of a table with very many columns the first ones."""
    text = str(dtype)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def type_name(dtype: np.dtype[Any]) -> str:
    """What a person calls this type."""
    if dtype.names is not None:
        return "compound(" + ", ".join(dtype.names[:8]) + ")"
    if dtype.subdtype is not None:
        return f"array of {dtype.subdtype[0]}"
    return {"O": "object or variable-length", "S": "string", "U": "string", "V": "opaque"}.get(dtype.kind, str(dtype))
