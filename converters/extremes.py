"""Minima and maxima of fields, a value a component, blind to NaN."""

from __future__ import annotations

import numpy as np

from converters.mark import Extremes
from converters.volume import Array


def widen(minimum: Extremes, maximum: Extremes, name: str, array: Array, space_axes: int) -> int:
    """Let the extremes of a field take in an array (steps, z y x[, components]); returns how many samples it has.

    An array of NaN alone changes nothing.
    """
    scalar = array.ndim == space_axes + 1
    low, high = _extremes(array.reshape(-1, 1 if scalar else array.shape[-1]))
    if low is not None and high is not None:
        minimum[name] = _join(minimum.get(name), low, min)
        maximum[name] = _join(maximum.get(name), high, max)
    return array.size


def _extremes(table: Array) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    low, high = table.min(axis=0), table.max(axis=0)
    if table.dtype.kind == "f" and bool(np.isnan(low).any()):
        low, high = np.fmin.reduce(table, axis=0), np.fmax.reduce(table, axis=0)
        if bool(np.isnan(low).all()):
            return None, None
    return tuple(v.item() for v in low), tuple(v.item() for v in high)


def _join(old: tuple[float, ...] | None, new: tuple[float, ...], pick: type[min] | type[max]) -> tuple[float, ...]:  # type: ignore[valid-type]
    if old is None:
        return new
    return tuple(b if a != a else a if b != b else pick(a, b) for a, b in zip(old, new, strict=True))
