"""The sensor guides, the content decides; IDX is put in order; every attribute becomes JSON."""

from __future__ import annotations

import json
import math
import os
import shutil
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from converters import registry
from converters.faults import reading
from converters.jsonsafe import MAX_ITEMS, MAX_TEXT, json_array, json_safe
from converters.kinds import KINDS
from converters.prepare import find_files
from converters.samples import is_numeric, parts
from converters.sniff import kind_of
from scray.errors import (
    BadInput,
    BadParameter,
    BadRequest,
    EmptyInput,
    MissingSource,
    ScrayError,
    StorageError,
    TooLarge,
    UnsafePath,
    Unsupported,
    WrongSensor,
)
from scray.idx.header import Field, Header
from tests.formats import DATA, pattern


def tiff(path: Path, shape: tuple[int, ...] = (4, 5)) -> None:
    tifffile.imwrite(path, pattern(shape, "u1"), metadata=None)


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = pattern((4, 5), "u1")


def cdf(path: Path, form: Any = "NETCDF3_CLASSIC") -> None:
    with netCDF4.Dataset(str(path), "w", format=form) as file:
        file.createDimension("y", 4)
        file.createDimension("x", 5)
        file.createVariable("v", "i1", ("y", "x"))[:] = pattern((4, 5), "i1")


@pytest.mark.parametrize(
    ("sensor", "make", "form", "noted"),
    [
        ("TIFF", tiff, "tiff", False),
        ("TIFF RGB", tiff, "rgb", False),
        ("RGB", tiff, "rgb", False),
        ("HDF5", hdf5, "hdf5", False),
        ("4D_NEXUS", hdf5, "hdf5", False),
        ("4D_Probe", hdf5, "hdf5", False),
        ("NETCDF", cdf, "netcdf", False),
        ("NETCDF", hdf5, "hdf5", False),
        ("TIFF", hdf5, "hdf5", True),
        ("HDF5", cdf, "netcdf", True),
        ("NETCDF", tiff, "tiff", True),
        ("OTHER", tiff, "tiff", False),
        ("OTHER", lambda p: cdf(p, "NETCDF4"), "netcdf", False),
    ],
)
def test_content_decides(tmp_path: Path, sensor: str, make: Any, form: str, noted: bool) -> None:
    make(tmp_path / "file.dat")
    source = registry.probe(sensor, tmp_path, ("file.dat",), {})
    assert source.format == form
    assert any("not what" in note for note in source.notes) is noted
    with registry.open_volume(tmp_path, source.volumes[0]) as reader:
        assert reader.read(0, ((0, 4), (0, 5))).tobytes() == pattern((4, 5), "u1").tobytes()


def test_files_come_in_natural_order_and_hidden_ones_stay_away(tmp_path: Path) -> None:
    names = ("s10.tif", "s2.tif", "__MACOSX/s1.tif", ".s0.tif", "notes.txt")
    (tmp_path / "__MACOSX").mkdir()
    for name in names[:4]:
        tiff(tmp_path / name)
    (tmp_path / "notes.txt").write_text("taken on Tuesday")
    source = registry.probe("TIFF", tmp_path, names, {})
    assert source.volumes[0].files == ("s2.tif", "s10.tif")
    assert "notes.txt" in source.notes[0]


@pytest.mark.parametrize("sensor", ["TIFF", "TIFF RGB", "OTHER"])
def test_masks_and_coarser_copies_beside_an_image_are_no_images(tmp_path: Path, sensor: str) -> None:
    for name in ("a.tif", "a.tif.msk", "a.tif.OVR", "a.tif.msk.ovr"):
        tiff(tmp_path / name)
    source = registry.probe(sensor, *find_files([tmp_path]), {})
    assert [volume.files for volume in source.volumes] == [("a.tif",)]
    assert source.notes == ("3 other files are left out: a.tif.msk, a.tif.msk.ovr, a.tif.OVR.",)
    (tmp_path / "a.tif").unlink()
    alone = registry.probe(sensor, *find_files([tmp_path]), {})
    assert [volume.files for volume in alone.volumes] == [("a.tif.msk", "a.tif.OVR")]


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tif")).touch()
    with pytest.raises(BadRequest, match="rename the file"):
        find_files([tmp_path])


def test_a_slice_that_is_no_image_is_named(tmp_path: Path) -> None:
    tiff(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"")
    with pytest.raises(EmptyInput, match=r"b\.tif"):
        registry.probe("TIFF", tmp_path, ("a.tif", "b.tif"), {})
    (tmp_path / "b.tif").write_text("oops")
    with pytest.raises(WrongSensor, match=r"b\.tif is a text file"):
        registry.probe("TIFF", tmp_path, ("a.tif", "b.tif"), {})


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"hello", "text file"), (b"\x89PNG\r\n\x1a\n....", "PNG"), (bytes(range(256)), "binary data")],
)
@pytest.mark.parametrize("sensor", ["TIFF", "HDF5", "4D_NEXUS", "NETCDF", "IDX"])
def test_wrong_content_is_refused_naming_both(tmp_path: Path, sensor: str, content: bytes, text: str) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(WrongSensor, match=f"a.tif is .*{text}.*{sensor}"):
        registry.probe(sensor, tmp_path, ("a.tif",), {})


@pytest.mark.parametrize("sensor", ["TIFF", "HDF5", "OTHER"])
def test_empty_files_beside_data_are_left_out_and_nothing_else_is_told(tmp_path: Path, sensor: str) -> None:
    for name in ("done", "sub/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(EmptyInput, match="All 2 files are empty, like done"):
        registry.probe(sensor, *find_files([tmp_path]), {})
    tiff(tmp_path / "a.tif")
    source = registry.probe("TIFF" if sensor == "HDF5" else sensor, *find_files([tmp_path]), {})
    assert [volume.files for volume in source.volumes] == [("a.tif",)]


def test_what_cannot_be_converted_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(EmptyInput):
        registry.probe("TIFF", tmp_path, ("a",), {})
    with pytest.raises(EmptyInput):
        registry.probe("TIFF", tmp_path, (), {})
    with pytest.raises(EmptyInput):
        registry.probe("RGB", tmp_path, ("a",), {})
    with pytest.raises(ScrayError):
        registry.probe("CT", tmp_path, ("a",), {})
    (tmp_path / "out").symlink_to("/etc/hostname")
    with pytest.raises(UnsafePath):
        registry.probe("TIFF", tmp_path, ("out",), {})


def test_every_kind_is_told_from_its_first_bytes(tmp_path: Path) -> None:
    heads = {
        "hdf5": b"\0" * 1024 + b"\x89HDF\r\n\x1a\n",
        "idx": b"# made by hand\n(version)\n6\n",
        "midx": b"<dataset typename='IdxMultipleDataset'></dataset>",
        "dicom": b"\0" * 128 + b"DICM",
        "tar": b"\0" * 257 + b"ustar\0",
        "bmp": b"BM\x0a\0\0\0....",
        "webp": b"RIFF\x24\0\0\0WEBPVP8 ",
        "heif": b"\0\0\0\x24ftypheic\0\0\0\0mif1heic",
        "avif": b"\0\0\0\x1cftypavif\0\0\0\0mif1",
        "cr3": b"\0\0\0\x18ftypcrx \0\0\0\1crx ",
        "video": b"\0\0\0\x20ftypisom\0\0\2\0",
        "jp2": b"\0\0\0\x0cjP  \r\n\x87\n",
        "cr2": b"II*\0\x10\0\0\0CR\2\0",
        "tiff": b"II*\0\x10\0\0\0",
        "rar": b"Rar!\x1a\x07\x01\0",
        "hdf4": b"\x0e\x03\x13\x01",
        "text": "é".encode() * 3000,
        "unknown": b"\xff\xfe\xfd\xfc",
        "empty": b"",
    }
    for kind, head in heads.items():
        (tmp_path / "f").write_bytes(head)
        assert kind_of(tmp_path / "f") == kind
        assert kind in KINDS


def idx(folder: Path, name: str = "visus.idx", template: str = "./visus/%04x.bin", **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    header = Header(((0, 7), (0, 7)), "V010101", 6, 1, (Field("data", "|u1"),), filename_template=template, **more)
    text = header.format()
    (folder / name).write_text(text if template else text.replace("(filename_template)\n\n", ""))


def block(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"block")


def links(root: Path, **parameters: Any) -> dict[str, str]:
    files = tuple(p.relative_to(root).as_posix() for p in sorted(root.rglob("*")) if p.is_file())
    source = registry.probe("IDX", root, files, parameters)
    return {target: name for name, target in source.links}


def test_idx_under_another_name_is_also_visus_idx(tmp_path: Path) -> None:
    idx(tmp_path, "gray.idx", "./gray/%04x.bin")
    block(tmp_path / "gray/0000.bin")
    assert links(tmp_path) == {"visus.idx": "gray.idx", "gray.idx": "gray.idx", "gray/0000.bin": "gray/0000.bin"}


def test_a_nested_visus_idx_moves_to_the_top_with_its_data(tmp_path: Path) -> None:
    idx(tmp_path / "deep/er")
    block(tmp_path / "deep/er/visus/0000.bin")
    (tmp_path / "readme.txt").write_text("hello")
    assert links(tmp_path) == {
        "visus.idx": "deep/er/visus.idx",
        "visus/0000.bin": "deep/er/visus/0000.bin",
        "readme.txt": "readme.txt",
    }


def test_a_header_whose_blocks_follow_its_name(tmp_path: Path) -> None:
    idx(tmp_path, "scan.idx", "", arco=64)
    block(tmp_path / "scan/0/data/0000/0000/0000/0000.bin")
    name = "0/data/0000/0000/0000/0000.bin"
    assert links(tmp_path) == {"visus.idx": "scan.idx", f"visus/{name}": f"scan/{name}"}


def test_the_first_header_that_has_its_data(tmp_path: Path) -> None:
    idx(tmp_path, "a.idx", "./a/%04x.bin")
    idx(tmp_path, "b.idx", "./b/%04x.bin")
    block(tmp_path / "b/0000.bin")
    assert links(tmp_path)["visus.idx"] == "b.idx"
    with pytest.raises(MissingSource, match=r"a\.idx"):
        links(tmp_path, dataset="a.idx")
    with pytest.raises(BadParameter, match=r"b\.idx"):
        links(tmp_path, dataset="c.idx")
    (tmp_path / "b/0000.bin").unlink()
    with pytest.raises(MissingSource):
        links(tmp_path)


@pytest.mark.parametrize("template", ["../%04x.bin", "/etc/%04x.bin"])
def test_idx_templates_that_lead_out_are_refused(tmp_path: Path, template: str) -> None:
    idx(tmp_path, template=template)
    with pytest.raises(UnsafePath, match=r"visus\.idx"):
        links(tmp_path)


def test_broken_idx_headers_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.idx").write_text("(version)\n6\n(box)\n0 1\n")
    with pytest.raises(BadInput, match=r"a\.idx"):
        links(tmp_path)
    (tmp_path / "a.idx").write_bytes(b"(version)\n" + b" " * (5 << 20))
    with pytest.raises(TooLarge):
        links(tmp_path)


def test_midx_names_its_datasets(tmp_path: Path) -> None:
    idx(tmp_path / "A")
    block(tmp_path / "A/visus/0000.bin")
    (tmp_path / "visus.midx").write_text('<dataset><dataset name="A" url="./A/visus.idx" /></dataset>')
    found = links(tmp_path)
    assert found["visus.idx"] == "visus.midx"
    assert found["A/visus.idx"] == "A/visus.idx"
    for url, error in (("../x.idx", UnsafePath), ("http://x.org/y.idx", UnsafePath), ("./B/visus.idx", MissingSource)):
        (tmp_path / "visus.midx").write_text(f'<dataset><dataset url="{url}" /></dataset>')
        with pytest.raises(error):
            links(tmp_path)


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (np.bool_(False), False),
        (np.float32("nan"), "NaN"),
        (-math.inf, "-Infinity"),
        (np.int8(-3), -3),
        (1 + 2j, [1.0, 2.0]),
        (b"caf\xc3\xa9\0\0", "café"),
        (b"\xff\xfe", "0xfffe"),
        (np.bytes_(b"x"), "x"),
        ("lone \ud800", "lone ?"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(5.5), 5.5),
        (np.array([b"a", b"b"]), ["a", "b"]),
        (np.array([("n", 2.0)], [("k", "S1"), ("v", "f4")]), [{"k": "n", "v": 2.0}]),
        (np.zeros(2, "V2")[0], ""),
        (np.longdouble(1.5), "1.5"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (datetime(2026, 1, 2), "2026-01-02T00:00:00"),
        ({1: {2}}, {"1": [2]}),
        (Colour.RED, "RED"),
        (Path("/x"), "/x"),
        (1 << 300, "a very large integer"),
    ],
)
def test_any_attribute_becomes_json(value: Any, expected: Any) -> None:
    assert json_safe(value) == expected
    json.dumps(json_safe(value), allow_nan=False)


def test_json_is_bounded() -> None:
    assert len(json_safe("x" * (MAX_TEXT + 5))) == MAX_TEXT + 1
    assert json_safe(np.zeros((40, 50)))["shape"] == [40, 50]
    assert len(json_safe(list(range(MAX_ITEMS + 9)))) == MAX_ITEMS + 1
    nested: Any = []
    for _ in range(100):
        nested = [nested]
    json.dumps(json_safe(nested))
    assert json_array(np.array([[1.0, np.nan]])) == [[1.0, "NaN"]]


def test_references_of_hdf5_become_text(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((3, 3))
        file["data"].attrs["to"] = file["data"].ref
        file["data"].attrs["none"] = h5py.Empty("f4")
        file["data"].attrs["odd"] = np.array([math.nan, math.inf])
    source = registry.probe("HDF5", tmp_path, ("a.h5",), {})
    json.dumps(source.metadata, allow_nan=False)
    assert source.volumes[0].attributes["odd"] == ["NaN", "Infinity"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_json_never_fails(value: Any) -> None:
    json.dumps(json_safe(value), allow_nan=False).encode("utf-8")


@pytest.mark.parametrize("name", sorted(p.name for p in DATA.iterdir() if p.suffix in (".tif", ".h5", ".nc", ".hdf5")))
@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_end_in_a_clear_error_or_a_volume(tmp_path: Path, name: str, seed: int) -> None:
    shutil.copy(DATA / name, tmp_path / name)
    data = bytearray((DATA / name).read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, min(len(data), 2048), 4):
        data[at] = rng.integers(256)
    (tmp_path / name).write_bytes(data)
    try:
        source = registry.probe("OTHER", tmp_path, (name,), {})
    except ScrayError:
        return
    json.dumps(source.metadata, allow_nan=False)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (MemoryError(), TooLarge),
        (RecursionError(), BadInput),
        (OSError(5, "Input/output error"), StorageError),
        (OSError("bad header"), BadInput),
        (KeyError("x"), BadInput),
        (UnsafePath("kept"), UnsafePath),
    ],
)
def test_what_a_parser_throws_is_told_by_name(raised: Exception, expected: type[ScrayError]) -> None:
    with pytest.raises(expected) as caught, reading("a.tif", "TIFF"):
        raise raised
    assert "a.tif" in caught.value.message or caught.value is raised


@pytest.mark.parametrize("dtype", ["S3", "U3", "O", "V4", "f16", "c32", "M8[s]", [("a", "S3")], ("S2", (3,))])
def test_samples_that_cannot_be_exact_are_refused(dtype: Any) -> None:
    kind = np.dtype(dtype)
    assert not is_numeric(kind)
    with pytest.raises(Unsupported, match="thing"):
        parts(kind, "thing")
