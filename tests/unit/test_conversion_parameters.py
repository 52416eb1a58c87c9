"""Each conversion parameter changes what comes out, and none is overridden by what is detected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.convert import convert
from converters.plan import Choices
from converters.prepare import Job, find_files
from converters.registry import KNOWN_PARAMETERS
from converters.run import Serial
from scray.errors import BadParameter
from tests.formats import pattern
from tests.quirks import h5, nc, put

SCAN = ("volume", "Xs", "Ys", "presample", "postsample")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A file with more than one answer to every question."""
    folder = tmp_path / "in"
    folder.mkdir()
    with h5(folder, "a.nxs") as file:
        file["large"], file["small"] = pattern((3, 4, 5, 6), "<u2"), pattern((3, 4, 5), "<f4")
        file["one"], file["two"], file["xs"], file["ys"] = np.ones(12), np.arange(12.0), np.arange(3.0), np.arange(4.0)
    return folder


def told(folder: Path, sensor: str, **parameters: Any) -> dict[str, Any]:
    """metadata.json of a conversion, with the header in it."""
    out = folder.parent / "out"
    convert(Job(*find_files([folder]), sensor, parameters, Choices()), out, Serial())
    metadata: dict[str, Any] = json.loads((out / "metadata.json").read_bytes())
    return metadata | {"header": (out / "visus.idx").read_text()}


def sources(metadata: dict[str, Any]) -> list[str]:
    return [field["source"] for record in metadata["datasets"] for field in record["fields"]]


@pytest.mark.parametrize(("sensor", "key"), [("HDF5", "dataset"), ("4D_NEXUS", "dataset"), ("HDF5", "variable")])
def test_a_dataset_by_name(scans: Path, sensor: str, key: str) -> None:
    assert sources(told(scans, sensor))[0] == "/large"
    assert sources(told(scans, sensor, **{key: "small"})) == ["/small"]
    assert sources(told(scans, sensor, **{key: ["small", "/large"]})) == ["/small", "/large"]


@pytest.mark.parametrize("suffix", ["", "_dataset"])
def test_the_names_of_a_scan(scans: Path, suffix: str) -> None:
    names = {"volume": "large", "presample": "two", "postsample": "one", "Xs": "xs", "Ys": "ys"}
    metadata = told(scans, "4D_NEXUS", **{f"{role}{suffix}": name for role, name in names.items()})
    assert sources(metadata) == ["/large", "/two", "/one", "/two / /one"]
    roles = metadata["source"]["nexus"]["roles"]
    assert {role: found[0]["path"] for role, found in roles.items()} == {r: f"/{n}" for r, n in names.items()}
    assert sources(told(scans, "4D_NEXUS", **{f"volume{suffix}": "small"})) == ["/small"]


def test_a_variable_and_time(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with nc(folder, time=3, y=4, x=5) as file:
        put(file, "time", ("time",), np.arange(3.0), units="days since 2000-01-01")
        put(file, "v", ("time", "y", "x"), pattern((3, 4, 5), "<f4"))
        put(file, "mask", ("y", "x"), pattern((4, 5), "i1"))
    plain = told(folder, "NETCDF")
    assert (sources(plain), plain["datasets"][0]["steps"]) == (["v", "mask"], 3)
    assert sources(told(folder, "NETCDF", variable="mask")) == ["mask"]
    assert told(folder, "NETCDF", time="axis")["datasets"][0]["shape"] == [3, 4, 5]
    assert told(folder, "NETCDF", time="steps")["datasets"][0]["steps"] == 3


def test_codec_and_profile(scans: Path) -> None:
    assert "default_compression(zip)" in told(scans, "HDF5")["header"]
    assert "default_compression(lz4)" in told(scans, "HDF5", codec="fast")["header"]
    assert "(arco)\n0" not in told(scans, "HDF5", profile="cloud")["header"]
    for wrong in ({"codec": "best"}, {"profile": "moon"}, {"time": "now"}, {"memmaps": "perhaps"}):
        with pytest.raises(BadParameter):
            told(scans, "HDF5", **wrong)


def test_an_unknown_one_is_refused_with_the_list(scans: Path) -> None:
    with pytest.raises(BadParameter) as caught:
        told(scans, "4D_NEXUS", colour="red")
    assert all(name in caught.value.message for name in KNOWN_PARAMETERS)
    for role in SCAN:
        with pytest.raises(BadParameter, match="no dataset /nothing"):
            told(scans, "4D_NEXUS", **{role: "nothing"})
