"""Minima and maxima of fields, a value a component, over the finite samples that do not stand for nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from converters.mark import Extremes
from converters.volume import Array

ROWS = 1 << 20  # samples that are looked at at once


def widen(minimum: Extremes, maximum: Extremes, name: str, array: Array, space_axes: int, fill: Any = None) -> int:
    """Let the extremes of a field take in an array (steps, z y x[, components]); returns how many samples it has.

    NaN, infinities and `fill` do not count; a component without any other sample has the minimum inf, the maximum -inf.
    """
    if fill is not None:
        components = math.prod(array.shape[space_axes + 1 :])
        for part in _parts(array.reshape(-1, components)):
            _take(minimum, maximum, name, part, fill)
        return array.size
    over = tuple(range(space_axes + 1))
    low, high = array.min(axis=over), array.max(axis=over)
    if array.dtype.kind == "f" and not bool(np.isfinite(low).all() and np.isfinite(high).all()):
        finite = np.isfinite(array)
        low = array.min(axis=over, where=finite, initial=np.inf)
        high = array.max(axis=over, where=finite, initial=-np.inf)
    join(minimum, name, _values(low), min)
    join(maximum, name, _values(high), max)
    return array.size


def _parts(samples: Array) -> Iterator[Array]:
    for start in range(0, len(samples), ROWS):
        yield samples[start : start + ROWS]


def _take(minimum: Extremes, maximum: Extremes, name: str, samples: Array, fill: Any) -> None:
    """Take in (samples, components) without those that are `fill`."""
    known = (samples != fill) & np.isfinite(samples)
    columns = [samples[:, i][known[:, i]] for i in range(samples.shape[1])]
    join(minimum, name, tuple(one.min().item() if one.size else math.inf for one in columns), min)
    join(maximum, name, tuple(one.max().item() if one.size else -math.inf for one in columns), max)


def join(extremes: Extremes, name: str, found: tuple[float, ...], pick: Callable[[float, float], float]) -> None:
    """Let the minima (`pick` = min) or maxima (max) of a field take in others."""
    old = extremes.get(name, found)
    extremes[name] = tuple(pick(a, b) for a, b in zip(old, found, strict=True))


def _values(found: Array) -> tuple[float, ...]:
    return tuple(value.item() for value in np.atleast_1d(found))
