"""Each conversion parameter changes what comes out, and none is overridden by what is detected."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from cluster.commands_convert import read_parameters
from converters.bands import FILTERS
from converters.convert import convert
from converters.plan import Choices
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.survey import survey
from converters.volume import Array
from scray.errors import BadParameter
from scray.idx import codecs
from scray.parameters import PARAMETERS, check, switched, table, unheeded
from scray.sensors import SENSORS
from tests.formats import pattern
from tests.quirks import h5, nc, published, put, same

SCAN = ("volume", "Xs", "Ys", "presample", "postsample")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    return made


@pytest.fixture
def scans(folder: Path) -> Path:
    """A file with more than one answer to every question."""
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


def first(folder: Path, metadata: dict[str, Any]) -> Array:
    """The principal field as OpenVisus reads it: (steps, z, y, x)."""
    record = metadata["datasets"][0]
    return published(folder.parent / "out", record)[record["fields"][0]["source"]]


# --- what to convert -----------------------------------------------------------------------------


@pytest.mark.parametrize(("sensor", "key"), [("HDF5", "dataset"), ("4D_NEXUS", "dataset"), ("HDF5", "variable")])
def test_a_dataset_by_name(scans: Path, sensor: str, key: str) -> None:
    assert sources(told(scans, sensor))[0] == "/large"
    assert sources(told(scans, sensor, **{key: "small"})) == ["/small"]
    assert sources(told(scans, sensor, **{key: ["small", "/large"]})) == ["/small", "/large"]


@pytest.mark.parametrize("sensor", ["TIFF", "TIFF RGB"])
def test_a_series_of_a_tiff(folder: Path, sensor: str) -> None:
    small, large = pattern((3, 4), "u1"), pattern((50, 60), "u1")
    with tifffile.TiffWriter(folder / "a.tif") as file:
        file.write(large)
        file.write(small)
    assert first(folder, told(folder, sensor)).shape == (1, 50, 60)
    for said in ("series[1]", "1", 1):
        same(first(folder, told(folder, sensor, dataset=said)), small)


@pytest.mark.parametrize("suffix", ["", "_dataset"])
def test_the_names_of_a_scan(scans: Path, suffix: str) -> None:
    names = {"volume": "large", "presample": "two", "postsample": "one", "Xs": "xs", "Ys": "ys"}
    metadata = told(scans, "4D_NEXUS", **{f"{role}{suffix}": name for role, name in names.items()})
    assert sources(metadata) == ["/large", "/two", "/one", "/two / /one"]
    roles = metadata["source"]["nexus"]["roles"]
    assert {role: found[0]["path"] for role, found in roles.items()} == {r: f"/{n}" for r, n in names.items()}
    assert sources(told(scans, "4D_NEXUS", **{f"volume{suffix}": "small"})) == ["/small"]
    for role in SCAN:
        with pytest.raises(BadParameter, match="no dataset /nothing"):
            told(scans, "4D_NEXUS", **{role + suffix: "nothing"})


def test_a_variable_and_time(folder: Path) -> None:
    with nc(folder, time=3, y=4, x=5) as file:
        put(file, "time", ("time",), np.arange(3.0), units="days since 2000-01-01")
        put(file, "v", ("time", "y", "x"), pattern((3, 4, 5), "<f4"))
        put(file, "mask", ("y", "x"), pattern((4, 5), "i1"))
    plain = told(folder, "NETCDF")
    assert (sources(plain), plain["datasets"][0]["steps"]) == (["v", "mask"], 3)
    assert sources(told(folder, "NETCDF", variable="mask")) == ["mask"]
    assert sources(told(folder, "NETCDF", dataset=["mask", "v"])) == ["mask", "v"]
    assert told(folder, "NETCDF", time="axis")["datasets"][0]["shape"] == [3, 4, 5]
    assert told(folder, "NETCDF", time="none")["datasets"][0]["shape"] == [3, 4, 5]
    assert told(folder, "NETCDF", time="steps")["datasets"][0]["steps"] == 3


# --- axes ----------------------------------------------------------------------------------------

ARRAY = pattern((5, 6, 7), "<u2")


def write(folder: Path, sensor: str) -> None:
    """The same numbers in a file of each sensor, chunked and compressed where it can be."""
    if sensor == "TIFF":
        tifffile.imwrite(folder / "a.tif", ARRAY, compression="zlib", photometric="minisblack")
    elif sensor == "NETCDF":
        with nc(folder, lon=5, lat=6, level=7) as file:
            put(file, "v", ("lon", "lat", "level"), ARRAY)
    elif sensor == "IDX":
        write(folder, "HDF5")
        convert(Job(*find_files([folder]), "HDF5"), folder / "idx", Serial())
        (folder / "a.h5").unlink()
    else:
        with h5(folder, "a.nxs" if sensor == "4D_NEXUS" else "a.h5") as file:
            group = file.create_group("entry")
            group.attrs["NX_class"], group.attrs["signal"], group.attrs["axes"] = "NXdata", "v", ["a", "b", "c"]
            group.create_dataset("v", data=ARRAY, chunks=(2, 3, 7), compression="gzip")


@pytest.mark.parametrize("sensor", ["TIFF", "NETCDF", "HDF5", "4D_NEXUS", "IDX"])
@pytest.mark.parametrize(
    ("parameters", "order", "steps"),
    [
        ({"axes": "xyz"}, (2, 1, 0), 1),
        ({"axes": "yxz"}, (2, 0, 1), 1),
        ({"axes": "yxt"}, (2, 0, 1), 7),
        ({"axes": [1, 2, 0]}, (1, 2, 0), 1),
        ({"time": 1}, (1, 0, 2), 6),
    ],
    ids=str,
)
def test_any_array_is_turned_as_asked(
    folder: Path, sensor: str, parameters: dict[str, Any], order: tuple[int, ...], steps: int
) -> None:
    write(folder, sensor)
    metadata = told(folder, sensor, **parameters, **({"repack": True} if sensor == "IDX" else {}))
    record, turned = metadata["datasets"][0], ARRAY.transpose(order)
    assert [record["steps"], *record["shape"]] == [steps, *(turned.shape if steps == 1 else turned.shape[1:])]
    same(first(folder, metadata), turned)
    assert metadata["notes"][0].startswith("Axes as asked for: ")
    assert [axis["length"] for axis in next(iter(metadata["source"]["axes"].values()))] == [5, 6, 7]
    if sensor != "IDX":
        surveyed = survey(folder, sensor, parameters)
        assert surveyed["datasets"][0]["shape"] == record["shape"]
        assert surveyed["notes"][0] == metadata["notes"][0]


@pytest.mark.parametrize("sensor", ["TIFF", "HDF5"])
def test_channels_become_components_wherever_they_are(folder: Path, sensor: str) -> None:
    write(folder, sensor)
    same(first(folder, told(folder, sensor, axes="cyx")), ARRAY.transpose(1, 2, 0))
    metadata = told(folder, sensor, axes="xcy")
    assert metadata["datasets"][0]["fields"][0]["components"] == 6
    same(first(folder, metadata), ARRAY.transpose(2, 0, 1))


def test_pages_of_many_files_are_time_where_that_is_said(folder: Path) -> None:
    for number in range(12):
        tifffile.imwrite(folder / f"p{number}.tif", ARRAY[0] + number)
    pages = np.stack([ARRAY[0] + number for number in range(12)])
    assert told(folder, "TIFF")["datasets"][0]["shape"] == [12, 6, 7]
    for parameters in ({"time": "z"}, {"axes": "tyx"}, {"axes": "z:time"}):
        metadata = told(folder, "TIFF", **parameters)
        assert (metadata["datasets"][0]["steps"], metadata["datasets"][0]["shape"]) == (12, [6, 7])
        same(first(folder, metadata), pages)


def test_columns_and_halves_of_numbers_are_turned_alike(folder: Path) -> None:
    values = (pattern((3, 4, 5), "<i4") + 1j).astype("<c8")
    with h5(folder) as file:
        file["v"] = values
    metadata = told(folder, "HDF5", axes="xzy")
    found = published(folder.parent / "out", metadata["datasets"][0])
    same(found["/v_re"], values.real.transpose(1, 2, 0))
    same(found["/v_im"], values.imag.transpose(1, 2, 0))


def test_axes_that_do_not_fit_are_refused(scans: Path) -> None:
    with pytest.raises(BadParameter, match=r"/large, as stored: dim0 \(3\), dim1 \(4\), dim2 \(5\), dim3 \(6\)"):
        told(scans, "HDF5", axes="zyx")
    with pytest.raises(BadParameter, match="no axis 'energy'"):
        told(scans, "HDF5", time="energy")
    assert told(scans, "HDF5", axes="zyx", dataset="small")["datasets"][0]["shape"] == [3, 4, 5]


# --- how it is written ---------------------------------------------------------------------------


def test_codec_and_profile(scans: Path) -> None:
    words = {"zip": "zip", "small": "zip", "fast": "lz4", "raw": "raw"}
    for codec, word in words.items():
        assert f"default_compression({word})" in told(scans, "HDF5", codec=codec)["header"]
        manifest = json.loads((scans.parent / "out" / "manifest.json").read_bytes())
        assert manifest["codec"]["name"] == codec
    assert "(arco)\n0" in told(scans, "HDF5", profile="local")["header"]
    assert "(arco)\n0" not in told(scans, "HDF5", profile="cloud")["header"]
    with pytest.raises(BadParameter, match="zip codec"):
        told(scans, "HDF5", profile="cloud", codec="fast")


def test_idx_is_kept_or_written_anew_as_said(folder: Path) -> None:
    write(folder, "IDX")
    assert told(folder, "IDX")["datasets"][0].get("source_shape") is None
    repacked = told(folder, "IDX", repack="yes", codec="fast")
    assert "default_compression(lz4)" in repacked["header"]
    same(first(folder, repacked), ARRAY)
    for name, value in {"codec": "small", "profile": "local", "axes": "xyz", "time": 0, "fill": 1}.items():
        with pytest.raises(BadParameter, match=f"{name}: .*repack=true"):
            told(folder, "IDX", **{name: value})


def test_memory_maps_are_written_or_not_as_said(scans: Path) -> None:
    told(scans, "4D_NEXUS", memmaps=False)
    assert not list(scans.glob("*.dat"))
    told(scans, "HDF5", memmaps="yes", axes="xyzu", fill=7)
    [path] = scans.glob("*.dat")
    with h5(scans, "b.h5") as _:
        stored = pattern((3, 4, 5, 6), "<u2").astype("<f4")
    assert path.read_bytes() == stored.tobytes()  # a map has the shape and the values of its dataset


# --- what nothing is -----------------------------------------------------------------------------


@pytest.mark.parametrize("sensor", ["NETCDF", "HDF5"])
def test_fill_takes_the_place_of_what_the_file_calls_nothing(folder: Path, sensor: str) -> None:
    values = np.linspace(1, 2, 60, dtype="<f4").reshape(3, 4, 5)
    values[0, 0, :2], values[1, 1, 1], values[2, 3, 4] = (1e20, -999), -7, np.nan
    with nc(folder, z=3, y=4, x=5) as file:
        put(file, "v", ("z", "y", "x"), values, fill=np.float32(1e20), missing_value=np.array([-999, -7], "<f4"))
    plain = told(folder, sensor)
    assert plain["datasets"][0]["fields"][0]["minimum"] == [-999]
    same(first(folder, plain), values)
    for fill, number in (("NaN", np.nan), (-1, -1), ("0.5", 0.5)):
        expected = np.where(np.isin(values, np.array([1e20, -999, -7], "<f4")), np.float32(number), values)
        metadata = told(folder, sensor, fill=fill, axes="xyz")
        same(first(folder, metadata), expected.transpose())
        [field] = metadata["datasets"][0]["fields"]
        assert field["fill"] == {
            "value": repr(float(number)),
            "instead_of": ["1.0000000200408773e+20", "-999.0", "-7.0"],
        }
        known = values[np.isfinite(values) & (values > 0) & (values < 3)]
        assert (field["minimum"], field["maximum"]) == ([float(known.min())], [float(known.max())])
        assert np.ravel(field["attributes"]["_FillValue"]) == pytest.approx(1e20)  # what the file said


def test_what_was_never_written_is_fill(folder: Path) -> None:
    with nc(folder, y=4, x=5) as file:
        file.createVariable("v", "<i2", ("y", "x"))[0] = np.arange(5)
    with h5(folder, "b.h5") as file:
        file.create_dataset("v", (4, 5), "<i4", fillvalue=-1)[0] = np.arange(5)
    for name, sensor in (("a.nc", "NETCDF"), ("b.h5", "HDF5")):
        one = folder.parent / name
        one.mkdir()
        (folder / name).rename(one / name)
        found = first(folder, told(one, sensor, fill=9))
        assert found.ravel().tolist() == [0, 1, 2, 3, 4, *[9] * 15]


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("axes", ["zyx", "xzy"])
def test_chunks_that_were_never_written_are_fill_although_the_file_says_nothing(
    folder: Path, files: int, axes: str
) -> None:
    """An aborted scan: zeros that were measured stay, zeros that nobody wrote do not."""
    arrays = [np.zeros((5, 6, 7), "<i4") for _ in range(files)]
    for number, array in enumerate(arrays):
        with h5(folder, f"a{number}.h5") as file:
            item = file.create_dataset("v", (5, 6, 7), "<i4", chunks=(2, 4, 3), compression="gzip")
            item[0 : 2 + number, 0:4, 3:6] = 0
        array[...] = -7
        array[0 : 2 if not number else 4, 0:4, 3:6] = 0
    metadata = told(folder, "HDF5", fill=-7, axes=axes if files == 1 else f"t{axes}")
    turned = np.stack(arrays).transpose(0, *(1 + axes.index(letter) for letter in "zyx"))
    same(first(folder, metadata), turned)
    assert metadata["datasets"][0]["fields"][0]["maximum"] == [0]
    assert np.unique(first(folder, told(folder, "HDF5"))).tolist() == [0]


def test_an_array_that_was_never_written_is_all_fill(folder: Path) -> None:
    with h5(folder) as file:
        file.create_dataset("v", (4, 5), "<f4")
    assert np.isnan(first(folder, told(folder, "HDF5", fill="NaN"))).all()


def test_fill_alone_names_the_number_that_is_left_out(folder: Path) -> None:
    values = np.full((8, 8), 65535, "<u2")
    values[2:6, 2:6] = np.arange(16).reshape(4, 4) + 5
    tifffile.imwrite(folder / "a.tif", values)
    [field] = told(folder, "TIFF", fill=65535)["datasets"][0]["fields"]
    assert (field["minimum"], field["maximum"], field["fill"]["instead_of"]) == ([5], [20], [])
    values[2:6, 2:6] = 65535
    tifffile.imwrite(folder / "a.tif", values)
    [field] = told(folder, "TIFF", fill=65535)["datasets"][0]["fields"]
    assert (field["minimum"], field["maximum"]) == (None, None)


@pytest.mark.parametrize(
    ("dtype", "fill"), [("<u2", -1), ("<u2", 65536), ("<u2", 0.5), ("<u2", "NaN"), ("<i1", 128), ("<f4", 1e39)]
)
def test_fill_that_the_type_cannot_hold_is_refused(folder: Path, dtype: str, fill: Any) -> None:
    with h5(folder) as file:
        file["v"] = np.zeros((3, 4), dtype)
    with pytest.raises(BadParameter, match=rf"/v holds {np.dtype(dtype).name}, which cannot be"):
        told(folder, "HDF5", fill=fill)


def test_only_what_has_a_fill_value_has_to_hold_it(folder: Path) -> None:
    with nc(folder, y=4, x=5) as file:
        put(file, "v", ("y", "x"), np.full((4, 5), 1e20, "<f4"), fill=np.float32(1e20))
        put(file, "mask", ("y", "x"), np.ones((4, 5), "i1"))
    metadata = told(folder, "NETCDF", fill="NaN")
    found = published(folder.parent / "out", metadata["datasets"][0])
    assert np.isnan(found["v"]).all()
    assert (found["mask"] == 1).all()
    with nc(folder, y=4, x=5) as file:
        put(file, "v", ("y", "x"), np.full((4, 5), 1e20, "<f4"), fill=np.float32(1e20))
        put(file, "mask", ("y", "x"), np.ones((4, 5), "i1"), fill=np.int8(-1))
    with pytest.raises(BadParameter, match="mask holds int8, which cannot be NaN"):
        told(folder, "NETCDF", fill="NaN")


# --- what is refused -----------------------------------------------------------------------------


def test_an_unknown_one_is_refused_with_the_list(scans: Path) -> None:
    with pytest.raises(BadParameter, match="colour") as caught:
        told(scans, "4D_NEXUS", colour="red")
    assert all(name in caught.value.message for name in PARAMETERS)


WRONG: dict[str, list[Any]] = {
    "names": [{}, [], 1.5, True, [""], [["a"]]],
    "choice": ["best", 1, True, ["zip"]],
    "switch": ["perhaps", 2, [], 1.5],
    "number": ["high", True, [1], "NaN"],
    "axes": [True, 1.5, {}, {"a": []}, [{}]],
    "axis": [True, 1.5, ["t"], {}],
    "fill": ["low", True, [1], {}, "Infinity", float("nan"), "1" * 300],
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_value_of_another_kind_is_refused_with_an_example(name: str) -> None:
    one = PARAMETERS[name]
    check({name: one.example})
    check({name: None})
    check({name: ""})
    for choice in one.choices:
        check({name: choice})
    for value in WRONG[one.kind]:
        with pytest.raises(BadParameter, match=f"^{name}=.*like {json.dumps(one.example)[:5]}".replace("[", r"\[")):
            check({name: value})


def test_the_table_knows_what_the_code_knows() -> None:
    assert PARAMETERS["codec"].choices == codecs.NAMES
    assert PARAMETERS["filter"].choices == tuple(FILTERS)
    assert {sensor for one in PARAMETERS.values() for sensor in one.sensors} == set(SENSORS)
    assert all(f"| `{name}` |" in table() for name in PARAMETERS)


def test_the_examples_of_the_page_are_parameters() -> None:
    page = (Path(__file__).parents[2] / "docs" / "axes.md").read_text()
    words = [word for line in page.splitlines() if "--param" in line for word in shlex.split(line)]
    found = [read_parameters([word]) for before, word in pairwise(words) if before == "--param"]
    assert {"dataset", "axes", "variable", "fill"} <= {name for one in found for name in one}


def test_what_is_not_heeded_is_told(scans: Path) -> None:
    assert unheeded({"filter": "RGN", "axes": "zyx", "repack": ""}, "HDF5") == ["filter"]
    assert unheeded({"filter": "RGN"}, "OTHER") == []
    assert "filter changed nothing: sensor HDF5 does not heed it." in told(scans, "HDF5", filter="RGN")["notes"]
    assert (switched({}, "repack"), switched({"repack": 0}, "repack", default=True)) == (False, False)
