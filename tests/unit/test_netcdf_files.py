"""Several NetCDF files of one upload: what is joined along time, what stays apart, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import registry
from converters.prepare import find_files
from converters.volume import Array, Source
from scray.errors import BadParameter, MixedInput
from tests.formats import pattern
from tests.quirks import nc, put, same

DAYS = "days since 2000-01-01"


def file(folder: Path, name: str, arrays: dict[str, Array], time: Any = None, units: str = DAYS, **axes: Any) -> None:
    """A file with variables over (time, lat, lon), or (time,) where they have one axis."""
    first = max(arrays.values(), key=np.ndim)
    dims = dict(zip(("time", "lat", "lon"), first.shape, strict=False))
    with nc(folder, "NETCDF3_CLASSIC", name, **dims) as made:
        put(made, "time", ("time",), np.asarray(time or range(dims["time"]), "f8"), units=units)
        for axis, values in axes.items():
            put(made, axis, (axis,) if axis in dims else (), np.asarray(values, "f8"))
        for key, values in arrays.items():
            put(made, key, tuple(dims)[: values.ndim], values)


def probe(folder: Path, **parameters: Any) -> Source:
    root, files = find_files([folder])
    return registry.probe("NETCDF", root, files, parameters)


def read(folder: Path, source: Source, selector: str) -> Array:
    volume = next(volume for volume in source.volumes if volume.selector == selector)
    with registry.open_volume(folder, volume) as reader:
        return reader.read_source(tuple((0, n) for n in volume.source_shape))


@pytest.mark.parametrize("tail", [(), (5,)])
def test_series_of_any_length_are_laid_end_to_end(tmp_path: Path, tail: tuple[int, ...]) -> None:
    """Months of a station: time is an axis there, not time steps, and each month has its own length."""
    whole = pattern((9, *tail), "f4")
    for name, (start, stop) in {"m1.nc": (0, 4), "m2.nc": (4, 5), "m10.nc": (5, 9)}.items():
        file(tmp_path, name, {"v": whole[start:stop]}, list(range(start, stop)))
    source = probe(tmp_path)
    assert (source.volumes[0].source_axes[0], source.volumes[0].space) == ("time", whole.shape)
    same(read(tmp_path, source, "v"), whole)
    assert source.notes == ()


def test_other_coordinates_are_told_file_by_file(tmp_path: Path) -> None:
    for i, name in enumerate(("a.nc", "b.nc")):
        file(tmp_path, name, {"v": pattern((1, 2, 3), "f4")}, [i], lat=[10, 20], lon=[i, i + 1, i + 2], height=i)
    source = probe(tmp_path)
    told = source.metadata["coordinates_by_file"]
    assert [told[name]["lon"]["values"] for name in ("a.nc", "b.nc")] == [[0, 1, 2], [1, 2, 3]]
    assert (told["b.nc"]["height"]["values"], "lat" in told["b.nc"]) == (1, False)
    (note,) = source.notes
    assert "differ in lon;" in note


def test_time_that_does_not_go_on_is_told(tmp_path: Path) -> None:
    for name, time in (("a.nc", [4, 5]), ("b.nc", [5, 6])):
        file(tmp_path, name, {"v": pattern((2, 2, 3), "f4")}, time)
    assert "time ends at 5.0 in a.nc and begins at 5.0 in b.nc" in probe(tmp_path).notes[0]
    file(tmp_path, "b.nc", {"v": pattern((2, 2, 3), "f4")}, [0, 1], "days since 2000-01-06")
    assert "other units or another calendar" in probe(tmp_path).notes[0]


def test_files_of_other_variables_are_datasets_of_their_own(tmp_path: Path) -> None:
    """Downloads of reanalyses and model output come as a file, or a row of files, a variable."""
    arrays = {"t2m": pattern((4, 2, 3), "f4"), "tp": pattern((4, 2, 3), "f4", 1)}
    for key, values in arrays.items():
        for part in (0, 1):
            file(tmp_path, f"{key}_{part}.nc", {key: values[part * 2 : part * 2 + 2]}, [part * 2, part * 2 + 1])
    source = probe(tmp_path)
    assert [(v.dataset, v.selector, v.steps) for v in source.volumes] == [("t2m", "t2m", 4), ("tp", "tp", 4)]
    for key, values in arrays.items():
        same(read(tmp_path, source, key), values)
    assert source.metadata["other_files"]["tp_0.nc"]["variables"]["tp"]
    assert set(source.metadata["coordinates_by_file"]) == {f"{key}_{part}.nc" for key in arrays for part in (0, 1)}
    (volume,), notes = probe(tmp_path, variable="tp").volumes, probe(tmp_path, variable="tp").notes
    assert (volume.selector, volume.steps) == ("tp", 4)
    assert notes == ("Files without these variables were left out: t2m_0.nc, t2m_1.nc.",)
    assert [v.selector for v in probe(tmp_path, variable="tp,t2m").volumes] == ["tp", "t2m"]
    with pytest.raises(BadParameter, match="has a variable wind"):
        probe(tmp_path, variable="wind,tp")


def test_files_that_share_some_variables_are_refused_by_name(tmp_path: Path) -> None:
    v, w = pattern((2, 2, 3), "f4"), pattern((2, 2, 3), "f4", 1)
    file(tmp_path, "a.nc", {"v": v, "w": w})
    file(tmp_path, "b.nc", {"w": w, "v": v})
    assert [volume.source_shape for volume in probe(tmp_path).volumes] == [(4, 2, 3)] * 2
    file(tmp_path, "b.nc", {"w": w})
    with pytest.raises(MixedInput, match=r"a\.nc and b\.nc hold w"):
        probe(tmp_path)
    assert probe(tmp_path, variable="w").volumes[0].source_shape == (4, 2, 3)


def test_stacked_files_are_no_row_along_their_first_axis(tmp_path: Path) -> None:
    """A satellite's sector moves: no axis of time, a file a step."""
    for i in (0, 1):
        with nc(tmp_path, name=f"m{i}.nc", y=4, x=5) as made:
            put(made, "y", ("y",), np.arange(4) + i)
            put(made, "t", (), np.array(60.0 * i), units="seconds since 2000-01-01")
            put(made, "rad", ("y", "x"), pattern((4, 5), "i2", i))
    source = probe(tmp_path)
    assert (source.volumes[0].steps, len(source.notes), "differ in y;" in source.notes[0]) == (2, 1, True)
    told = source.metadata["coordinates_by_file"]
    assert [told[f"m{i}.nc"]["t"]["values"] for i in (0, 1)] == [0, 60]


def test_positions_may_be_in_files_of_several_variables(tmp_path: Path) -> None:
    """Curvilinear model output: each file brings the same latitudes."""
    for i, key in enumerate(("sos", "tos")):
        with nc(tmp_path, name=f"{key}.nc", time=2, j=4, i=5) as made:
            put(made, "lat", ("j", "i"), pattern((4, 5), "f8"), units="degrees_north")
            put(made, key, ("time", "j", "i"), pattern((2, 4, 5), "f4", i), coordinates="lat")
    source = probe(tmp_path)
    assert [volume.selector for volume in source.volumes] == ["sos", "lat", "tos", "lat"]
    assert len({volume.dataset for volume in source.volumes}) == 4


def test_a_track_begins_with_what_was_measured(tmp_path: Path) -> None:
    with nc(tmp_path, obs=7) as made:
        put(made, "lon", ("obs",), np.arange(7.0), units="degrees_east")
        put(made, "time", ("obs",), np.arange(7.0), units=DAYS)
        put(made, "salinity", ("obs",), np.arange(7.0))
    assert [volume.selector for volume in probe(tmp_path).volumes] == ["salinity", "lon", "time"]
