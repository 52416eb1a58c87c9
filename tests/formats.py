"""What every format's tests ask of a source: everything read at once, and random boxes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from converters.volume import Array, Reader, Source, Volume

DATA = Path(__file__).parent / "data" / "formats"


class Format(Protocol):
    """A format module."""

    def probe(self, root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source: ...

    def open_volume(self, root: Path, volume: Volume) -> Reader: ...


def read_all(form: Any, root: Path, volume: Volume) -> Array:
    """Every sample of a volume, shape (steps, *space, components), read step by step."""
    with form.open_volume(root, volume) as reader:
        box = tuple((0, n) for n in volume.space)
        return np.stack([reader.read(step, box) for step in range(volume.steps)])


def check_boxes(form: Any, root: Path, volume: Volume, whole: Array, seed: int, count: int = 8) -> None:
    """Random boxes, and the last corner, hold the bits of the whole; `whole` is (steps, *space, components)."""
    rng = np.random.default_rng(seed)
    with form.open_volume(root, volume) as reader:
        for _ in range(count):
            step = int(rng.integers(volume.steps))
            box = tuple(_span(rng, n) for n in volume.space)
            got = reader.read(step, box)
            expected = whole[step][tuple(slice(*span) for span in box)]
            assert got.dtype.str == volume.dtype
            assert got.shape == expected.shape
            assert got.tobytes() == np.ascontiguousarray(expected).tobytes()


def _span(rng: np.random.Generator, length: int) -> tuple[int, int]:
    start = int(rng.integers(length))
    return start, int(rng.integers(start + 1, length + 1))


def pattern(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    """Random bits of a type, as an array; NaN payloads and negative zeros included."""
    kind = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    size = math.prod(shape) * kind.itemsize
    return np.frombuffer(rng.bytes(size), kind).reshape(shape).copy()
