"""A volume is checked when it is described; its time steps are read one by one or together, to the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.volume import Array, Box, Reader, Role, Volume
from scray.errors import EmptyInput, Unsupported

ROLES: tuple[Role, ...] = ("time", "time", "space", "space", "component")


def volume(shape: tuple[int, ...], roles: tuple[Role, ...], dtype: str = "<u2", **more: Any) -> Volume:
    names = tuple("abcdefg"[: len(shape)])
    return Volume("tiff", ("a",), "s", "a", "", shape, names, roles, dtype, dtype, more.get("chunks", shape), False)


class InMemory(Reader):
    """Reads an array as if it were a file."""

    def __init__(self, described: Volume, array: Array) -> None:
        super().__init__(Path(), described)
        self.array = array
        self.reads = 0

    def read_source(self, box: Box) -> Array:
        self.reads += 1
        return self.array[tuple(slice(*span) for span in box)]

    def close(self) -> None:
        self.array = self.array[:0]


@pytest.mark.parametrize(
    ("roles", "reads"),
    [
        (ROLES, 4),
        (("time", "single", "space", "space", "component"), 1),
        (("single", "single", "space", "space", "component"), 1),
        (("space", "time", "space", "space", "component"), 1),
    ],
)
def test_steps_are_the_same_one_by_one_and_together(roles: tuple[Role, ...], reads: int) -> None:
    lengths = {"single": 1, "time": 3, "space": 5, "component": 2}
    shape = tuple(lengths[role] for role in roles)
    array = np.arange(np.prod(shape), dtype="<u2").reshape(shape)
    reader = InMemory(volume(shape, roles), array)
    box = ((1, 4),) * roles.count("space")
    steps = (0, 1) if "time" not in roles else (0, 3) if reads == 1 else (2, 6)
    together = reader.read_steps(steps, box)
    assert reader.reads == reads
    assert together.shape == (steps[1] - steps[0], *(3,) * len(box), 2)
    for index, step in enumerate(range(*steps)):
        assert (together[index] == reader.read(step, box)).all()


@pytest.mark.parametrize(
    ("shape", "roles", "dtype", "error", "words"),
    [
        ((3, 4), ("space",), "<u2", ValueError, "differ in length"),
        ((3, 4), ("space", "space"), "<f2", Unsupported, "cannot be stored"),
        ((3, 0), ("space", "space"), "<u2", EmptyInput, "no samples"),
        ((2,) * 6, ("space",) * 6, "<u2", Unsupported, "6 axes in space"),
    ],
)
def test_a_volume_that_cannot_be_is_refused(
    shape: tuple[int, ...], roles: tuple[Role, ...], dtype: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        volume(shape, roles, dtype, chunks=shape)
