"""Any attribute of any format as something JSON can hold, of bounded size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date, time
from enum import Enum
from itertools import islice
from typing import Any

import numpy as np

MAX_ITEMS = 1000
MAX_TEXT = 65536
MAX_DEPTH = 12


def json_safe(value: Any, depth: int = 0) -> Any:
    """A value made of None, bool, int, float, str, list and dict with text keys; never NaN, never longer than bounds.

    Not-a-number and infinities become the texts "NaN", "Infinity", "-Infinity"; complex numbers [re, im]; bytes text
    where they are UTF-8, else hexadecimal digits; arrays nested lists, large ones their shape, dtype and first values.
    """
    if depth > MAX_DEPTH:
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.name or json_safe(value.value, depth + 1)
    if isinstance(value, (int, float, complex, np.generic)):
        return _number(value, depth)
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return _text(value)
    return _collection(value, depth)


def json_array(array: np.ndarray[Any, Any]) -> Any:
    """All values of an array as nested lists, not-a-number and infinities as text; the caller bounds it."""
    return [json_array(row) for row in array] if array.ndim else json_safe(array[()])


def _number(value: Any, depth: int) -> Any:
    if isinstance(value, np.generic):
        if isinstance(value, (np.longdouble, np.clongdouble, np.datetime64, np.timedelta64)):
            return str(value)
        if isinstance(value, np.void):
            names = value.dtype.names
            return {n: json_safe(value[n], depth + 1) for n in names} if names else _text(value.tobytes())
        return json_safe(value.item(), depth + 1)
    if isinstance(value, complex):
        return [json_safe(value.real), json_safe(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and abs(value) >= 1 << 256:  # printing an endless integer is quadratic
        return "a very large integer"
    return float(value) if isinstance(value, float) else int(value)


def _collection(value: Any, depth: int) -> Any:
    if isinstance(value, np.ndarray):
        return _array(value, depth)
    if isinstance(value, Mapping):
        return {_text(k): json_safe(v, depth + 1) for k, v in islice(value.items(), MAX_ITEMS)}
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (list, tuple, set, frozenset)):
        return _items(value, len(value), depth)
    return _text(value)


def _items(values: Iterable[Any], length: int, depth: int) -> list[Any]:
    shown = [json_safe(v, depth + 1) for v in islice(values, MAX_ITEMS)]
    return shown if length <= MAX_ITEMS else [*shown, f"… {length - MAX_ITEMS} more"]


def _array(array: np.ndarray[Any, Any], depth: int) -> Any:
    if array.ndim == 0:
        return json_safe(array[()], depth + 1)
    if array.size <= MAX_ITEMS:
        return [json_safe(row, depth + 1) for row in array]
    first = [json_safe(v, depth + 1) for v in islice(array.flat, 16)]
    return {"shape": list(array.shape), "dtype": str(array.dtype), "first": first}


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value[: MAX_TEXT + 1]).rstrip(b"\0")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = "0x" + data[:1024].hex() + ("…" if len(data) > 1024 else "")
    else:
        text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"
    return text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be written
