"""Looking at a file takes as much work as it has objects, not the square of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters import nexus, registry
from converters.prepare import find_files
from tests.quirks import h5, nc, put

Build = Callable[[Path, int], None]


def groups(folder: Path, count: int) -> None:
    with h5(folder, "a.nxs") as file:
        for number in range(count):
            group = file.create_group(f"g{number}")
            group.attrs["NX_class"], group.attrs["signal"], group.attrs["axes"] = "NXdata", "v", ["x", "y"]
            group["v"], group["x"], group["y"] = np.ones((3, 4)), np.arange(3.0), np.arange(4.0)


def variables(folder: Path, count: int) -> None:
    with nc(folder, y=3, x=4) as file:
        for number in range(count):
            put(file, f"v{number}", ("y", "x"), np.ones((3, 4)), coordinates="x y")


def calls(sensor: str, build: Build, folder: Path, count: int) -> int:
    """How many functions are called to probe a file of so many objects."""
    folder.mkdir()
    build(folder, count)
    root, files = find_files([folder])
    seen = 0

    def tally(_frame: object, event: str, _argument: object) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    sys.setprofile(tally)
    try:
        registry.probe(sensor, root, files, {})
    finally:
        sys.setprofile(None)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(("sensor", "build"), [("4D_NEXUS", groups), ("NETCDF", variables)])
def test_four_times_the_objects_are_four_times_the_work(sensor: str, build: Build, tmp_path: Path) -> None:
    calls(sensor, build, tmp_path / "warm", 1)
    few, many = (calls(sensor, build, tmp_path / str(count), count) for count in (60, 240))
    assert many < 4.6 * few


def test_the_axes_of_so_many_signals_are_told_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexus, "MAX_WITH_AXES", 3)
    groups(tmp_path, 5)
    source = registry.probe("4D_NEXUS", *find_files([tmp_path]), {})
    assert len(source.volumes) == 5
    assert list(source.metadata["nexus"]["axes"]) == ["/g0/v", "/g1/v", "/g2/v"]
    assert "Of 5 signals metadata.json has the axes of 3." in source.notes


def test_the_shape_of_an_array_is_asked_for_once(tmp_path: Path) -> None:
    """Each question goes to the library, which is what looking at files of many arrays takes its time for."""

    def arrays(folder: Path, count: int) -> None:
        with h5(folder) as file:
            for number in range(count):
                file[f"v{number}"] = np.ones((3, 4))

    calls("HDF5", arrays, tmp_path / "warm", 1)
    few, many = (calls("HDF5", arrays, tmp_path / str(count), count) for count in (10, 60))
    assert many - few < 310 * 50
