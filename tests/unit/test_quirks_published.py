"""Every oddity of the scientific formats, converted whole: another reader finds the same bits, and so does verify."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.convert import convert
from converters.describe import read_metadata
from converters.plan import Choices
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.verify import verify
from converters.volume import Array
from scray.errors import ScrayError
from scray.idx.reader import Dataset
from tests.quirks import Quirk, published, same
from tests.unit import test_quirks_hdf5, test_quirks_netcdf, test_quirks_nexus

EVERY = [*test_quirks_hdf5.quirk, *test_quirks_netcdf.quirk, *test_quirks_nexus.quirk]
pytestmark = pytest.mark.slow


def run(folder: Path, out: Path, quirk: Quirk, codec: str = "zip") -> Path:
    convert(Job(*find_files([folder]), quirk.sensor, dict(quirk.parameters), Choices(codec)), out, Serial())
    return out


def time_first(values: Array, record: dict[str, Any]) -> Array:
    """An array of the source as it is published: axes of time in front, in their order."""
    names = [axis["name"] for axis in record["time_axes"]]
    axes = [record["source_axes"].index(name) for name in names]
    whole = np.reshape(values, record["source_shape"])
    return np.ascontiguousarray(np.moveaxis(whole, axes, range(len(axes))))


@pytest.mark.parametrize("quirk", EVERY, ids=str)
def test_published_exactly_or_not_at_all(quirk: Quirk, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    expected = quirk.build(source)
    if isinstance(expected, str):
        with pytest.raises(ScrayError) as caught:
            run(source, out, quirk)
        assert caught.value.code == expected
        assert [path.name for path in tmp_path.iterdir()] == ["in"]
        return
    metadata = read_metadata(run(source, out, quirk))
    assert metadata
    found: dict[str, Array] = {}
    for record in metadata["datasets"]:
        found |= (arrays := published(out, record))
        for name, array in arrays.items():
            same(array, time_first(expected[name], record))
    assert next(iter(found)) == next(iter(expected))
    assert found.keys() == expected.keys()
    assert verify(out, source) == []


@pytest.mark.parametrize(
    "build",
    [
        test_quirks_hdf5.a_table_of_tables_and_arrays,
        test_quirks_netcdf.time_is_not_first,
        test_quirks_netcdf.a_curvilinear_grid,
        test_quirks_nexus.an_eiger_run,
        test_quirks_nexus.intensities_are_found_by_name_and_size,
    ],
)
def test_one_other_bit_in_any_field_is_found(build: Any, tmp_path: Path) -> None:
    quirk = next(quirk for quirk in EVERY if quirk.build is build)
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    build(source)
    metadata = read_metadata(run(source, out, quirk, codec="raw"))
    assert metadata
    for record in metadata["datasets"]:
        for index, entry in enumerate(record["fields"]):
            flip_first_sample(out / record["idx"], index)
            assert any("differs from the source" in problem for problem in verify(out, source)), entry["name"]
            flip_first_sample(out / record["idx"], index)
    assert verify(out, source) == []


def flip_first_sample(idx: Path, index: int) -> None:
    """Change the lowest bit of the first sample of a field that is stored as it is, in the last time step."""
    with Dataset.open(idx) as dataset:
        header = dataset.header
        path = idx.parent / dataset.file_name(0, list(header.steps())[-1], index)
        entry = 40 + 40 * (header.position_in_file(0) + index * header.blocks_per_file)
    data = bytearray(path.read_bytes())
    (offset,) = struct.unpack(">I", data[entry + 8 : entry + 12])
    data[offset] ^= 1
    path.write_bytes(data)
