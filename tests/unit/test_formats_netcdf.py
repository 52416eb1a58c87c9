"""NetCDF: every data variable, as it is stored, grids apart, time where CF says so; files cut short are errors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest

from converters import netcdf
from converters.volume import Source
from scray.errors import (
    BadInput,
    BadParameter,
    EmptyInput,
    MissingSource,
    MixedInput,
    NothingToConvert,
    TruncatedInput,
    UnsafePath,
)
from tests.formats import DATA, check_boxes, pattern, read_all

FORMS = ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA", "NETCDF4", "NETCDF4_CLASSIC"]


def write(path: Path, form: Any, arrays: dict[str, Any], dims: str, unlimited: str = "", **how: Any) -> None:
    with netCDF4.Dataset(str(path), "w", format=form) as file:
        file.set_fill_off()
        lengths = dict(zip(dims, next(iter(arrays.values())).shape, strict=True))
        for dim, length in lengths.items():
            file.createDimension(dim, None if dim in unlimited else length)
        if "t" in dims:
            time = file.createVariable("t", "f8", ("t",))
            time.units = "days since 2000-01-01"
            time[:] = np.arange(lengths["t"])
        for name, values in arrays.items():
            variable = file.createVariable(name, values.dtype, tuple(dims), **how)
            variable.set_auto_maskandscale(False)
            variable[:] = values


def probe(root: Path, *files: str, **parameters: Any) -> Source:
    return netcdf.probe(root, files, parameters)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unlimited", ["", "t"])
def test_variables_of_one_grid_are_fields(tmp_path: Path, form: str, unlimited: str) -> None:
    kinds = ["i1", "i2", "i4", "f4", "f8"] + (
        ["u1", "u2", "u8", "i8"] if form in ("NETCDF4", "NETCDF3_64BIT_DATA") else []
    )
    arrays = {f"v_{kind}": pattern((3, 4, 5), kind, i) for i, kind in enumerate(kinds)}
    write(tmp_path / "a.nc", form, arrays, "tyx", unlimited)
    source = probe(tmp_path, "a.nc")
    assert [v.name for v in source.volumes] == list(arrays)
    assert {v.dataset for v in source.volumes} == {""}
    for volume in source.volumes:
        assert (volume.steps, volume.space) == (3, (4, 5))
        expected = arrays[volume.name]
        assert read_all(netcdf_or_hdf5(volume.format), tmp_path, volume).tobytes() == expected.tobytes()
        check_boxes(netcdf_or_hdf5(volume.format), tmp_path, volume, expected, 1, 4)
    assert source.metadata["coordinates"]["t"]["values"] == [0.0, 1.0, 2.0]


def netcdf_or_hdf5(name: str) -> Any:
    from converters import hdf5

    return {"netcdf": netcdf, "hdf5": hdf5}[name]


def test_grids_are_datasets_and_the_largest_comes_first(tmp_path: Path) -> None:
    with netCDF4.Dataset(str(tmp_path / "a.nc"), "w") as file:
        for dim, length in {"y": 4, "x": 5, "z": 6, "bnds": 2}.items():
            file.createDimension(dim, length)
        file.createVariable("surface", "f4", ("y", "x"))
        file.createVariable("t", "f4", ("z", "y", "x"))
        file.createVariable("u", "f4", ("z", "y", "x")).setncattr("coordinates", "lat")
        file.createVariable("lat", "f4", ("y", "x")).setncattr("bounds", "corners")
        file.createVariable("corners", "f4", ("y", "bnds"))
        file.createVariable("x_bnds", "f4", ("x", "bnds"))
        file.createVariable("profile", "f4", ("z",))
        file.createVariable("label", "S1", ("y", "x"))
        group = file.createGroup("more")
        group.createVariable("mask", "u1", ("y", "x"))
        group.createDimension("w", 3)
        group.createVariable("wide", "u1", ("y", "w"))
    source = probe(tmp_path, "a.nc")
    found = [(v.selector, v.dataset) for v in source.volumes]
    assert found == [
        ("t", "z_y_x"),
        ("u", "z_y_x"),
        ("surface", "y_x"),
        ("more/mask", "y_x"),
        ("lat", "y_x"),
        ("more/wide", "more_wide"),
    ]
    assert "profile" in source.metadata["coordinates"]
    assert "label" in source.notes[0]
    assert [v.selector for v in probe(tmp_path, "a.nc", variable="surface,more/wide").volumes] == [
        "surface",
        "more/wide",
    ]
    with pytest.raises(BadParameter, match="surface"):
        probe(tmp_path, "a.nc", variable="nothing")


def test_packed_values_stay_as_they_are_stored(tmp_path: Path) -> None:
    stored = pattern((4, 5), "<i2")
    with netCDF4.Dataset(str(tmp_path / "a.nc"), "w") as file:
        file.createDimension("y", 4)
        file.createDimension("x", 5)
        variable = file.createVariable("v", "i2", ("y", "x"), fill_value=-1)
        variable.setncatts({"scale_factor": 0.1, "add_offset": 2.0, "_Unsigned": "true"})
        variable.set_auto_maskandscale(False)
        variable[:] = stored
    source = probe(tmp_path, "a.nc")
    volume = source.volumes[0]
    assert (volume.dtype, volume.attributes["scale_factor"], volume.attributes["_FillValue"]) == ("<i2", 0.1, -1)
    assert "_Unsigned" in source.notes[0]
    assert read_all(netcdf_or_hdf5(volume.format), tmp_path, volume)[0].tobytes() == stored.tobytes()


@pytest.mark.parametrize(
    ("dims", "steps", "space"), [("tzyx", 2, (3, 4, 5)), ("ztyx", 3, (2, 4, 5)), ("tx", 1, (2, 3)), ("tyx", 2, (3, 4))]
)
def test_time_is_time_where_a_plane_is_left(tmp_path: Path, dims: str, steps: int, space: tuple[int, ...]) -> None:
    array = pattern((2, 3, 4, 5)[: len(dims)], "f4")
    write(tmp_path / "a.nc", "NETCDF4", {"v": array}, dims)
    volume = probe(tmp_path, "a.nc").volumes[0]
    assert (volume.steps, volume.space) == (steps, space)
    expected = np.moveaxis(array, dims.index("t"), 0).reshape(steps, *space)
    assert (
        read_all(netcdf_or_hdf5(volume.format), tmp_path, volume).tobytes() == np.ascontiguousarray(expected).tobytes()
    )


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF4"])
def test_files_are_laid_end_to_end_in_time(tmp_path: Path, form: str) -> None:
    whole = pattern((9, 4, 5), "f4")
    for i, (start, stop) in enumerate([(0, 4), (4, 5), (5, 9)]):
        write(tmp_path / f"m{i}.nc", form, {"v": whole[start:stop]}, "tyx", "t")
    volume = probe(tmp_path, "m0.nc", "m1.nc", "m2.nc").volumes[0]
    assert (volume.steps, volume.space) == (9, (4, 5))
    form_of = netcdf_or_hdf5(volume.format)
    assert read_all(form_of, tmp_path, volume).tobytes() == whole.tobytes()
    check_boxes(form_of, tmp_path, volume, whole, 3)
    told = probe(tmp_path, "m0.nc", "m2.nc").metadata["coordinates_by_file"]
    assert told["m2.nc"]["t"]["values"] == [0.0, 1.0, 2.0, 3.0]
    write(tmp_path / "other.nc", form, {"v": whole[:, :3]}, "tyx")
    with pytest.raises(MixedInput, match=r"other\.nc"):
        probe(tmp_path, "m0.nc", "other.nc")


def test_an_unlimited_axis_that_outgrew_a_variable(tmp_path: Path) -> None:
    with netCDF4.Dataset(str(tmp_path / "a.nc"), "w") as file:
        file.createDimension("n", None)
        file.createDimension("y", 3)
        file.createDimension("x", 4)
        file.createVariable("long", "f4", ("n", "y", "x"))[:] = np.ones((5, 3, 4), "f4")
        file.createVariable("short", "f4", ("n", "y", "x"), fill_value=-9)[:] = np.ones((2, 3, 4), "f4")
    volumes = probe(tmp_path, "a.nc").volumes
    assert [(v.name, v.format) for v in volumes] == [("long", "hdf5"), ("short", "netcdf")]
    short = read_all(netcdf, tmp_path, volumes[1])[0]
    assert short.shape == (5, 3, 4)
    assert (short[:2] == 1).all()
    assert (short[2:] == -9).all()


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"])
@pytest.mark.parametrize("unlimited", ["", "t"])
def test_a_classic_file_cut_short_is_an_error(tmp_path: Path, form: str, unlimited: str) -> None:
    write(tmp_path / "a.nc", form, {"a": pattern((9, 7, 5), "i2"), "b": pattern((9, 7, 5), "i1")}, "tyx", unlimited)
    data = (tmp_path / "a.nc").read_bytes()
    for part in range(1, 20):
        (tmp_path / "cut.nc").write_bytes(data[: len(data) * part // 20])
        with pytest.raises(BadInput):
            probe(tmp_path, "cut.nc")
    (tmp_path / "cut.nc").write_bytes(data[:-4])
    with pytest.raises(TruncatedInput, match="cut short"):
        probe(tmp_path, "cut.nc")


def test_links_of_a_netcdf4_file_do_not_lead_out(tmp_path: Path) -> None:
    inner = tmp_path / "upload"
    inner.mkdir()
    write(tmp_path / "secret.nc", "NETCDF4", {"v": pattern((3, 4), "u1")}, "yx")
    for target, error in (("../secret.nc", UnsafePath), ("absent.nc", MissingSource)):
        write(inner / "a.nc", "NETCDF4", {"v": pattern((3, 4), "u1")}, "yx")
        with h5py.File(inner / "a.nc", "a") as file:
            file["linked"] = h5py.ExternalLink(target, "v")
        with pytest.raises(error):
            probe(inner, "a.nc")
        write(inner / "a.nc", "NETCDF4", {"v": pattern((3, 4), "u1")}, "yx")
        with h5py.File(inner / "a.nc", "a") as file:
            layout = h5py.VirtualLayout((3, 4), "u1")
            layout[:, :] = h5py.VirtualSource(target, "v", (3, 4))
            file.create_virtual_dataset("virtual", layout)
        with pytest.raises(error):
            probe(inner, "a.nc")


def test_real_and_broken_files(tmp_path: Path) -> None:
    assert [v.name for v in probe(DATA, "bears.nc").volumes] == ["order", "shot", "aloan", "cross"]
    assert probe(DATA, "minc1_4d.mnc").volumes[0].source_shape == (2, 10, 20, 20)
    assert probe(DATA, "unicode.nc").volumes[0].dtype == "<i2"
    with pytest.raises(BadInput):
        probe(DATA, "bad_cdf5_begin.nc")
    with pytest.raises(EmptyInput):
        probe(DATA)
    with netCDF4.Dataset(str(tmp_path / "text.nc"), "w") as file:
        file.createDimension("n", 4)
        file.createVariable("label", "S1", ("n",))
    with pytest.raises(NothingToConvert, match="label"):
        probe(tmp_path, "text.nc")


def test_only_scalars_or_one_axis(tmp_path: Path) -> None:
    with netCDF4.Dataset(str(tmp_path / "s.nc"), "w") as file:
        file.createVariable("value", "f8", ())[...] = 4.5
    volume = probe(tmp_path, "s.nc").volumes[0]
    assert read_all(netcdf_or_hdf5(volume.format), tmp_path, volume).tolist() == [[4.5]]
    shutil.copy(DATA / "bears.nc", tmp_path)
    one = probe(tmp_path, "bears.nc", variable="l").volumes[0]
    assert one.space == (3,)


def test_hdf5_that_is_no_netcdf(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((3, 3))
    write(tmp_path / "a.nc", "NETCDF4", {"v": pattern((3, 4), "u1")}, "yx")
    assert not netcdf.is_netcdf4(tmp_path, "a.h5")
    assert netcdf.is_netcdf4(tmp_path, "a.nc")


def test_packed_files_that_mean_different_things_are_not_joined(tmp_path: Path) -> None:
    for name, scale in (("a.nc", 0.1), ("b.nc", 0.2)):
        write(tmp_path / name, "NETCDF4", {"v": pattern((2, 3, 4), "i2")}, "tyx")
        with netCDF4.Dataset(str(tmp_path / name), "a") as file:
            file["v"].scale_factor = scale
    with pytest.raises(MixedInput, match=r"scale_factor 0\.1 in a\.nc and 0\.2 in b\.nc"):
        probe(tmp_path, "a.nc", "b.nc")


def test_a_classic_header_that_makes_no_sense(tmp_path: Path) -> None:
    write(tmp_path / "a.nc", "NETCDF3_CLASSIC", {"v": pattern((3, 4), "i2")}, "yx")
    data = (tmp_path / "a.nc").read_bytes()
    for at, value in ((8, b"\0\0\0\x0b"), (15, b"\xff"), (12, b"\xff")):
        (tmp_path / "bad.nc").write_bytes(data[:at] + value + data[at + len(value) :])
        with pytest.raises(BadInput):
            probe(tmp_path, "bad.nc")
