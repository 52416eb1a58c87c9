"""Content that is something else than the sensor says is converted as what it is and noted, or refused by name."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from converters import registry
from converters.convert import convert
from converters.prepare import Job, find_files
from converters.run import Serial
from scray.errors import WrongSensor
from scray.sensors import SENSORS

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
CONTENT = {"img3d.tif": ("TIFF", "tiff"), "uwnd_mean.nc": ("NETCDF", "hdf5"), "tooth.h5": ("HDF5", "hdf5")}
UNKNOWN = {"text": b"no picture at all", "noise": gzip.compress(b"x")[10:] * 9, "zeros": bytes(4096), "cut": b"II"}


@pytest.mark.parametrize("sensor", ["TIFF", "HDF5", "4D_NEXUS", "IDX"])
@pytest.mark.parametrize("name", CONTENT)
def test_other_content_is_converted_and_the_metadata_say_so(name: str, sensor: str, tmp_path: Path) -> None:
    own, form = CONTENT[name]
    fits = sensor == own or (form == "hdf5" and sensor in ("HDF5", "4D_NEXUS"))
    root, files = find_files([EXAMPLES / name])
    convert(Job(root, files, sensor), tmp_path / "out", Serial())
    told = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert (told["sensor"], told["format"]) == (sensor, form)
    assert any(f"not what {sensor} stands for" in note for note in told["notes"]) is not fits


@pytest.mark.parametrize("sensor", ["HDF5", "NETCDF", "4D_NEXUS"])
def test_plain_hdf5_says_so_where_more_was_expected(sensor: str) -> None:
    notes = " ".join(registry.probe(sensor, EXAMPLES, ("tooth.h5",), {}).notes)
    assert ("HDF5 file without" in notes) is (sensor != "HDF5")


@pytest.mark.parametrize(
    ("sensor", "name", "parameters", "idle"),
    [
        ("TIFF", "tooth.h5", {"variable": "/exchange/data"}, ""),
        ("OTHER", "tooth.h5", {"variable": "/exchange/data"}, ""),
        ("OTHER", "tooth.h5", {"repack": True}, "repack"),
        ("NETCDF", "img3d.tif", {"variable": "none"}, "variable"),
        ("OTHER", "notes.txt", {"axes": "zyx"}, "axes"),
    ],
)
def test_what_had_no_effect_is_told_by_what_was_read(
    sensor: str, name: str, parameters: dict[str, Any], idle: str, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("a text")
    root = EXAMPLES if (EXAMPLES / name).exists() else tmp_path
    notes = registry.probe(sensor, root, (name,), parameters).notes
    assert [note.split()[0] for note in notes if "changed nothing" in note] == idle.split()


@pytest.mark.parametrize("sensor", [sensor for sensor in SENSORS if sensor != "OTHER"])
@pytest.mark.parametrize("content", UNKNOWN)
def test_what_is_nothing_known_is_a_wrong_sensor(content: str, sensor: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file.dat").write_bytes(UNKNOWN[content])
    with pytest.raises(WrongSensor, match=sensor):
        convert(Job(tmp_path / "in", ("file.dat",), sensor), tmp_path / "out", Serial())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
