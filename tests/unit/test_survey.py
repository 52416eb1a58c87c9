"""What is told of files before they are converted is what becomes of them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import netCDF4
import pytest
from typer.testing import CliRunner

from cluster.commands import app
from converters.convert import convert
from converters.info import info
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.survey import survey
from scray.errors import EmptyInput

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
KINDS = {
    "img3d.tif": "TIFF",
    "uwnd_mean.nc": "NETCDF",
    "tooth.h5": "HDF5",
    "201805_WSe2_arpes.nxs": "4D_NEXUS",
    "cat_rgb": "IDX",
}
SAME = ("shape", "dims", "dtype", "steps", "levels", "raw_bytes", "bitmask")


def scray_info(path: Path) -> tuple[dict[str, Any], str]:
    """The document and the text."""
    document, text = (CliRunner().invoke(app, ["info", str(path), *more]) for more in (["--json"], []))
    assert (document.exit_code, text.exit_code) == (0, 0)
    return json.loads(document.stdout), text.stdout


@pytest.mark.parametrize("name", KINDS)
def test_what_a_source_is_said_to_become_it_becomes(name: str, tmp_path: Path) -> None:
    root, files = find_files([EXAMPLES / name])
    convert(Job(root, files, KINDS[name]), tmp_path / "out", Serial())
    foreseen, result = survey(EXAMPLES / name), info(tmp_path / "out")
    assert (foreseen["sensor"], foreseen["format"], foreseen["source"]) == (
        KINDS[name],
        result["format"],
        result["source"],
    )
    assert foreseen["bytes"] == sum(file["size"] for file in result["inputs"])
    for before, after in zip(foreseen["datasets"], result["datasets"], strict=True):
        assert {key: before[key] for key in SAME} == {key: after[key] for key in SAME}
        assert [field["name"] for field in before["fields"]] == [field["name"] for field in after["fields"]]


@pytest.mark.parametrize("name", KINDS)
def test_the_command_tells_of_sources_and_results(name: str, tmp_path: Path) -> None:
    root, files = find_files([EXAMPLES / name])
    convert(Job(root, files, KINDS[name]), tmp_path / "out", Serial())
    for path in (EXAMPLES / name, tmp_path / "out"):
        document, text = scray_info(path)
        first = document["datasets"][0]
        assert document["sensor"] == KINDS[name]
        for word in (f"sensor {KINDS[name]}", " x ".join(map(str, first["dims"])), first["dtype"], "levels"):
            assert word in text
        assert all(field["name"] in text for field in first["fields"])
    assert "codec" in text
    assert "verified" in text


def test_many_fields_are_not_all_shown(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "many.nc", "w") as file:
        file.createDimension("y", 4)
        file.createDimension("x", 5)
        for number in range(20):
            file.createVariable(f"f{number}", "f4", ("y", "x"))[:] = number
    root, files = find_files([tmp_path / "many.nc"])
    convert(Job(root, files, "NETCDF"), tmp_path / "out", Serial())
    document, text = scray_info(tmp_path / "out")
    assert len(document["datasets"][0]["fields"]) == 20
    assert "and 8 more fields" in text


def test_what_nothing_can_read_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a volume")
    document, text = scray_info(tmp_path / "notes.txt")
    assert (document["sensor"], document["datasets"]) == ("OTHER", [])
    assert "cannot be converted" in text
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmptyInput):
        survey(tmp_path / "empty")


def test_an_archive_is_named_and_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(EXAMPLES / "img3d.tif", "img3d.tif")
    document, text = scray_info(tmp_path / "scan.zip")
    assert document["format"] == "archive"
    assert "scan.zip: an archive" in text
    assert [path.name for path in tmp_path.iterdir()] == ["scan.zip"]
