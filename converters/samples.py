"""How the samples of a source become samples that IDX can hold: exactly, or not at all.

Integers and float32/float64 stay as they are (little-endian), bool becomes uint8, float16 becomes float32 (exact),
complex becomes two arrays, compound becomes one array a numeric field. Everything else is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scray.errors import Unsupported

_WIDENED = {"|b1": "|u1", "<f2": "<f4"}


@dataclass(frozen=True)
class Part:
    """One array made of a source array: `path` leads through compound fields, then "re" or "im" of a complex one."""

    suffix: str
    dtype: str
    path: tuple[str, ...] = ()
    plane: str = ""


def parts(dtype: np.dtype[Any], what: str) -> tuple[Part, ...]:
    """The arrays that hold every sample of this type exactly; raises Unsupported, naming `what` and the type."""
    if dtype.names is not None:
        return _fields(dtype, what)
    little = dtype.newbyteorder("<").str
    if dtype.kind == "c" and dtype.itemsize in (8, 16):
        half = f"<f{dtype.itemsize // 2}"
        return (Part("_re", half, plane="re"), Part("_im", half, plane="im"))
    if dtype.kind == "b" or (dtype.kind == "f" and dtype.itemsize == 2):
        return (Part("", _WIDENED[little]),)
    if (dtype.kind in "iu" and dtype.itemsize <= 8) or (dtype.kind == "f" and dtype.itemsize in (4, 8)):
        return (Part("", little),)
    raise Unsupported(f"{what} holds samples of type {type_name(dtype)}, which cannot be converted exactly.")


def _fields(dtype: np.dtype[Any], what: str) -> tuple[Part, ...]:
    assert dtype.names is not None
    assert dtype.fields is not None
    found: list[Part] = []
    refused: list[str] = []
    for name in dtype.names:
        try:
            inner = parts(dtype.fields[name][0], f"{what}, field {name}")
        except Unsupported:
            refused.append(f"{name} ({type_name(dtype.fields[name][0])})")
            continue
        found += [Part(f"_{name}{p.suffix}", p.dtype, (name, *p.path), p.plane) for p in inner]
    if refused or not found:
        raise Unsupported(f"{what} is a table with columns that cannot be converted exactly: {', '.join(refused[:8])}.")
    return tuple(found)


def is_numeric(dtype: np.dtype[Any]) -> bool:
    """Whether `parts` would accept this type."""
    try:
        parts(dtype, "")
    except Unsupported:
        return False
    return True


def take(array: NDArray[Any], part: Part) -> NDArray[Any]:
    """The samples of one part, in its dtype and byte order; bits are kept, NaN payloads too."""
    for name in part.path:
        array = array[name]
    if part.plane:
        array = array.real if part.plane == "re" else array.imag
    return array.astype(part.dtype, copy=False)


def type_name(dtype: np.dtype[Any]) -> str:
    """What a person calls this type."""
    if dtype.names is not None:
        return "compound(" + ", ".join(dtype.names[:8]) + ")"
    if dtype.subdtype is not None:
        return f"array of {dtype.subdtype[0]}"
    return {"O": "object or variable-length", "S": "string", "U": "string", "V": "opaque"}.get(dtype.kind, str(dtype))
