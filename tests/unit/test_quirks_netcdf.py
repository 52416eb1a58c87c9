"""NetCDF files as people have them: every oddity is read as it is stored, or refused by name."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters import registry
from converters.prepare import find_files
from converters.volume import Array, Source
from scray.errors import BadInput, WrongSensor
from tests.formats import pattern
from tests.quirks import Expected, Quirk, Quirks, compare, nc, outcome, put, same

quirk = Quirks("NETCDF")
CLASSIC = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")


def plane(dtype: Any = "<f4", seed: int = 0) -> Array:
    return pattern((4, 5), dtype, seed)


# --- the classic formats -------------------------------------------------------------------------


@pytest.mark.parametrize("form", CLASSIC)
@pytest.mark.parametrize("kinds", [("i1",), ("i2",), ("i1", "i2"), ("i2", "f8", "i1"), ("f4", "i4")])
@pytest.mark.parametrize("records", [1, 3])
def test_records_are_padded_unless_there_is_one_variable(
    tmp_path: Path, form: str, kinds: tuple[str, ...], records: int
) -> None:
    """Odd record sizes: padded to four bytes, except that of a single record variable."""
    arrays = {f"v{i}": pattern((records, 3, 5), kind, i) for i, kind in enumerate(kinds)}
    fixed = pattern((3, 5), "i2", 9)
    with nc(tmp_path, form, t=None, y=3, x=5) as file:
        file.set_fill_off()
        put(file, "fixed", ("y", "x"), fixed)
        for name, values in arrays.items():
            file.createVariable(name, values.dtype, ("t", "y", "x")).set_auto_maskandscale(False)
        for name, values in arrays.items():
            file[name][:] = values
    found = outcome(tmp_path, Quirk(no_variables, "NETCDF"))
    assert isinstance(found, dict)
    first = next(iter(found))
    expected = {**arrays, "fixed": fixed}
    compare(found, {first: expected[first], **expected})


@quirk
def a_program_that_died_while_it_streamed(folder: Path) -> Expected:
    """The library would take the mark of a stream for four billion records, all but the first of them zeros."""
    with nc(folder, "NETCDF3_CLASSIC", t=None, x=5) as file:
        put(file, "v", ("t", "x"), pattern((3, 5), "i4"))
    data = bytearray((folder / "a.nc").read_bytes())
    data[4:8] = b"\xff" * 4
    (folder / "a.nc").write_bytes(data)
    return "bad-input"


@quirk
def never_written_never_filled_and_outgrown(folder: Path) -> Expected:
    """The library would show what its memory holds."""
    with nc(folder, t=None, x=5) as file:
        file.set_fill_off()
        file.createVariable("v", "f4", ("t", "x"), chunksizes=(1, 5))[2] = np.ones(5)
        put(file, "w", ("t",), np.arange(6.0))
    return "bad-input"


@quirk
def no_records_yet(folder: Path) -> Expected:
    with nc(folder, "NETCDF3_CLASSIC", t=None, y=4, x=5) as file:
        file.createVariable("v", "f4", ("t", "y", "x"))
        put(file, "mask", ("y", "x"), plane("i1"))
    return {"mask": plane("i1")}


@quirk
def no_records_at_all(folder: Path) -> Expected:
    with nc(folder, "NETCDF3_CLASSIC", t=None, y=4, x=5) as file:
        file.createVariable("v", "f4", ("t", "y", "x"))
    return "nothing-to-convert"


@quirk
def a_dimension_of_no_length(folder: Path) -> Expected:
    with nc(folder, n=0, y=4, x=5) as file:
        file.createVariable("v", "f4", ("n", "x"))
        put(file, "w", ("y", "x"), plane())
    return {"w": plane()}


@quirk
def no_variables(folder: Path) -> Expected:
    with nc(folder, "NETCDF3_CLASSIC", x=3) as file:
        file.title = "nothing here"
    return "nothing-to-convert"


@quirk
def big_endian_variables(folder: Path) -> Expected:
    values = plane("<i4")
    with nc(folder, y=4, x=5) as file:
        made = file.createVariable("v", ">i4", ("y", "x"), zlib=True, chunksizes=(3, 2), endian="big")
        made[:] = values
    return {"v": values}


@quirk
def unsigned_and_wide_integers(folder: Path) -> Expected:
    arrays = {kind: plane(kind) for kind in ("u1", "<u2", "<u4", "<i8", "<u8")}
    with nc(folder, "NETCDF3_64BIT_DATA", y=4, x=5) as file:
        for kind, values in arrays.items():
            put(file, f"v_{kind[-2:]}", ("y", "x"), values)
    return {f"v_{kind[-2:]}": values for kind, values in arrays.items()}


@quirk
def a_record_cut_off(folder: Path) -> Expected:
    with nc(folder, "NETCDF3_CLASSIC", t=None, y=4, x=5) as file:
        put(file, "v", ("t", "y", "x"), pattern((6, 4, 5), "f4"))
    data = (folder / "a.nc").read_bytes()
    (folder / "a.nc").write_bytes(data[:-20])
    return "truncated-input"


@quirk
def a_count_of_records_too_high(folder: Path) -> Expected:
    with nc(folder, "NETCDF3_CLASSIC", t=None, y=4, x=5) as file:
        put(file, "v", ("t", "y", "x"), pattern((6, 4, 5), "f4"))
    data = bytearray((folder / "a.nc").read_bytes())
    data[4:8] = (7).to_bytes(4, "big")
    (folder / "a.nc").write_bytes(data)
    return "truncated-input"


@quirk
def data_inside_the_header(folder: Path) -> Expected:
    """A variable that begins where the header is holds no data of its own."""
    with nc(folder, "NETCDF3_CLASSIC", y=4, x=5) as file:
        put(file, "v", ("y", "x"), plane("i1"))
    data = bytearray((folder / "a.nc").read_bytes())
    at = len(data) - 20
    assert data.count(at.to_bytes(4, "big")) == 1
    begin = data.index(at.to_bytes(4, "big"))
    data[begin : begin + 4] = (8).to_bytes(4, "big")
    (folder / "a.nc").write_bytes(data)
    return "bad-input"


@quirk
def two_variables_of_one_name(folder: Path) -> Expected:
    """The library shows the last of them alone."""
    with nc(folder, "NETCDF3_CLASSIC", y=4, x=5) as file:
        for name in ("first", "other"):
            put(file, name, ("y", "x"), plane())
    data = (folder / "a.nc").read_bytes()
    (folder / "a.nc").write_bytes(data.replace(b"other", b"first"))
    return "bad-input"


@quirk
def a_name_that_ends_at_a_zero(folder: Path) -> Expected:
    with nc(folder, "NETCDF3_CLASSIC", y=4, x=5) as file:
        for name in ("v", "v_w"):
            put(file, name, ("y", "x"), plane())
    data = (folder / "a.nc").read_bytes()
    (folder / "a.nc").write_bytes(data.replace(b"v_w", b"v\0w"))
    return "bad-input"


@quirk
def slashes_in_names_of_a_classic_file(folder: Path) -> Expected:
    """No groups: old programs took any letter."""
    with nc(folder, "NETCDF3_CLASSIC", y=4, x=5) as file:
        put(file, "ratio O-C", ("y", "x"), plane())
    data = (folder / "a.nc").read_bytes()
    (folder / "a.nc").write_bytes(data.replace(b"O-C", b"O/C"))
    return {"ratio O/C": plane()}


# --- values --------------------------------------------------------------------------------------


@quirk
def packed_with_every_attribute(folder: Path) -> Expected:
    values = plane("<i2")
    values[0, :3] = [-32768, 0, 9]
    about = {"scale_factor": np.float32(0.1), "add_offset": 273.15, "missing_value": np.int16(9)}
    with nc(folder, y=4, x=5) as file:
        put(file, "v", ("y", "x"), values, -32768, valid_range=np.array([0, 100], "i2"), **about)
    return {"v": values}


@quirk
def unsigned_by_attribute(folder: Path) -> Expected:
    values = plane("i1")
    with nc(folder, "NETCDF3_CLASSIC", y=4, x=5) as file:
        put(file, "v", ("y", "x"), values, np.int8(-1), _Unsigned="true", scale_factor=0.5)
    return {"v": values}


@quirk
def not_a_number_as_fill(folder: Path) -> Expected:
    values = plane("f8")
    values[1] = np.nan
    with nc(folder, y=4, x=5) as file:
        put(file, "v", ("y", "x"), values, np.nan)
    return {"v": values}


@quirk
def never_written_variables(folder: Path) -> Expected:
    with nc(folder, y=4, x=5) as file:
        file.createVariable("v", "f4", ("y", "x"), fill_value=-5)
        file.createVariable("w", "i2", ("y", "x"))
    return {"v": np.full((4, 5), -5, "f4"), "w": np.full((4, 5), -32767, "i2")}


@quirk
def an_enum(folder: Path) -> Expected:
    values = plane("u1") % 3
    with nc(folder, y=4, x=5) as file:
        kind = file.createEnumType("u1", "cloud", {"clear": 0, "thin": 1, "thick": 2})
        made = file.createVariable("v", kind, ("y", "x"), fill_value=1)
        made[:] = values
    return {"v": values}


@quirk
def a_compound(folder: Path) -> Expected:
    kind = np.dtype([("speed", "<f4"), ("pair", "<i2", (2,)), ("name", "S1", (6,))])
    values = np.zeros((4, 5), kind)
    values["speed"], values["pair"] = plane(), pattern((4, 5, 2), "<i2")
    with nc(folder, y=4, x=5) as file:
        made = file.createVariable("v", file.createCompoundType(kind, "wind"), ("y", "x"))
        made[:] = values
    return {"v_speed": values["speed"], "v_pair": values["pair"]}


@quirk
def ragged_and_text_beside_numbers(folder: Path) -> Expected:
    with nc(folder, y=4, x=5, n=6) as file:
        ragged = file.createVariable("ragged", file.createVLType("i4", "rows"), ("y",))
        ragged[0] = np.arange(3, dtype="i4")
        file.createVariable("words", str, ("y",))[0] = "hello"
        put(file, "letters", ("y", "n"), np.full((4, 6), b"a", "S1"))
        put(file, "v", ("y", "x"), plane())
    return {"v": plane()}


@quirk
def text_alone(folder: Path) -> Expected:
    with nc(folder, "NETCDF3_CLASSIC", y=4, n=6) as file:
        put(file, "letters", ("y", "n"), np.full((4, 6), b"a", "S1"))
    return "nothing-to-convert"


@quirk
def ragged_rows_alone(folder: Path) -> Expected:
    with nc(folder, y=4) as file:
        ragged = file.createVariable("ragged", file.createVLType("i4", "rows"), ("y",))
        for row in range(4):
            ragged[row] = np.arange(1, dtype="i4")
    return "nothing-to-convert"


@quirk
def a_scalar_beside_a_plane(folder: Path) -> Expected:
    with nc(folder, y=4, x=5) as file:
        put(file, "crs", (), np.array(0, "i4"), grid_mapping_name="latitude_longitude")
        put(file, "v", ("y", "x"), plane(), grid_mapping="crs")
    return {"v": plane()}


@quirk.of(variable="crs")
def a_scalar_by_name(folder: Path) -> Expected:
    a_scalar_beside_a_plane(folder)
    return {"crs": np.array([0], "i4")}


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", ["days since 2000-01-01", "months since 1850-1-1 00:00:0.0", "seconds since 1970"])
@pytest.mark.parametrize("calendar", ["360_day", "noleap", "julian", "proleptic_gregorian", "nonsense"])
def test_time_is_kept_as_it_is_in_every_calendar(tmp_path: Path, units: str, calendar: str) -> None:
    values = pattern((3, 4, 5), "<f4")
    with nc(tmp_path, t=3, y=4, x=5) as file:
        put(file, "t", ("t",), np.array([30.5, 2, 2]), units=units, calendar=calendar)
        put(file, "v", ("t", "y", "x"), values)
    source = probe(tmp_path)
    assert (source.volumes[0].steps, source.volumes[0].space) == (3, (4, 5))
    told = source.metadata["coordinates"]["t"]
    assert (told["values"], told["attributes"]["calendar"]) == ([30.5, 2.0, 2.0], calendar)
    compare(outcome(tmp_path, Quirk(no_variables, "NETCDF")), {"v": values})


def probe(folder: Path, **parameters: Any) -> Source:
    root, files = find_files([folder])
    return registry.probe("NETCDF", root, files, parameters)


@quirk
def time_is_not_first(folder: Path) -> Expected:
    values = pattern((6, 3, 4, 5), "<i2")
    with nc(folder, lev=6, time=3, y=4, x=5) as file:
        put(file, "time", ("time",), np.arange(3.0), units="hours since 1900-01-01")
        put(file, "v", ("lev", "time", "y", "x"), values)
    return {"v": values}


@quirk
def time_as_a_date_with_a_fraction(folder: Path) -> Expected:
    """CDO's absolute time axis."""
    values = pattern((3, 4, 5), "<f4")
    with nc(folder, "NETCDF3_CLASSIC", time=3, y=4, x=5) as file:
        put(file, "time", ("time",), np.array([20000101.5, 20000102, 20000103]), units="day as %Y%m%d.%f")
        put(file, "v", ("time", "y", "x"), values)
    assert probe(folder).volumes[0].steps == 3
    return {"v": values}


@quirk
def ensembles_and_forecasts(folder: Path) -> Expected:
    values = pattern((2, 3, 2, 2, 4, 5), "<i2")
    with nc(folder, number=2, time=3, step=2, lev=2, y=4, x=5) as file:
        put(file, "v", ("number", "time", "step", "lev", "y", "x"), values)
    return {"v": values}


# --- grids ---------------------------------------------------------------------------------------


@quirk
def a_curvilinear_grid(folder: Path) -> Expected:
    """The coordinates come as arrays too, behind the data."""
    arrays = {"lon": plane("f8", 1), "lat": plane("f8", 2), "v": pattern((3, 4, 5), "<f4")}
    with nc(folder, t=3, y=4, x=5) as file:
        put(file, "lon", ("y", "x"), arrays["lon"], units="degrees_east", bounds="lon_vertices")
        put(file, "lat", ("y", "x"), arrays["lat"], units="degrees_north")
        file.createDimension("vertices", 4)
        put(file, "lon_vertices", ("y", "x", "vertices"), pattern((4, 5, 4), "f8"))
        put(file, "v", ("t", "y", "x"), arrays["v"], coordinates="lon lat")
    return {"v": arrays["v"], "lon": arrays["lon"], "lat": arrays["lat"]}


@quirk
def a_curvilinear_grid_in_two_dimensions(folder: Path) -> Expected:
    """Data and coordinates share a grid: the data are its first field, though they are smaller."""
    arrays = {"lon": plane("f8", 1), "lat": plane("f8", 2), "v": plane("i2")}
    with nc(folder, y=4, x=5) as file:
        put(file, "lon", ("y", "x"), arrays["lon"])
        put(file, "lat", ("y", "x"), arrays["lat"])
        put(file, "v", ("y", "x"), arrays["v"], coordinates="lon lat")
    return {"v": arrays["v"], "lon": arrays["lon"], "lat": arrays["lat"]}


@quirk
def a_swath_whose_positions_come_first_and_are_named_nowhere(folder: Path) -> Expected:
    """Level-2 products keep them in a group of their own; what was measured is the principal field all the same."""
    arrays = {"navigation/lat": plane("f4", 1), "navigation/lon": plane("f4", 2), "products/sst": plane("i2")}
    with nc(folder, line=4, pixel=5) as file:
        for path, values in arrays.items():
            group, _, name = path.partition("/")
            units = {"lat": "degrees_north", "lon": "Degrees_East"}.get(name, "degree_C")
            put(file.createGroup(group), name, ("line", "pixel"), values, units=units)
        file.createDimension("corner", 4)
        put(
            file["navigation"], "lat_bnds", ("line", "pixel", "corner"), pattern((4, 5, 4), "f4"), units="degrees_north"
        )
    return {"products/sst": arrays["products/sst"], **arrays}


@quirk
def an_unstructured_mesh(folder: Path) -> Expected:
    values = pattern((3, 9), "<f4")
    with nc(folder, time=3, face=9, node=7, three=3) as file:
        put(file, "mesh", (), np.array(0, "i4"), cf_role="mesh_topology", face_node_connectivity="links")
        put(file, "links", ("face", "three"), np.arange(27, dtype="i4").reshape(9, 3), start_index=0)
        put(file, "node_x", ("node",), np.arange(7.0))
        put(file, "v", ("time", "face"), values, mesh="mesh", location="face")
    return {"v": values, "links": np.arange(27, dtype="i4").reshape(9, 3)}


@quirk
def the_smaller_grid_is_written_first(folder: Path) -> Expected:
    small, large = plane("f8"), pattern((6, 4, 5), "f8")
    with nc(folder, z=6, y=4, x=5) as file:
        put(file, "a", ("y", "x"), small)
        put(file, "b", ("z", "y", "x"), large)
        put(file, "c", ("z", "y", "x"), large)
    return {"b": large, "c": large, "a": small}


@quirk
def more_axes_than_can_be_shown(folder: Path) -> Expected:
    """What needs no folding of axes comes first, though it is smaller."""
    small, large = pattern((3, 4, 5), "f4"), pattern((2, 2, 2, 3, 4, 5), "f4")
    with nc(folder, a=2, b=2, c=2, z=3, y=4, x=5) as file:
        put(file, "many", ("a", "b", "c", "z", "y", "x"), large)
        put(file, "v", ("z", "y", "x"), small)
    return {"v": small, "many": large}


@quirk
def groups_with_dimensions_of_their_own(folder: Path) -> Expected:
    one, two = plane("f8"), plane("f8", 1)
    with nc(folder, y=4, x=5) as file:
        for name, values in (("one", one), ("two/deep", two)):
            group = file.createGroup(name)
            group.createDimension("y", 4)
            put(group, "v", ("y", "x"), values)
    return {"one/v": one, "two/deep/v": two}


@quirk
def a_dimension_of_a_group_aside(folder: Path) -> Expected:
    """The format allows it, the Python library does not find it."""
    with nc(folder, y=4) as file:
        file.createGroup("a").createDimension("x", 5)
        inner = file.createGroup("b")
        inner.createVariable("v", "f4", (file.dimensions["y"], file["a"].dimensions["x"]))
    return "unsupported"


@quirk
def dimensions_of_one_name_in_groups(folder: Path) -> Expected:
    """A variable need not have the nearest, which the Python library takes."""
    with nc(folder, y=4, x=5) as file:
        put(file, "w", ("y", "x"), plane(seed=1))
        for name, length in (("shorter", 3), ("longer", 7)):
            inner = file.createGroup(name)
            inner.createDimension("x", length)
            inner.createVariable("v", "f4", (file.dimensions["y"], file.dimensions["x"]))
    with h5py.File(folder / "a.nc", "a") as file:
        file["shorter/v"][...], file["longer/v"][...] = plane(), plane(seed=2)
    return {"w": plane(seed=1), "shorter/v": plane(), "longer/v": plane(seed=2)}


@quirk
def variables_of_one_name_in_groups(folder: Path) -> Expected:
    one, two = plane("f8"), plane("f8", 1)
    with nc(folder, y=4, x=5) as file:
        for name, values in (("one", one), ("two", two)):
            put(file.createGroup(name), "v", ("y", "x"), values)
    return {"one/v": one, "two/v": two}


@quirk
def one_dimension_twice(folder: Path) -> Expected:
    values = pattern((4, 4), "f4")
    with nc(folder, n=4) as file:
        put(file, "covariance", ("n", "n"), values)
    return {"covariance": values}


@quirk
def names_in_other_alphabets(folder: Path) -> Expected:
    with nc(folder, größe=4, x=5) as file:
        put(file, "温度 (°C)", ("größe", "x"), plane())
    return {"温度 (°C)": plane()}


@quirk
def a_coordinate_named_like_a_variable_of_another_group(folder: Path) -> Expected:
    with nc(folder, y=4, x=5) as file:
        put(file, "v", ("y", "x"), plane("f8"), coordinates="height")
        put(file.createGroup("g"), "height", ("y", "x"), plane("f8", 1))
    return {"v": plane("f8"), "g/height": plane("f8", 1)}


@quirk
def a_variable_that_claims_itself(folder: Path) -> Expected:
    with nc(folder, y=4, x=5) as file:
        put(file, "v", ("y", "x"), plane(), coordinates="v", bounds="v")
    return {"v": plane()}


@quirk
def a_variable_named_like_a_dimension_that_is_not_its_own(folder: Path) -> Expected:
    """NetCDF-4 keeps it under another name, and an empty dataset of the same size under its own."""
    values = pattern((5,), "<f4")
    with nc(folder, lat=5, x=5) as file:
        put(file, "lat", ("x",), values)
        inner = file.createGroup("g")
        inner.createDimension("z", 5)
        put(inner, "z", ("x",), values[::-1])
    return {"lat": values, "g/z": values[::-1]}


@quirk
def a_short_chunk_of_a_variable_that_others_outgrew(folder: Path) -> Expected:
    with nc(folder, time=None, x=64) as file:
        file.createVariable("v", "f4", ("time", "x"), zlib=True, shuffle=False, chunksizes=(1, 64))[:] = np.ones(
            (1, 64)
        )
        put(file, "longer", ("time",), np.arange(3.0))
    with h5py.File(folder / "a.nc", "a") as file:
        file["v"].id.write_direct_chunk((0, 0), zlib.compress(b"short"))
    return "truncated-input"


@quirk
def an_unlimited_axis_twice_that_others_outgrew(folder: Path) -> Expected:
    """Asked for all of it, the NetCDF library leaves samples as its memory was."""
    values = np.full((40, 30), -9, "<i8")
    values[:2, :20] = pattern((2, 20), "<i8")
    with nc(folder, time=None, x=None) as file:
        put(file, "v", ("time", "x"), values[:2, :20], fill=-9)
        put(file, "w", ("time",), np.arange(40.0))
        put(file, "z", ("x",), np.arange(30.0))
    return {"v": values}


@quirk.of(variable="two,one")
def variables_by_name_in_their_order(folder: Path) -> Expected:
    arrays = {"one": plane("f4"), "two": plane("f4", 1), "three": plane("f4", 2)}
    with nc(folder, y=4, x=5) as file:
        for name, values in arrays.items():
            put(file, name, ("y", "x"), values)
    return {"two": arrays["two"], "one": arrays["one"]}


@quirk.of(variable="none")
def a_variable_that_is_not_there(folder: Path) -> Expected:
    names_in_other_alphabets(folder)
    return "bad-parameter"


@quirk.of(variable="words")
def text_by_name(folder: Path) -> Expected:
    ragged_and_text_beside_numbers(folder)
    return "unsupported"


# --- NetCDF-4 as HDF5 ----------------------------------------------------------------------------


@quirk
def filters_of_hdf5(folder: Path) -> Expected:
    values = pattern((8, 9, 10), "<i4") & 0xFF
    with nc(folder, z=8, y=9, x=10) as file:
        made = file.createVariable("v", "i4", ("z", "y", "x"), zlib=True, shuffle=True, fletcher32=True)
        made[:] = values
    return {"v": values}


@quirk
def a_damaged_chunk(folder: Path) -> Expected:
    filters_of_hdf5(folder)
    with h5py.File(folder / "a.nc") as file:
        at = file["v"].id.get_chunk_info(0).byte_offset
    with (folder / "a.nc").open("r+b") as raw:
        raw.seek(at + 5)
        raw.write(b"\0" * 30)
    return "bad-input"


@quirk
def types_that_netcdf_does_not_know(folder: Path) -> Expected:
    """The NetCDF library takes float16 for text and leaves out arrays as elements; HDF5 reads them."""
    half, pairs, flags = plane("<f2"), pattern((4, 5, 2), ">f4"), plane("u1") > 9
    with nc(folder, y=4, x=5) as file:
        put(file, "v", ("y", "x"), plane("f8"))
    with h5py.File(folder / "a.nc", "a") as file:
        file["half"], file["flags"] = half, flags
        file.create_dataset("pairs", (4, 5), np.dtype((">f4", (2,))))[...] = pairs
        for name in ("half", "flags"):
            for axis, scale in enumerate(("y", "x")):
                file[name].dims[axis].attach_scale(file[scale])
    return {"v": plane("f8"), "pairs": pairs.astype("<f4"), "flags": flags.astype("u1"), "half": half.astype("f4")}


@quirk
def complex_numbers(folder: Path) -> Expected:
    """The NetCDF library shows them as a compound of r and i."""
    values = pattern((4, 5), "<c8")
    with nc(folder, y=4, x=5):
        pass
    with h5py.File(folder / "a.nc", "a") as file:
        file["z"] = values
    return {"z_r": values.real, "z_i": values.imag}


@quirk
def only_types_that_netcdf_does_not_know(folder: Path) -> Expected:
    values = pattern((4, 5), ">f2")
    with nc(folder, y=4, x=5):
        pass
    with h5py.File(folder / "a.nc", "a") as file:
        file["group/half"] = values
    return {"group/half": values.astype("<f4")}


@quirk
def plain_hdf5_with_dimension_scales(folder: Path) -> Expected:
    with h5py.File(folder / "a.h5", "w") as file:
        file["v"], file["x"] = plane(), np.arange(5.0)
        file["x"].make_scale("x")
        file["v"].dims[1].attach_scale(file["x"])
    return {"v": plane()}


@quirk
def plain_hdf5(folder: Path) -> Expected:
    with h5py.File(folder / "a.h5", "w") as file:
        file["v"] = plane()
    return {"/v": plane()}


@quirk
def several_files_in_time(folder: Path) -> Expected:
    whole = pattern((7, 4, 5), "f4")
    for name, (start, stop) in {"m1.nc": (0, 3), "m2.nc": (3, 5), "m10.nc": (5, 7)}.items():
        with nc(folder, "NETCDF3_CLASSIC", name, time=None, y=4, x=5) as file:
            put(file, "time", ("time",), np.arange(start, stop, dtype="f8"), units="days since 2000-01-01")
            put(file, "v", ("time", "y", "x"), whole[start:stop])
    return {"v": whole}


@quirk
def several_files_of_several_forms(folder: Path) -> Expected:
    whole = pattern((4, 4, 5), "f4")
    for name, form, start in (("m1.nc", "NETCDF3_CLASSIC", 0), ("m2.nc", "NETCDF4", 2)):
        with nc(folder, form, name, time=None, y=4, x=5) as file:
            put(file, "time", ("time",), np.arange(2.0), units="days since 2000-01-01")
            put(file, "v", ("time", "y", "x"), whole[start : start + 2])
    return {"v": whole}


@quirk
def several_files_of_several_forms_the_newer_first(folder: Path) -> Expected:
    whole = pattern((2, 4, 5), "f4")
    for name, form, step in (("a.nc", "NETCDF4", 0), ("b.nc", "NETCDF3_64BIT_DATA", 1)):
        with nc(folder, form, name, y=4, x=5) as file:
            put(file, "v", ("y", "x"), whole[step])
    return {"v": whole}


@quirk
def several_files_on_several_grids(folder: Path) -> Expected:
    for name, length in (("a.nc", 4), ("b.nc", 3)):
        with nc(folder, "NETCDF3_CLASSIC", name, y=length, x=5) as file:
            put(file, "v", ("y", "x"), pattern((length, 5), "f4"))
    return "mixed-input"


@pytest.mark.parametrize("quirk", quirk, ids=str)
def test_exact_or_refused(quirk: Quirk, tmp_path: Path) -> None:
    expected = quirk.build(tmp_path)
    compare(outcome(tmp_path, quirk), expected)


def test_odd_attributes(tmp_path: Path) -> None:
    with nc(tmp_path, y=4, x=5) as file:
        made = put(file, "v", ("y", "x"), plane())
        made.setncattr("empty", "")
        made.setncattr_string("strings", ["a", "ö"])
        made.setncattr("nan", np.array([np.nan, np.inf]))
        file.setncattr("Überschrift", "x" * 9000)
    source = probe(tmp_path)
    json.dumps(source.metadata, allow_nan=False)
    assert source.volumes[0].attributes["strings"] == ["a", "ö"]


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    with nc(tmp_path, y=4, x=5, track=200_000, time=None) as file:
        put(file, "v", ("y", "x"), plane())
        put(file, "depth", ("track",), np.arange(200_000.0))
        file.createVariable("station", str, ("x",))[:] = np.array(list("abcde"), object)
    with h5py.File(tmp_path / "a.nc", "a") as file:
        file["packets"] = np.zeros((4, 5), "V8")
    (note,) = probe(tmp_path).notes
    assert "depth (200000,) (float64), station (5,) (object or variable-length), packets: opaque" in note
    assert "track" not in note
    assert "time" not in note


def test_values_that_were_never_written_are_not_what_lies_in_memory(tmp_path: Path) -> None:
    with nc(tmp_path, y=4, x=500, time=None) as file:
        put(file, "v", ("y", "x"), pattern((4, 500), "<f4"))
        for name, dims in (("x", ("x",)), ("level", ()), ("w", ("time",))):
            file.createVariable(name, "i4", dims, fill_value=False)
        put(file, "time", ("time",), np.arange(3.0))
        file.createVariable("half", "i4", ("time",), fill_value=False, chunksizes=(1,))[1] = 5
    source = probe(tmp_path)
    told = source.metadata["coordinates"]
    assert {path for path, variable in told.items() if "values" in variable} == {"time", "w"}, "behind its end is fill"
    assert {"x", "level", "half"} < set(told)
    assert "half (3,) (int32)" in source.notes[0]


def test_the_fill_value_of_unsigned_bytes_is_found_as_it_is_stored(tmp_path: Path) -> None:
    """Written by those who think of 255, into a type that has it as -1."""
    values = plane("i1")
    values[0, :2] = -1
    with nc(tmp_path, "NETCDF3_CLASSIC", y=4, x=5) as file:
        put(file, "v", ("y", "x"), values, _Unsigned="true", missing_value=np.int16(255))
    (volume,) = probe(tmp_path, fill=99).volumes
    with registry.open_volume(tmp_path, volume) as reader:
        same(reader.read(0, ((0, 4), (0, 5))), np.where(values == -1, np.int8(99), values))


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"\xcd\xf3\x00\x01", "NASA CDF"),
        (b"DSBB\x04\x00", "Surfer"),
        (b"BUFR", "BUFR"),
        (b"\x1f\x9d\x90", "compress"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"Dataset {\n Float32 v[y = 4];\n} a;\n\nData:\n", "OPeNDAP"),
        (b"netcdf a {\ndimensions:\n", "ncgen"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ],
)
def test_what_only_is_called_netcdf_is_named(tmp_path: Path, head: bytes, told: str) -> None:
    (tmp_path / "a.nc").write_bytes(head + bytes(range(256)) * 4)
    with pytest.raises(WrongSensor, match=told):
        probe(tmp_path)


def test_what_the_library_refuses_is_told_without_its_path(tmp_path: Path) -> None:
    """Variables that share bytes: no sound file."""
    with nc(tmp_path, "NETCDF3_CLASSIC", y=4, x=5) as file:
        for name in ("v", "w"):
            put(file, name, ("y", "x"), plane())
    data = (tmp_path / "a.nc").read_bytes()
    first, second = ((len(data) - n).to_bytes(4, "big") for n in (160, 80))
    (tmp_path / "a.nc").write_bytes(data.replace(second, first))
    with pytest.raises(BadInput, match=r"^a\.nc is no sound NetCDF file: Unknown file format\.$"):
        probe(tmp_path)
