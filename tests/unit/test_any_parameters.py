"""Conversion parameters as anybody may send them, and files that begin as HDF4 does: refused or done, never a crash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from converters import registry
from converters.plan import Choices, Plan, make_plan
from converters.prepare import find_files
from scray.errors import ScrayError
from scray.parameters import PARAMETERS

ARRAY = np.arange(60, dtype="u2").reshape(3, 4, 5)
WORDS = [
    "zyx",
    "tyxc",
    "t:z",
    "y,x",
    "none",
    "axis",
    "series[0]",
    "series[9]",
    "/a",
    "v",
    "NaN",
    "1e400",
    "²",
    "zip",
    "cloud",
    "RGN",
]
LEAVES = (
    st.none() | st.booleans() | st.integers(-5, 12) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
WORD = st.sampled_from(WORDS) | st.text(max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES | WORD, lambda c: st.lists(c, max_size=4) | st.dictionaries(WORD, c, max_size=3), max_leaves=6
)
PARAMETER_SETS = st.dictionaries(st.sampled_from(sorted(PARAMETERS)) | st.text(max_size=4), VALUES, max_size=3)
SENSORS = ("TIFF", "HDF5", "4D_NEXUS", "NETCDF", "RGB", "MAPIR", "OTHER", "IDX")
HDF4 = b"\x0e\x03\x13\x01"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small dataset for each sensor."""
    root = tmp_path_factory.mktemp("small")
    made = {sensor: root / sensor for sensor in SENSORS}
    for folder in made.values():
        folder.mkdir()
    for sensor in ("TIFF", "OTHER", "IDX"):
        tifffile.imwrite(made[sensor] / "a.tif", ARRAY, photometric="minisblack", metadata=None)
    for sensor in ("HDF5", "4D_NEXUS"):
        with h5py.File(made[sensor] / "a.h5", "w") as file:
            file["a"], file["b"], file["x"] = ARRAY, ARRAY.astype("f4"), np.arange(3.0)
    with netCDF4.Dataset(str(made["NETCDF"] / "a.nc"), "w") as file:
        for name, length in zip("tyx", ARRAY.shape, strict=True):
            file.createDimension(name, length)
        file.createVariable("v", "i2", ("t", "y", "x"), fill_value=-1)[:] = ARRAY
    for sensor in ("RGB", "MAPIR"):
        for number in range(2):
            Image.new("RGB", (5, 4), (number, 1, 2)).save(made[sensor] / f"{number}.png")
    return made


def planned(folder: Path, sensor: str, parameters: Mapping[str, Any]) -> None:
    """Probe, plan and read everything once."""
    root, files = find_files([folder])
    source = registry.probe(sensor, root, files, parameters)
    plan = make_plan(root, sensor, (), parameters, source, Choices())
    assert Plan.from_json(plan.to_json()) == plan
    for volume in source.volumes:
        with registry.open_volume(root, volume) as reader:
            assert reader.read(0, tuple((0, n) for n in volume.space)).size


@pytest.mark.parametrize("sensor", SENSORS)
@settings(max_examples=25, deadline=None)
@given(parameters=PARAMETER_SETS)
@example(parameters={"axes": {"x": {"y": []}}, "time": [[]]})
@example(parameters={"dataset": [], "variable": {}, "fill": 10**400})
def test_any_parameters_are_heeded_or_refused(
    folders: Mapping[str, Path], sensor: str, parameters: dict[str, Any]
) -> None:
    with suppress(ScrayError):
        planned(folders[sensor], sensor, json.loads(json.dumps(parameters)))


@pytest.mark.parametrize("sensor", ["HDF5", "4D_NEXUS", "NETCDF", "TIFF"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(behind=st.binary(max_size=600), at=st.sampled_from([4, 512, 1024, 2048]), whole=st.booleans())
def test_what_begins_as_hdf4_is_named_so(tmp_path: Path, sensor: str, behind: bytes, at: int, whole: bool) -> None:
    """Also where a whole HDF5 file lies behind, as behind a user block: it is none that anybody meant as HDF5."""
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        file["a"] = ARRAY
    inner = path.read_bytes() if whole else b""
    path.write_bytes((HDF4 + behind).ljust(at, b"\0")[: max(at, 4 + len(behind) * (not whole))] + inner)
    with pytest.raises(ScrayError, match=r"a\.nxs is .*HDF4"):
        planned(tmp_path, sensor, {})
