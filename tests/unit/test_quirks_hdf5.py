"""HDF5 files as people have them: every oddity is read exactly, or refused by name."""

from __future__ import annotations

import bz2
import ctypes
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import imagecodecs
import numpy as np
import pytest

from converters import registry
from converters.h5chunks import Chunks
from converters.h5links import H5Store
from converters.prepare import find_files
from converters.volume import Array
from scray.errors import BadInput, MixedInput
from tests.formats import pattern
from tests.h5_filters import FILTERED, FILTERS, LOSSY
from tests.quirks import Expected, Quirk, Quirks, compare, h5, nc, outcome, put

quirk = Quirks("HDF5")
CUBE = (5, 6, 7)


def cube(dtype: Any = "<i2", seed: int = 0) -> Array:
    return pattern(CUBE, dtype, seed)


# --- types ---------------------------------------------------------------------------------------


@quirk
def an_enum_is_its_numbers(folder: Path) -> Expected:
    values = np.arange(210).reshape(CUBE).astype(">i4") % 3
    with h5(folder) as file:
        kind = h5py.enum_dtype({"A": 0, "B": 1, "C": 2}, basetype=">i4")
        file.create_dataset("data", data=values.astype(kind), dtype=kind)
    return {"/data": values.astype("<i4")}


@quirk
def a_boolean_enum(folder: Path) -> Expected:
    values = np.arange(210).reshape(CUBE) % 3 == 0
    with h5(folder) as file:
        file.create_dataset("data", data=values, chunks=(2, 3, 7))
    return {"/data": values.astype("u1")}


def low_level(file: Any, name: str, kind: Any, values: Array, memory: Any = None) -> None:
    """A dataset of any HDF5 type, written from numpy."""
    space = h5py.h5s.create_simple(values.shape)
    made = h5py.h5d.create(file.id, name.encode(), kind, space)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, values, memory)


@quirk
def a_boolean_enum_of_other_numbers(folder: Path) -> Expected:
    values = np.arange(210).reshape(CUBE).astype("u1")
    with h5(folder) as file:
        made = file.create_dataset("data", CUBE, bool)
        made.id.write(h5py.h5s.ALL, h5py.h5s.ALL, values.view("i1"), made.id.get_type())
    return {"/data": values}


@quirk
def a_bitfield(folder: Path) -> Expected:
    values = cube("<u2")
    with h5(folder) as file:
        low_level(file, "data", h5py.h5t.STD_B16BE, values, h5py.h5t.NATIVE_B16)
    return {"/data": values}


@quirk
def integers_of_twelve_bits(folder: Path) -> Expected:
    values = cube("<u2") & 0x0FFF
    with h5(folder) as file:
        kind = h5py.h5t.STD_U16LE.copy()
        kind.set_precision(12)
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((2, 6, 7))
        properties.set_filter(5)  # n-bit
        made = h5py.h5d.create(file.id, b"data", kind, h5py.h5s.create_simple(CUBE), properties)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return {"/data": values}


@quirk
def integers_of_three_bytes(folder: Path) -> Expected:
    values = cube("<i4") >> 8
    with h5(folder) as file:
        kind = h5py.h5t.STD_I32BE.copy()
        kind.set_precision(24)
        kind.set_size(3)
        low_level(file, "data", kind, values)
    return "nothing-to-convert"


@quirk
def bfloat16(folder: Path) -> Expected:
    values = (cube("<u4") & 0x3FFF0000).view("<f4")
    with h5(folder) as file:
        kind = h5py.h5t.IEEE_F32LE.copy()
        kind.set_fields(15, 7, 8, 0, 7)
        kind.set_precision(16)
        kind.set_size(2)
        low_level(file, "data", kind, values)
    return {"/data": values}


@quirk.of(dataset="/packed,/plain")
def bfloat16_in_chunks(folder: Path) -> Expected:
    """Shorter in the file than in memory."""
    values = (cube("<u4") & 0x3FFF0000).view("<f4")
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_precision(16)
    kind.set_size(2)
    with h5(folder) as file:
        for name in ("packed", "plain"):
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((5, 6, 7))
            if name == "packed":
                properties.set_deflate(1)
            made = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(CUBE), properties)
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return {"/packed": values, "/plain": values}


@quirk
def opaque(folder: Path) -> Expected:
    with h5(folder) as file:
        file["data"] = np.zeros(CUBE, "V4")
    return "nothing-to-convert"


@quirk
def long_double(folder: Path) -> Expected:
    with h5(folder) as file:
        file["data"] = np.zeros(CUBE, "longdouble")
    return "nothing-to-convert"


@quirk
def dates_as_opaque(folder: Path) -> Expected:
    with h5(folder) as file:
        stamps = np.arange(5).astype("datetime64[s]").astype(h5py.opaque_dtype("datetime64[s]"))
        file["stamps"] = stamps
        file["data"] = cube()
    return {"/data": cube()}


@quirk
def references(folder: Path) -> Expected:
    with h5(folder) as file:
        file["data"] = cube()
        file["refs"] = np.array([file["data"].ref] * 500, h5py.ref_dtype)
        file["regions"] = np.array([file["data"].regionref[1:2]] * 500, h5py.regionref_dtype)
    return {"/data": cube()}


@quirk
def ragged_rows(folder: Path) -> Expected:
    with h5(folder) as file:
        made = file.create_dataset("rows", (400,), h5py.vlen_dtype("i4"))
        made[0] = [1, 2, 3]
        file["data"] = cube()
    return {"/data": cube()}


@quirk
def an_array_as_type(folder: Path) -> Expected:
    """Elements that are arrays themselves give the axes that h5py shows."""
    values = pattern((5, 2, 3), "<f4")
    with h5(folder) as file:
        made = file.create_dataset("data", (5,), np.dtype(("<f4", (2, 3))))
        made[...] = values
    return {"/data": values}


@quirk
def a_table_with_text(folder: Path) -> Expected:
    table = np.zeros(9, [("name", "S8"), ("x", ">f8"), ("n", "<u2"), ("note", h5py.string_dtype())])
    table["x"], table["n"], table["note"] = pattern((9,), ">f8"), pattern((9,), "<u2", 1), "?"
    with h5(folder) as file:
        file["table"] = table
    return {"/table_x": table["x"].astype("<f8"), "/table_n": table["n"]}


@quirk
def a_table_of_tables_and_arrays(folder: Path) -> Expected:
    inner = np.dtype([("a", "<i4"), ("v", "<f4", (3,))])
    table = np.zeros((4, 5), [("in", inner), ("z", "<c8"), ("ok", "?"), ("m", "<i2", (2, 2))])
    table["in"]["a"], table["in"]["v"] = pattern((4, 5), "<i4"), pattern((4, 5, 3), "<f4", 1)
    table["z"], table["ok"], table["m"] = pattern((4, 5), "<c8", 2), True, pattern((4, 5, 2, 2), "<i2", 3)
    with h5(folder) as file:
        file.create_dataset("t", data=table, chunks=(2, 5), compression="gzip")
    return {
        "/t_in_a": table["in"]["a"],
        "/t_in_v": table["in"]["v"],
        "/t_z_re": table["z"].real,
        "/t_z_im": table["z"].imag,
        "/t_ok": table["ok"].astype("u1"),
        "/t_m": table["m"],
    }


@quirk
def arrays_of_tables(folder: Path) -> Expected:
    inner = np.dtype([("a", "<i4"), ("b", "<f8")])
    values = np.zeros((4, 3), inner)
    values["a"], values["b"] = pattern((4, 3), "<i4"), pattern((4, 3), "<f8")
    with h5(folder) as file:
        file.create_dataset("t", (4,), np.dtype((inner, (3,))))[...] = values
    return {"/t_a": values["a"], "/t_b": values["b"]}


@quirk
def a_packed_table_with_text_of_any_length(folder: Path) -> Expected:
    """Whose references are longer in the file than in memory."""
    table = np.zeros((40, 5), np.dtype([("name", h5py.string_dtype()), ("n", "<i4")]))
    table["name"], table["n"] = "x", pattern((40, 5), "<i4")
    with h5(folder) as file:
        file.create_dataset("table", data=table, chunks=(40, 5), compression=9)
    return {"/table_n": table["n"]}


@quirk
def a_table_of_text_alone(folder: Path) -> Expected:
    with h5(folder) as file:
        file["t"] = np.zeros(9, [("name", "S8"), ("unit", "S3")])
    return "nothing-to-convert"


@quirk
def text_alone(folder: Path) -> Expected:
    with h5(folder) as file:
        file["fixed"], file["free"] = np.array([b"ab", b"cd"]), "text"
    return "nothing-to-convert"


@quirk
def nothing_but_a_scalar(folder: Path) -> Expected:
    with h5(folder) as file:
        file["g/one"] = np.float64(4.25)
    return {"/g/one": np.array([4.25])}


@quirk
def a_dimension_of_netcdf_is_no_data(folder: Path) -> Expected:
    values = pattern((4, 5), "<f4")
    with nc(folder, name="a.h5", cells=1_000_000, y=4, x=5) as file:
        put(file, "v", ("y", "x"), values)
    return {"/v": values}


@quirk
def no_samples(folder: Path) -> Expected:
    with h5(folder) as file:
        file["null"] = h5py.Empty("f4")
        file["zero"] = np.zeros((3, 0, 4))
    return "nothing-to-convert"


@quirk.of(dataset="/zero")
def no_samples_by_name(folder: Path) -> Expected:
    no_samples(folder)
    return "empty-input"


@quirk.of(dataset="/text")
def text_by_name(folder: Path) -> Expected:
    with h5(folder) as file:
        file["text"], file["data"] = ["a", "b"], cube()
    return "unsupported"


@quirk
def more_than_five_axes(folder: Path) -> Expected:
    values = pattern((2, 3, 2, 3, 2, 3, 2), "<u2")
    with h5(folder) as file:
        file.create_dataset("data", data=values, chunks=(1, 2, 2, 2, 2, 2, 2), compression="gzip")
    return {"/data": values}


# --- storage -------------------------------------------------------------------------------------


@quirk
def chunks_that_were_never_written(folder: Path) -> Expected:
    with h5(folder) as file:
        made = file.create_dataset("data", (9, 10, 11), "<f4", chunks=(2, 4, 5), compression="gzip", fillvalue=-7.5)
        made[3:5, 2:9, 4:6] = pattern((2, 7, 2), "<f4")
        values = made[...]
    assert (values == -7.5).any()
    return {"/data": values}


@quirk
def nothing_was_ever_written(folder: Path) -> Expected:
    with h5(folder) as file:
        file.create_dataset("data", CUBE, "<i2", chunks=(2, 3, 3), fillvalue=3)
    return {"/data": np.full(CUBE, 3, "<i2")}


@quirk
def a_compact_dataset(folder: Path) -> Expected:
    with h5(folder) as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        made = h5py.h5d.create(file.id, b"data", h5py.h5t.STD_I16BE, h5py.h5s.create_simple(CUBE), properties)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, cube())
    return {"/data": cube()}


@quirk
def grown_and_shrunk(folder: Path) -> Expected:
    with h5(folder) as file:
        made = file.create_dataset("data", data=cube(), chunks=(2, 4, 4), maxshape=(None, None, 7), compression="lzf")
        made.resize((4, 3, 7))
        made.resize((6, 5, 7))
        values = made[...]
    return {"/data": values}


@quirk
def a_user_block(folder: Path) -> Expected:
    with h5(folder, userblock_size=1024) as file:
        file["data"] = cube()
    with (folder / "a.h5").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file")
    return {"/data": cube()}


@quirk
def the_newest_format(folder: Path) -> Expected:
    with h5(folder, libver="latest", track_order=True) as file:
        made = file.create_dataset("z", data=cube(), chunks=(2, 3, 7), maxshape=(None, 6, None), compression="gzip")
        made.attrs.update({f"a{i}": i for i in range(20)})
    return {"/z": cube()}


@quirk
def the_oldest_format(folder: Path) -> Expected:
    with h5(folder, libver="earliest") as file:
        file.create_dataset("data", data=cube(">f8"), chunks=(2, 3, 7), shuffle=True, compression="gzip")
    return {"/data": cube(">f8").astype("<f8")}


@quirk
def pages_and_free_space(folder: Path) -> Expected:
    with h5(folder, fs_strategy="page", fs_persist=True, fs_page_size=4096) as file:
        file["data"] = cube()
    return {"/data": cube()}


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filtered")
    plain = {key: value for key, value in os.environ.items() if key != "HDF5_PLUGIN_PATH"}
    subprocess.run([sys.executable, "-m", "tests.h5_filters", str(folder)], env=plain, check=True, timeout=60)
    return folder


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("kind", ["<i2", ">u4"])
def test_filters_give_back_what_was_written(name: str, kind: str, filtered: Path) -> None:
    found = outcome(filtered / f"{name}{kind}.h5", Quirk(hdf4, "HDF5"))
    compare(found, {"/data": FILTERED.astype(kind.replace(">", "<"))})


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_filters_give_what_the_library_gives(name: str, filtered: Path) -> None:
    compare(outcome(filtered / f"{name}.h5", Quirk(hdf4, "HDF5")), {"/data": np.load(filtered / f"{name}.npy")})


@quirk
def a_wrong_checksum(folder: Path) -> Expected:
    with h5(folder) as file:
        made = file.create_dataset("data", data=cube(), chunks=(2, 6, 7), fletcher32=True)
        at = made.id.get_chunk_info(1).byte_offset
    with (folder / "a.h5").open("r+b") as raw:
        raw.seek(at + 9)
        raw.write(b"\x55\xaa")
    return "bad-input"


@quirk
def a_damaged_chunk(folder: Path) -> Expected:
    with h5(folder) as file:
        made = file.create_dataset("data", data=cube(), chunks=(2, 6, 7), compression="gzip")
        at = made.id.get_chunk_info(2).byte_offset
    with (folder / "a.h5").open("r+b") as raw:
        raw.seek(at)
        raw.write(b"\xff" * 40)
    return "bad-input"


def chunks_at_the_edge_as_they_are(properties: Any) -> None:
    """An option of HDF5 1.10 that h5py does not offer."""
    (library,) = (Path(h5py.__file__).parents[1] / "h5py.libs").glob("libhdf5-*")
    assert ctypes.CDLL(str(library)).H5Pset_chunk_opts(ctypes.c_int64(properties.id), ctypes.c_uint(2)) == 0


@quirk
def chunks_at_the_edge_without_their_filters(folder: Path) -> Expected:
    values, small = cube("<u2"), cube("<u2") & 7
    with h5(folder, libver="latest") as file:
        for name, array in (("data", values), ("scaled", small)):
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((2, 4, 7))
            properties.set_deflate(9) if name == "data" else properties.set_scaleoffset(h5py.h5z.SO_INT, 0)
            chunks_at_the_edge_as_they_are(properties)
            space = h5py.h5s.create_simple(CUBE)
            made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.STD_U16LE, space, properties)
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
        file["data"].attrs["signal"] = 1
    return {"/data": values}


@quirk.of(dataset="/scaled")
def scaled_chunks_at_the_edge_without_their_filter(folder: Path) -> Expected:
    chunks_at_the_edge_without_their_filters(folder)
    return {"/scaled": cube("<u2") & 7}


@quirk
def a_short_chunk_without_filters(folder: Path) -> Expected:
    """HDF5 shows what lies in its memory behind it."""
    with h5(folder) as file:
        made = file.create_dataset("data", (2, 1000), "<i4", chunks=(1, 1000))
        made[0] = 1
        made.id.write_direct_chunk((1, 0), b"short")
    return "truncated-input"


@quirk
def a_filter_that_was_skipped_for_a_chunk(folder: Path) -> Expected:
    values = cube()
    with h5(folder) as file:
        made = file.create_dataset("data", CUBE, "<i2", chunks=(1, 6, 7), compression="gzip")
        made[...] = values
        made.id.write_direct_chunk((2, 0, 0), values[2].tobytes(), filter_mask=1)
    return {"/data": values}


def packed_first(folder: Path, code: int) -> Array:
    """The order in which many C programs ask for their filters: the codec, then shuffle, then a checksum."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((2, 4, 7))
    properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (1,) if code == h5py.h5z.FILTER_DEFLATE else ())
    properties.set_shuffle()
    properties.set_fletcher32()
    with h5(folder) as file:
        made = h5py.h5d.create(file.id, b"data", h5py.h5t.STD_I32BE, h5py.h5s.create_simple(CUBE), properties)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, cube("<i4") % 9)
    return cube("<i4") % 9


@quirk
def shuffled_behind_deflate(folder: Path) -> Expected:
    return {"/data": packed_first(folder, h5py.h5z.FILTER_DEFLATE)}


@quirk
def shuffled_behind_lzf(folder: Path) -> Expected:
    return {"/data": packed_first(folder, h5py.h5z.FILTER_LZF)}


@quirk
def a_chunk_with_a_missing_filter(folder: Path) -> Expected:
    with h5(folder) as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((4, 4))
        properties.set_filter(32768, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((8, 8)), properties)
    return "missing-filter"


@quirk
def an_unfinished_file(folder: Path) -> Expected:
    """Written with SWMR and never closed: the flags of the writer are still there."""
    with h5(folder, "w.h5", libver="latest") as file:
        made = file.create_dataset("data", (5, 6, 7), "<i2", chunks=(1, 6, 7))
        file.swmr_mode = True
        made[...] = cube()
        made.flush()
        (folder / "a.h5").write_bytes((folder / "w.h5").read_bytes())
    (folder / "w.h5").unlink()
    return "bad-input"


@quirk
def cut_in_its_last_chunk(folder: Path) -> Expected:
    with h5(folder) as file:
        file.create_dataset("data", data=cube(), chunks=(1, 6, 7))
    data = (folder / "a.h5").read_bytes()
    (folder / "a.h5").write_bytes(data[:-10])
    return "truncated-input"


# --- links, virtual and external ----------------------------------------------------------------


@quirk
def the_same_data_twice(folder: Path) -> Expected:
    with h5(folder) as file:
        file["b/data"] = cube()
        file["a"] = file["b/data"]
        file["c"] = h5py.SoftLink("/b/data")
    return {"/a": cube()}


@quirk.of(dataset="/c/data")
def a_soft_link_to_a_group(folder: Path) -> Expected:
    with h5(folder) as file:
        file["b/data"] = cube()
        file["c"] = h5py.SoftLink("b")
    return {"/c/data": cube()}


@quirk
def a_dangling_soft_link(folder: Path) -> Expected:
    with h5(folder) as file:
        file["data"] = cube()
        file["gone"] = h5py.SoftLink("/nowhere")
    return {"/data": cube()}


@quirk
def an_image_elsewhere_beside_its_mask(folder: Path) -> Expected:
    """What is not there may be the data: the mask does not take its place."""
    with h5(folder) as file:
        file["image"] = h5py.ExternalLink("image.h5", "/data")
        file["mask"] = np.zeros((500, 500), "u1")
    return "missing-source"


@quirk
def a_dangling_link_of_another_name(folder: Path) -> Expected:
    with h5(folder) as file:
        file["see_also"] = h5py.ExternalLink("paper.h5", "/")
        file["values"] = cube()
    return {"/values": cube()}


@quirk.of(dataset="mask")
def a_mask_by_name_beside_an_image_elsewhere(folder: Path) -> Expected:
    an_image_elsewhere_beside_its_mask(folder)
    return {"/mask": np.zeros((500, 500), "u1")}


@quirk
def groups_in_a_circle(folder: Path) -> Expected:
    with h5(folder) as file:
        group = file.create_group("a/b/c")
        group["up"] = file["a"]
        group["self"] = h5py.ExternalLink("a.h5", "/a")
        group["data"] = cube()
    return {"/a/b/c/data": cube()}


def virtual(folder: Path, name: str = "m.h5", fill: int = 0, *, gap: bool = False) -> None:
    layout = h5py.VirtualLayout(CUBE, "<i2")
    for i in range(5):
        if not (gap and i == 2):
            layout[i] = h5py.VirtualSource(f"s{i}.h5", "d", CUBE[1:])
    with h5py.File(folder / name, "w") as file:
        file.create_virtual_dataset("v", layout, fillvalue=fill)


def sources(folder: Path, numbers: Any = range(5)) -> None:
    for i in numbers:
        with h5(folder, f"s{i}.h5") as file:
            file["d"] = cube()[i]


@quirk
def a_virtual_dataset(folder: Path) -> Expected:
    sources(folder)
    virtual(folder)
    return {"/v": cube()}


@quirk
def a_virtual_dataset_with_a_gap(folder: Path) -> Expected:
    sources(folder)
    virtual(folder, fill=-3, gap=True)
    values = cube()
    values[2] = -3
    return {"/v": values}


@quirk
def a_virtual_dataset_without_one_source(folder: Path) -> Expected:
    sources(folder, (0, 1, 3, 4))
    virtual(folder)
    return "missing-source"


@quirk
def a_virtual_source_without_its_dataset(folder: Path) -> Expected:
    sources(folder)
    with h5py.File(folder / "s3.h5", "a") as file:
        file.move("d", "e")
    virtual(folder)
    return "missing-source"


@quirk
def a_virtual_dataset_in_one_file(folder: Path) -> Expected:
    with h5(folder) as file:
        for i in range(5):
            file[f"raw/{i}"] = cube()[i]
        layout = h5py.VirtualLayout(CUBE, "<i2")
        for i in range(5):
            layout[i] = h5py.VirtualSource(file[f"raw/{i}"])
        file.create_virtual_dataset("all", layout)
    return {"/all": cube()}


@quirk
def virtual_datasets_of_virtual_datasets_in_folders(folder: Path) -> Expected:
    (folder / "raw").mkdir()
    sources(folder / "raw")
    virtual(folder / "raw", "v.h5")
    layout = h5py.VirtualLayout((2, *CUBE), "<i2")
    layout[0] = h5py.VirtualSource("raw/v.h5", "v", CUBE)
    layout[1] = h5py.VirtualSource("raw/v.h5", "v", CUBE)
    with h5py.File(folder / "top.h5", "w") as file:
        file.create_virtual_dataset("two", layout)
    return {"/two": np.stack([cube(), cube()])}


@quirk
def a_virtual_source_of_another_type(folder: Path) -> Expected:
    with h5(folder, "s.h5") as file:
        file["d"] = cube("u1")
    layout = h5py.VirtualLayout(CUBE, "<i4")
    layout[...] = h5py.VirtualSource("s.h5", "d", CUBE)
    with h5py.File(folder / "m.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
    return {"/v": cube("u1").astype("<i4")}


@quirk
def every_other_frame(folder: Path) -> Expected:
    """Blocks of two sources woven into one."""
    whole = pattern((6, 4, 4), "<u2")
    layout = h5py.VirtualLayout((6, 4, 4), "<u2")
    for i in (0, 1):
        with h5(folder, f"s{i}.h5") as file:
            file.create_dataset("d", data=whole[i::2], chunks=(1, 4, 4), compression="gzip")
        layout[i::2] = h5py.VirtualSource(f"s{i}.h5", "d", (3, 4, 4))
    with h5py.File(folder / "m.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
    return {"/v": whole}


@quirk
def a_virtual_dataset_that_is_as_large_as_its_sources(folder: Path) -> Expected:
    """HDF5 shows it empty where they are not there."""
    with h5(folder, "m.h5", libver="latest") as file:
        layout = h5py.VirtualLayout((5, 6, 7), "<i2", maxshape=(None, 6, 7))
        source = h5py.VirtualSource("elsewhere.h5", "data", (5, 6, 7), "<i2", maxshape=(None, 6, 7))
        layout[: h5py.h5s.UNLIMITED :] = source[: h5py.h5s.UNLIMITED :]
        file.create_virtual_dataset("data", layout)
    return "missing-source"


@quirk
def one_file_of_a_family(folder: Path) -> Expected:
    with h5py.File(folder / "f%d.h5", "w", driver="family", memb_size=1024) as file:
        file["data"] = cube("f8")
    for path in folder.glob("f[1-9]*"):
        path.unlink()
    return "unsupported"


@quirk
def one_file_of_a_split(folder: Path) -> Expected:
    with h5py.File(folder / "f", "w", driver="split", meta_ext=b"-m.h5", raw_ext=b"-r.h5") as file:
        file["data"] = cube()
    (folder / "f-r.h5").unlink()
    return "unsupported"


@quirk
def external_storage_in_pieces(folder: Path) -> Expected:
    data = cube().tobytes()
    (folder / "one.raw").write_bytes(b"head" + data[:100])
    (folder / "two.raw").write_bytes(data[100:])
    with h5(folder) as file:
        pieces = [("one.raw", 4, 100), ("two.raw", 0, len(data) - 100)]
        file.create_dataset("data", CUBE, "<i2", external=pieces)
    return {"/data": cube()}


@quirk
def external_storage_that_is_not_there(folder: Path) -> Expected:
    with h5(folder) as file:
        file.create_dataset("data", CUBE, "<i2", external=[("gone.raw", 0, 420)])
    return "missing-source"


# --- what people call their data ----------------------------------------------------------------


@quirk
def names_in_other_alphabets(folder: Path) -> Expected:
    with h5(folder) as file:
        file["Messung/größe µm [°C] 测量"] = cube()
    return {"/Messung/größe µm [°C] 测量": cube()}


@quirk.of(dataset="a/Data,a/data,b/data")
def names_that_clash(folder: Path) -> Expected:
    arrays = {"/a/Data": cube(), "/a/data": cube(seed=1), "/b/data": cube(seed=2)}
    with h5(folder) as file:
        for name, values in arrays.items():
            file[name] = values
    return dict(arrays)


@quirk
def odd_attributes(folder: Path) -> Expected:
    with h5(folder) as file:
        made = file.create_dataset("data", data=cube())
        made.attrs["complex"], made.attrs["empty"] = 1 + 2j, h5py.Empty("f4")
        made.attrs["ref"], made.attrs["region"] = made.ref, made.regionref[0]
        made.attrs["bytes"], made.attrs["table"] = np.bytes_(b"\xff\xfe"), np.zeros(2, [("a", "i4"), ("b", "S3")])
        made.attrs["half"], made.attrs["long"] = np.float16(0.5), np.longdouble(1.5)
        made.attrs.create("ragged", [np.arange(3), np.arange(2)], dtype=h5py.vlen_dtype("i4"))
        made.attrs["text\n"] = "line\n"
        made.attrs["large"] = np.zeros(7000)
    return {"/data": cube()}


@quirk
def a_palette_image(folder: Path) -> Expected:
    with h5(folder) as file:
        image = file.create_dataset("image", data=pattern((30, 40), "u1"))
        image.attrs["CLASS"], image.attrs["IMAGE_SUBCLASS"] = np.bytes_(b"IMAGE"), np.bytes_(b"IMAGE_INDEXED")
        file["palette"] = pattern((256, 3), "u1")
        image.attrs["PALETTE"] = file["palette"].ref
    return {"/image": pattern((30, 40), "u1")}


@quirk
def coordinates_and_colours_larger_than_the_data(folder: Path) -> Expected:
    with h5(folder) as file:
        file["image"], file["x"], file["colours"] = cube()[0], np.arange(5000.0), np.zeros((256, 3), "u1")
        file["x"].make_scale("x")
        file["colours"].attrs["CLASS"] = np.bytes_("PALETTE")
    return {"/image": cube()[0]}


@quirk
def planes_of_a_true_colour_image(folder: Path) -> Expected:
    with h5(folder) as file:
        image = file.create_dataset("image", data=pattern((3, 30, 40), "u1"))
        image.attrs["CLASS"], image.attrs["IMAGE_SUBCLASS"] = np.bytes_(b"IMAGE"), np.bytes_(b"IMAGE_TRUECOLOR")
        image.attrs["INTERLACE_MODE"] = np.bytes_(b"INTERLACE_PLANE")
    return {"/image": pattern((3, 30, 40), "u1")}


@quirk
def tomography(folder: Path) -> Expected:
    """Data Exchange: dark and white fields beside more projections."""
    with h5(folder) as file:
        file["exchange/data"] = pattern((9, 6, 7), "<u2")
        file["exchange/data_dark"] = pattern((3, 6, 7), "<u2")
        file["exchange/data_white"] = pattern((3, 6, 7), "<u2")
        file["exchange/theta"] = np.linspace(0, 180, 9)
        file["implements"] = "exchange:measurement"
    return {"/exchange/data": pattern((9, 6, 7), "<u2")}


@quirk
def tomography_with_long_flats(folder: Path) -> Expected:
    """Data Exchange says what the data are, also where there are more flats than projections."""
    with h5(folder) as file:
        file["exchange/data"] = pattern((3, 6, 7), "<u2")
        file["exchange/data_white"] = pattern((9, 6, 7), "<u2")
    return {"/exchange/data": pattern((3, 6, 7), "<u2")}


@quirk
def a_pyramid(folder: Path) -> Expected:
    """BigDataViewer: the finest level is the data."""
    whole = pattern((8, 12, 16), "<i2")
    with h5(folder) as file:
        for level in range(3):
            file[f"t00000/s00/{level}/cells"] = whole[:: 1 << level, :: 1 << level, :: 1 << level]
        file["s00/resolutions"] = np.array([[1.0, 1, 1], [2, 2, 2], [4, 4, 4]])
    return {"/t00000/s00/0/cells": whole}


@quirk
def imaris(folder: Path) -> Expected:
    whole = pattern((8, 12, 16), "u1")
    with h5(folder) as file:
        for level in range(2):
            group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint 0/Channel 0")
            group.create_dataset("Data", data=whole[:: 1 << level], chunks=(4, 4, 4), compression="gzip")
            group["Histogram"] = np.zeros(256, "u8")
        file["Thumbnail/Data"] = pattern((16, 64), "u1")
    return {"/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data": whole}


@quirk
def matlab(folder: Path) -> Expected:
    """Matlab 7.3: text is numbers there, and an empty array is stored as its size."""
    with h5(folder, "a.mat", userblock_size=512) as file:
        text = file.create_dataset("label", data=np.frombuffer(b"a" * 4000, "u1").astype("<u2").reshape(4000, 1))
        text.attrs["MATLAB_class"] = np.bytes_(b"char")
        empty = file.create_dataset("none", data=np.zeros(2, "u8"))
        empty.attrs["MATLAB_class"], empty.attrs["MATLAB_empty"] = np.bytes_(b"double"), np.uint8(1)
        data = file.create_dataset("volume", data=cube("<f8"))
        data.attrs["MATLAB_class"] = np.bytes_(b"double")
    return {"/volume": cube("<f8")}


@quirk
def matlab_complex(folder: Path) -> Expected:
    values = np.zeros((4, 5), [("real", "<f8"), ("imag", "<f8")])
    values["real"], values["imag"] = pattern((4, 5), "<f8"), pattern((4, 5), "<f8", 1)
    with h5(folder) as file:
        file["z"] = values
    return {"/z_real": values["real"], "/z_imag": values["imag"]}


@quirk
def a_table_of_pytables(folder: Path) -> Expected:
    table = np.zeros(50, [("index", "<i8"), ("values_block_0", "<f8", (4,)), ("values_block_1", "S6", (2,))])
    table["index"], table["values_block_0"] = np.arange(50), pattern((50, 4), "<f8")
    with h5(folder) as file:
        made = file.create_dataset("df/table", data=table, chunks=(16,), maxshape=(None,))
        made.attrs["CLASS"] = np.bytes_(b"TABLE")
    return {"/df/table_index": table["index"], "/df/table_values_block_0": table["values_block_0"]}


@quirk
def a_file_that_is_no_hdf5(folder: Path) -> Expected:
    (folder / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 500)
    return "bad-input"


@quirk
def hdf4(folder: Path) -> Expected:
    (folder / "a.hdf").write_bytes(b"\x0e\x03\x13\x01" + b"\0" * 500)
    return "wrong-sensor"


@quirk
def several_files_of_one_shape(folder: Path) -> Expected:
    whole = np.stack([cube(seed=i) for i in (0, 1, 2)])
    for i, name in enumerate(("s1.h5", "s2.h5", "s10.h5")):
        with h5(folder, name) as file:
            file["data"] = whole[i]
    return {"/data": whole}


@quirk
def several_files_of_several_shapes(folder: Path) -> Expected:
    for i in (2, 3):
        with h5(folder, f"s{i}.h5") as file:
            file["data"] = np.zeros((i, 4))
    return "mixed-input"


@quirk
def several_files_of_several_types(folder: Path) -> Expected:
    for i, kind in enumerate(("i2", "u2")):
        with h5(folder, f"s{i}.h5") as file:
            file["data"] = np.zeros((3, 4), kind)
    return "mixed-input"


@quirk
def names_that_are_no_utf8(folder: Path) -> Expected:
    """As programs write them that know one language only."""
    with h5(folder) as file:
        file[b"Temp \xb0C/d\xe9"] = cube()
        file["small"] = cube()[0]
    return {r"/Temp \xb0C/d\xe9": cube()}


@quirk.of(dataset="/caf\\xe9")
def a_name_of_that_very_spelling(folder: Path) -> Expected:
    with h5(folder) as file:
        file[r"caf\xe9"] = cube(seed=1)
        file[b"caf\xe9"] = cube()
    return {r"/caf\xe9": cube(seed=1)}


@quirk
def what_matlab_keeps_for_its_cells(folder: Path) -> Expected:
    with h5(folder) as file:
        file["#refs#/a"] = np.zeros((9, 9, 9, 9))
        file["A"] = cube()
    return {"/A": cube()}


@quirk
def an_index_of_pytables_is_no_data(folder: Path) -> Expected:
    """What pandas makes of a small frame: the index of its table is larger than the table."""
    table = np.zeros(50, [("index", "<i8"), ("values_block_0", "<f8", (3,))])
    table["values_block_0"] = np.arange(150).reshape(50, 3)
    with h5(folder) as file:
        file["df/_i_table/index/sortedLR"] = np.arange(13201)
        file["df/_i_table/index/sorted"] = np.arange(20000).reshape(2, 10000)
        file["df/table"] = table
    return {"/df/table_index": table["index"], "/df/table_values_block_0": table["values_block_0"]}


@quirk
def imaris_with_a_thumbnail(folder: Path) -> Expected:
    with h5(folder) as file:
        file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"] = cube("u1")
        file["Thumbnail/Data"] = np.zeros((256, 1024), "u1")
    return {"/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data": cube("u1")}


@quirk
def velox_with_a_stream_of_events(folder: Path) -> Expected:
    with h5(folder) as file:
        file["Data/Image/01ab/Data"] = cube("<u2")
        file["Data/SpectrumStream/02cd/Data"] = np.zeros((5000, 1), "<u2")
    return {"/Data/Image/01ab/Data": cube("<u2")}


@quirk
def of_equals_not_the_mask(folder: Path) -> Expected:
    with h5(folder) as file:
        for number, name in enumerate(("dark", "Latitude", "mask", "raw", "raw_errors")):
            file[f"entry/{name}"] = cube("<u2", number)
    return {"/entry/raw": cube("<u2", 3)}


@quirk
def matlab_says_that_it_is_not_empty(folder: Path) -> Expected:
    with h5(folder) as file:
        file["A"] = cube("<u4")
        file["A"].attrs.update(MATLAB_class=np.bytes_("uint32"), MATLAB_empty=np.uint8(0))
    return {"/A": cube("<u4")}


def damaged(folder: Path, name: str) -> None:
    """A dataset whose header is damaged, beside one that is whole."""
    with h5(folder, libver="latest") as file:
        file["other"] = cube("u1")
        file[name] = cube()
        at = h5py.h5o.get_info(file[name].id).addr
    with (folder / "a.h5").open("r+b") as raw:
        raw.seek(at + 20)
        raw.write(b"\xff" * 8)


@quirk
def the_header_of_the_data_is_damaged(folder: Path) -> Expected:
    damaged(folder, "image")
    return "bad-input"


@quirk
def the_header_of_something_else_is_damaged(folder: Path) -> Expected:
    damaged(folder, "notes")
    return {"/other": cube("u1")}


@quirk
def huge_and_hardly_written(folder: Path) -> Expected:
    """A few bytes that claim half a terabyte are no data."""
    with h5(folder) as file:
        file.create_dataset("data", (5000, 1000, 1000), "u1", chunks=(1, 1000, 1000), compression="gzip")[0, 0, 0] = 1
    return "too-large"


def test_samples_that_were_never_written_are_not_what_lies_in_memory(tmp_path: Path) -> None:
    shape = (50, 60)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5(tmp_path) as file:
        h5py.h5d.create(file.id, b"data", h5py.h5t.STD_I32LE, h5py.h5s.create_simple(shape), properties)
    source = registry.probe("HDF5", tmp_path, ("a.h5",), {})
    with registry.open_volume(tmp_path, source.volumes[0]) as reader:
        [np.full(shape, 7, "<i4") for _ in range(100)]  # and given back
        assert not reader.read(0, ((0, 50), (0, 60))).any()


SHORT: dict[str, tuple[dict[str, Any], Any]] = {
    "gzip": ({"compression": "gzip"}, zlib.compress),
    "shuffled": ({"compression": "gzip", "shuffle": True}, zlib.compress),
    "lzf": ({"compression": "lzf"}, imagecodecs.lzf_encode),
    "bzip2": (dict(hdf5plugin.BZip2()), bz2.compress),
    "zstd": (dict(hdf5plugin.Zstd()), imagecodecs.zstd_encode),
    "none": ({"shuffle": True}, bytes),
}


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("samples", [99, 100, 101])
def test_a_chunk_of_too_few_samples_shows_no_memory(name: str, samples: int, tmp_path: Path) -> None:
    how, pack = SHORT[name]
    with h5(tmp_path) as file:
        data = file.create_dataset("data", (4, 100), "<u2", chunks=(2, 100), **how)
        data.id.write_direct_chunk((2, 0), pack(bytes(4 * samples)))
    source = registry.probe("HDF5", tmp_path, ("a.h5",), {})
    with registry.open_volume(tmp_path, source.volumes[0]) as reader:
        assert not reader.read(0, ((0, 2), (0, 100))).any()
        if samples == 100:
            assert not reader.read(0, ((0, 4), (0, 100))).any()
        elif samples < 100 or name in ("gzip", "shuffled", "lzf"):
            with pytest.raises(BadInput, match=r"the chunk at \(2, 0\)"):
                reader.read(0, ((3, 4), (0, 100)))


FILTERS_BEFORE_DEFLATE = {
    "deflate": lambda p: p.set_deflate(1),
    "checksum": lambda p: p.set_fletcher32(),
    "scaled": lambda p: p.set_scaleoffset(h5py.h5z.SO_INT, 0),
    "n-bit": lambda p: p.set_filter(h5py.h5z.FILTER_NBIT, 0, ()),
}


@pytest.mark.parametrize("name", FILTERS_BEFORE_DEFLATE)
@pytest.mark.parametrize("bits", [12, 16])
def test_a_short_chunk_behind_two_filters_shows_no_memory(name: str, bits: int, tmp_path: Path) -> None:
    values = np.arange(2048, dtype="<u2").reshape(32, 64)
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(bits)
    with h5(tmp_path) as file:
        made = {}
        for rows in (8, 32):
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((rows, 64))
            FILTERS_BEFORE_DEFLATE[name](properties)
            properties.set_deflate(1)
            space = h5py.h5s.create_simple((rows, 64))
            made[rows] = h5py.h5d.create(file.id, f"d{rows}".encode(), kind, space, properties)
            made[rows].write(h5py.h5s.ALL, h5py.h5s.ALL, values[:rows])
    compare(outcome(tmp_path, Quirk(hdf4, "HDF5")), {"/d32": values})
    with h5py.File(tmp_path / "a.h5", "a") as file:
        mask, short = file["d8"].id.read_direct_chunk((0, 0))
        file["d32"].id.write_direct_chunk((0, 0), short, mask)
    assert outcome(tmp_path, Quirk(hdf4, "HDF5")) == "truncated-input"


def test_nothing_is_asked_of_chunks_where_none_was_written(tmp_path: Path) -> None:
    """HDF5 gives no size, h5py reserves whatever stood there: often more than a sealed child may have."""
    with h5(tmp_path) as file:
        chunks = Chunks(file.create_dataset("data", CUBE, "i4", chunks=(2, 3, 7), compression=1), "data")
        assert not chunks.filters
        chunks.check(((0, 5), (0, 6), (0, 7)))
        assert not chunks.seen


@pytest.mark.parametrize("quirk", quirk, ids=str)
def test_exact_or_refused(quirk: Quirk, tmp_path: Path) -> None:
    expected = quirk.build(tmp_path)
    compare(outcome(tmp_path, quirk), expected)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    a_table_with_text(tmp_path)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["small"] = np.zeros((2, 2))
    root, files = find_files([tmp_path])
    notes = registry.probe("HDF5", root, files, {"dataset": "table"}).notes
    assert any("/table that hold no numbers: name (string), note (object" in note for note in notes)
    assert any("1 other arrays" in note and "/small (2, 2)" in note for note in notes)


def test_byte_orders_may_differ_and_types_are_told_in_words(tmp_path: Path) -> None:
    for name, kind in (("a.h5", "<i2"), ("b.h5", ">i2")):
        with h5(tmp_path, name) as file:
            file["data"] = cube(kind)
    quirk = Quirk(a_boolean_enum, "HDF5")
    compare(outcome(tmp_path, quirk), {"/data": np.stack([cube(), cube(">i2")])})
    with h5(tmp_path, "c.h5") as file:
        file["data"] = cube("<u2")
    with pytest.raises(MixedInput, match=r"samples of int16 in /data and c.h5 holds 5×6×7 samples of uint16"):
        registry.probe("HDF5", tmp_path, ("a.h5", "b.h5", "c.h5"), {})


def test_what_cannot_be_opened_is_named_by_its_path(tmp_path: Path) -> None:
    with h5(tmp_path) as file:
        for path in ("a", "group/b"):
            file[path] = np.arange(6)
        addresses = [h5py.h5o.get_info(file[path].id).addr for path in ("a", "group/b")]
    whole = bytearray((tmp_path / "a.h5").read_bytes())
    for address in addresses:
        whole[address] = 255  # the version of an object header
    (tmp_path / "a.h5").write_bytes(whole)
    with H5Store(tmp_path) as store:
        for path in ("/a", "/group/b"):
            with pytest.raises(BadInput, match=rf"^a\.h5:{path} cannot be read"):
                store.find("a.h5", path)
