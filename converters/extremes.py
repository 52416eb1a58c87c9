"""Minima and maxima of fields, a value a component, over the finite samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from converters.mark import Extremes
from converters.volume import Array


def widen(minimum: Extremes, maximum: Extremes, name: str, array: Array, space_axes: int) -> int:
    """Let the extremes of a field take in an array (steps, z y x[, components]); returns how many samples it has.

    NaN and infinities do not count; a component without any finite sample has the minimum inf, the maximum -inf.
    """
    over = tuple(range(space_axes + 1))
    low, high = array.min(axis=over), array.max(axis=over)
    if array.dtype.kind == "f" and not bool(np.isfinite(low).all() and np.isfinite(high).all()):
        finite = np.isfinite(array)
        low = array.min(axis=over, where=finite, initial=np.inf)
        high = array.max(axis=over, where=finite, initial=-np.inf)
    join(minimum, name, _values(low), min)
    join(maximum, name, _values(high), max)
    return array.size


def join(extremes: Extremes, name: str, found: tuple[float, ...], pick: Callable[[float, float], float]) -> None:
    """Let the minima (`pick` = min) or maxima (max) of a field take in others."""
    old = extremes.get(name, found)
    extremes[name] = tuple(pick(a, b) for a, b in zip(old, found, strict=True))


def _values(found: Array) -> tuple[float, ...]:
    return tuple(value.item() for value in np.atleast_1d(found))
