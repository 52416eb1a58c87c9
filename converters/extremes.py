"""Minima and maxima of fields, a value a component, blind to NaN."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from converters.mark import Extremes
from converters.volume import Array


def widen(minimum: Extremes, maximum: Extremes, name: str, array: Array, space_axes: int) -> int:
    """Let the extremes of a field take in an array (steps, z y x[, components]); returns how many samples it has.

    Where all samples are NaN so are the extremes.
    """
    over = tuple(range(space_axes + 1))
    low, high = array.min(axis=over), array.max(axis=over)
    if array.dtype.kind == "f" and bool(np.isnan(low).any()):
        low, high = np.fmin.reduce(array, axis=over), np.fmax.reduce(array, axis=over)
    minimum[name] = _join(minimum.get(name), _values(low), min)
    maximum[name] = _join(maximum.get(name), _values(high), max)
    return array.size


def _values(found: Array) -> tuple[float, ...]:
    return tuple(value.item() for value in np.atleast_1d(found))


def _join(
    old: tuple[float, ...] | None, new: tuple[float, ...], pick: Callable[[float, float], float]
) -> tuple[float, ...]:
    """The wider of two; a component that is NaN so far takes the other's value."""
    if old is None:
        return new
    return tuple(b if a != a else a if b != b else pick(a, b) for a, b in zip(old, new, strict=True))
