"""TIFF: what is read is what tifffile wrote, in every layout that people have; broken files are errors by name."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any, cast

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from converters import tiff
from converters.fax import proven
from converters.joined import OPEN_FILES
from converters.volume import Array, Volume
from scray.errors import (
    BadInput,
    BadParameter,
    EmptyInput,
    HostileInput,
    MissingSource,
    MixedInput,
    ScrayError,
    TruncatedInput,
    UnsafePath,
    WrongSensor,
)
from tests import tiffs
from tests.formats import DATA, check_boxes, pattern, read_all


def probe_one(root: Path, *files: str, **parameters: Any) -> Volume:
    volumes = tiff.probe(root, files, parameters).volumes
    assert len(volumes) == 1
    return volumes[0]


def write(path: Path, array: Array, **how: Any) -> None:
    tifffile.imwrite(path, array, **{"metadata": None, **how})


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"byteorder": ">"},
    {"bigtiff": True, "compression": "deflate"},
    {"compression": "lzw", "predictor": True, "rowsperstrip": 7},
    {"compression": "zstd", "tile": (16, 32)},
    {"tile": (32, 16), "byteorder": ">"},
    {"rowsperstrip": 5},
    {"compression": "deflate", "contiguous": False, "tile": (64, 64)},
]


@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4", "f8", "u8"])
def test_a_stack_is_read_exactly_in_every_layout(tmp_path: Path, layout: int, dtype: str) -> None:
    array = pattern((5, 41, 37), dtype)
    how = LAYOUTS[layout]
    if how.get("predictor") and (dtype[0] == "f" or dtype == "u8"):
        how = {**how, "predictor": 3 if dtype[0] == "f" else None}
    write(tmp_path / "a.tif", array, photometric="minisblack", **how)
    volume = probe_one(tmp_path, "a.tif")
    assert (volume.space, volume.steps, volume.components) == ((5, 41, 37), 1, 1)
    assert read_all(tiff, tmp_path, volume)[0].tobytes() == array.tobytes()
    check_boxes(tiff, tmp_path, volume, array[None], layout)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("how", [{}, {"tile": (16, 16)}, {"compression": "deflate", "rowsperstrip": 4}])
def test_samples_of_a_pixel_come_last(tmp_path: Path, planar: str, how: dict[str, Any]) -> None:
    array = pattern((3, 20, 30, 4), "u2")
    stored = array if planar == "contig" else np.moveaxis(array, -1, 1)
    write(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, **how)
    volume = probe_one(tmp_path, "a.tif")
    assert (volume.space, volume.components, volume.roles[-1]) == ((3, 20, 30), 4, "component")
    assert read_all(tiff, tmp_path, volume)[0].tobytes() == array.tobytes()
    check_boxes(tiff, tmp_path, volume, array[None], 1)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    tile=st.sampled_from([None, (16, 16), (32, 16)]),
    compression=st.sampled_from([None, "deflate", "packbits"]),
    seed=st.integers(0, 99),
)
def test_any_shape_and_box(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], tile: Any, compression: Any, seed: int
) -> None:
    root = tmp_path_factory.mktemp("t")
    array = pattern(shape, "u2", seed)
    write(root / "a.tif", array, tile=tile, compression=compression, photometric="minisblack")
    volume = probe_one(root, "a.tif")
    whole = read_all(tiff, root, volume)
    assert whole.tobytes() == array.tobytes()
    check_boxes(tiff, root, volume, whole, seed, 4)


def test_a_stack_written_page_by_page_is_one_stack(tmp_path: Path) -> None:
    array = pattern((7, 20, 30), "<u2")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in array:
            file.write(page, compression="zlib", contiguous=False)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.series) == 7, "the file calls every page a series"
    volume = probe_one(tmp_path, "a.tif")
    assert volume.space == array.shape
    assert np.array_equal(read_all(tiff, tmp_path, volume)[0], array)


def test_one_page_a_file_is_a_stack_along_z(tmp_path: Path) -> None:
    array = pattern((12, 9, 8), "i2")
    for i, page in enumerate(array):
        write(tmp_path / f"s{i}.tif", page, compression="deflate")
    volume = probe_one(tmp_path, *(f"s{i}.tif" for i in range(12)))
    assert (volume.space, volume.steps) == ((12, 9, 8), 1)
    assert read_all(tiff, tmp_path, volume)[0].tobytes() == array.tobytes()
    check_boxes(tiff, tmp_path, volume, array[None], 3)


def test_more_files_than_are_kept_open(tmp_path: Path) -> None:
    array = pattern((OPEN_FILES + 4, 3, 4), "u1")
    for i, page in enumerate(array):
        write(tmp_path / f"{i:03}.tif", page)
    volume = probe_one(tmp_path, *(f"{i:03}.tif" for i in range(len(array))))
    whole = read_all(tiff, tmp_path, volume)
    check_boxes(tiff, tmp_path, volume, whole, 4)
    assert whole.tobytes() == array.tobytes()


def test_files_of_several_pages_are_time_steps(tmp_path: Path) -> None:
    array = pattern((3, 4, 9, 8), "f4")
    for i, stack in enumerate(array):
        write(tmp_path / f"t{i}.tif", stack, photometric="minisblack")
    volume = probe_one(tmp_path, "t0.tif", "t1.tif", "t2.tif")
    assert (volume.space, volume.steps) == ((4, 9, 8), 3)
    assert read_all(tiff, tmp_path, volume).tobytes() == array.tobytes()
    check_boxes(tiff, tmp_path, volume, array, 5)


def test_one_page_is_a_plane(tmp_path: Path) -> None:
    array = pattern((9, 8), "u1")
    write(tmp_path / "a.tif", array)
    volume = probe_one(tmp_path, "a.tif")
    assert (volume.space, volume.name) == ((9, 8), "a")
    assert read_all(tiff, tmp_path, volume)[0].tobytes() == array.tobytes()


@pytest.mark.parametrize(("axes", "shape"), [("TZYX", (3, 2, 9, 8)), ("TCYX", (2, 3, 9, 8)), ("ZTYX", (2, 3, 9, 8))])
def test_ome_time_is_time_wherever_it_stands(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    array = pattern(shape, "u2")
    tifffile.imwrite(tmp_path / "a.ome.tif", array, metadata={"axes": axes}, photometric="minisblack")
    volume = probe_one(tmp_path, "a.ome.tif")
    whole = np.moveaxis(array, axes.index("T"), 0)
    assert (volume.steps, volume.space) == (whole.shape[0], whole.shape[1:])
    assert read_all(tiff, tmp_path, volume).tobytes() == np.ascontiguousarray(whole).tobytes()
    check_boxes(tiff, tmp_path, volume, whole, 6)


def test_imagej_hyperstack_with_one_directory(tmp_path: Path) -> None:
    array = pattern((2, 3, 4, 9, 8), "u2")
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "TZCYX"})
    volume = probe_one(tmp_path, "a.tif")
    assert (volume.steps, volume.space) == (2, (3, 4, 9, 8))
    assert read_all(tiff, tmp_path, volume).tobytes() == array.tobytes()


def test_pages_that_imagej_does_not_count_are_told(tmp_path: Path) -> None:
    array = pattern((6, 9, 8), "u1")
    tifffile.imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "ZYX"})
    data = (tmp_path / "a.tif").read_bytes()
    assert data.count(b"images=6") == data.count(b"slices=6") == 1
    for claimed in (b"6", b"4"):
        (tmp_path / "a.tif").write_bytes(
            data.replace(b"images=6", b"images=" + claimed).replace(b"slices=6", b"slices=" + claimed)
        )
        source = tiff.probe(tmp_path, ("a.tif",), {})
        assert np.array_equal(read_all(tiff, tmp_path, source.volumes[0])[0], array[: int(claimed)])
        assert any("2 pages" in note for note in source.notes) == (claimed == b"4")


def test_shaped_series_written_contiguously(tmp_path: Path) -> None:
    array = pattern((2, 3, 4, 9, 8), "f8")
    tifffile.imwrite(tmp_path / "a.tif", array, truncate=True, photometric="minisblack")
    volume = probe_one(tmp_path, "a.tif")
    assert read_all(tiff, tmp_path, volume)[0].tobytes() == array.tobytes()
    check_boxes(tiff, tmp_path, volume, array[None], 7)


def test_float16_is_widened_and_complex_is_split(tmp_path: Path) -> None:
    half = pattern((5, 6), "f2")
    write(tmp_path / "h.tif", half)
    volume = probe_one(tmp_path, "h.tif")
    assert volume.dtype == "<f4"
    assert read_all(tiff, tmp_path, volume)[0].tobytes() == half.astype("<f4").tobytes()
    values = pattern((5, 6), "c8")
    write(tmp_path / "c.tif", values)
    real, imaginary = tiff.probe(tmp_path, ("c.tif",), {}).volumes
    assert (real.name, imaginary.name, real.dtype) == ("c_re", "c_im", "<f4")
    assert read_all(tiff, tmp_path, real)[0].tobytes() == values.real.tobytes()
    assert read_all(tiff, tmp_path, imaginary)[0].tobytes() == values.imag.tobytes()


def test_bits_become_zero_and_one(tmp_path: Path) -> None:
    bits = pattern((9, 13), "u1") > 128
    write(tmp_path / "b.tif", bits)
    volume = probe_one(tmp_path, "b.tif")
    assert volume.dtype == "|u1"
    assert (read_all(tiff, tmp_path, volume)[0] == bits).all()


def test_pyramid_and_thumbnail_are_not_slices(tmp_path: Path) -> None:
    array = pattern((64, 64), "u2")
    with tifffile.TiffWriter(tmp_path / "p.tif") as out:
        out.write(array, subifds=1, tile=(16, 16), metadata=None)
        out.write(array[::2, ::2], subfiletype=1, tile=(16, 16), metadata=None)
    source = tiff.probe(tmp_path, ("p.tif",), {})
    assert source.volumes[0].space == (64, 64)
    assert "coarser" in source.notes[0]
    with tifffile.TiffWriter(tmp_path / "t.tif") as out:
        out.write(array[::8, ::8], subfiletype=1, metadata=None)
        out.write(array.astype("f4"), metadata=None)
    assert probe_one(tmp_path, "t.tif").space == (64, 64)
    assert probe_one(tmp_path, "t.tif", dataset="series[0]").space == (8, 8)
    with pytest.raises(BadParameter):
        tiff.probe(tmp_path, ("t.tif",), {"dataset": "series[7]"})
    with pytest.raises(BadParameter):
        tiff.probe(tmp_path, ("t.tif",), {"dataset": "/entry/data"})


def test_multi_file_ome_needs_all_its_files(tmp_path: Path) -> None:
    array = pattern((2, 9, 8), "u2")
    names = ("one.ome.tif", "two.ome.tif")
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{n}">urn:uuid:{n}</UUID></TiffData>'
        for z, n in enumerate(names)
    )
    for name, page in zip(names, array, strict=True):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{name}">'
            '<Image ID="Image:0"><Pixels DimensionOrder="XYZCT" ID="Pixels:0" Type="uint16" '
            'SizeC="1" SizeT="1" SizeX="8" SizeY="9" SizeZ="2"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
            f"{planes}</Pixels></Image></OME>"
        )
        write(tmp_path / name, page, description=xml)
    volume = probe_one(tmp_path, *names)
    assert volume.space == (2, 9, 8)
    assert read_all(tiff, tmp_path, volume)[0].tobytes() == array.tobytes()
    (tmp_path / names[1]).unlink()
    with pytest.raises(MissingSource):
        tiff.probe(tmp_path, names[:1], {})


def ome(root: Path, order: list[int], *, everywhere: bool) -> tuple[Array, tuple[str, ...]]:
    """Two images of two planes, a file a plane, in this order of files; described in all of them or in the first."""
    array = pattern((2, 2, 9, 8), "u2")
    names = [f"{place}.ome.tif" for place in order]
    described = ""
    for image in (0, 1):
        planes = "".join(
            f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
            for z, name in enumerate(names[2 * image : 2 * image + 2])
        )
        described += (
            f'<Image ID="Image:{image}"><Pixels DimensionOrder="XYZCT" ID="Pixels:{image}" Type="uint16" SizeC="1" '
            f'SizeT="1" SizeX="8" SizeY="9" SizeZ="2"><Channel ID="C" SamplesPerPixel="1"/>{planes}</Pixels></Image>'
        )
    for number, name in enumerate(names):
        said = described if everywhere or not number else f'<BinaryOnly MetadataFile="{names[0]}" UUID="urn:x"/>'
        space = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
        xml = f'<OME {space} UUID="urn:uuid:{name}">{said}</OME>'
        write(root / name, array.reshape(4, 9, 8)[number], description=xml)
    return array, tuple(sorted(names))


@pytest.mark.parametrize("everywhere", [True, False])
def test_files_that_another_describes_are_no_time_steps_of_their_own(tmp_path: Path, everywhere: bool) -> None:
    array, names = ome(tmp_path, [1, 2, 3, 4], everywhere=everywhere)
    for number in (None, 1):
        source = tiff.probe(tmp_path, names, {"dataset": number})
        (volume,) = source.volumes
        assert (volume.files, volume.space, volume.steps) == (names[:1], (2, 9, 8), 1)
        assert read_all(tiff, tmp_path, volume)[0].tobytes() == array[number or 0].tobytes()
        (note,) = source.notes
        assert f"Left out: series[{1 - (number or 0)}] (2×9×8 uint16)" in note


def test_files_that_are_described_elsewhere_wait_for_that(tmp_path: Path) -> None:
    array, names = ome(tmp_path, [4, 1, 2, 3], everywhere=False)
    for number in (0, 1):
        volume = probe_one(tmp_path, *names, dataset=number)
        assert read_all(tiff, tmp_path, volume)[0].tobytes() == array[number].tobytes()
    alone = tiff.probe(tmp_path, names[:3], {})
    assert alone.volumes[0].space == (3, 9, 8)
    assert [note for note in alone.notes if "4.ome.tif, which is not read" in note] == list(alone.notes)


def test_what_is_left_out_of_any_file_is_told(tmp_path: Path) -> None:
    for name, count in (("a", 1), ("b", 30)):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as out:
            for size in range(count):
                out.write(pattern((4, 5 + size), "u1"), metadata=None)
    (note,) = tiff.probe(tmp_path, ("a.tif", "b.tif"), {}).notes
    assert note.startswith("b.tif: only series[0] (4×5 uint8) is converted. Left out: series[1] (4×6 uint8), ")
    assert note.endswith(" and 9 more; the parameter dataset names another, as dataset=series[1].")


@pytest.mark.parametrize("other", ["../other.ome.tif", "/etc/passwd", "a\\\\b.tif"])
def test_ome_companions_elsewhere_are_refused(tmp_path: Path, other: str) -> None:
    xml = f'<OME><Image><Pixels><TiffData><UUID FileName="{other}">x</UUID></TiffData></Pixels></Image></OME>'
    write(tmp_path / "a.ome.tif", pattern((4, 4), "u1"), description=xml)
    with pytest.raises(UnsafePath, match="outside"):
        tiff.probe(tmp_path, ("a.ome.tif",), {})


def test_absurd_ome_extents_are_refused(tmp_path: Path) -> None:
    xml = '<OME><Image><Pixels SizeZ="999999999" SizeC="9999" SizeT="1" DimensionOrder="XYZCT"/></Image></OME>'
    write(tmp_path / "a.ome.tif", pattern((4, 4), "u1"), description=xml)
    with pytest.raises(HostileInput):
        tiff.probe(tmp_path, ("a.ome.tif",), {})


def test_files_of_different_size_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", pattern((4, 4), "u1"))
    write(tmp_path / "b.tif", pattern((4, 5), "u1"))
    with pytest.raises(MixedInput, match=r"a\.tif.*b\.tif"):
        tiff.probe(tmp_path, ("a.tif", "b.tif"), {})


def test_numbers_that_mean_different_things_are_not_stacked(tmp_path: Path) -> None:
    array = pattern((9, 8), "u1")
    for name, how in (("a", "minisblack"), ("b", "minisblack"), ("c", "miniswhite")):
        write(tmp_path / f"{name}.tif", array, photometric=how)
    assert probe_one(tmp_path, "a.tif", "b.tif").space == (2, 9, 8)
    assert probe_one(tmp_path, "c.tif").attributes == {"samples": "zero is white"}
    with pytest.raises(MixedInput, match=r"c\.tif \(zero is white\)"):
        tiff.probe(tmp_path, ("a.tif", "b.tif", "c.tif"), {})


@pytest.mark.parametrize(("photometric", "samples"), [("cielab", 3), ("separated", 4)])
def test_inks_and_light_are_no_one_stack(photometric: str, samples: int, tmp_path: Path) -> None:
    array = pattern((6, 5, samples), "u1")
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", array, photometric=photometric)
    with pytest.raises(MixedInput, match=r"a\.tif \(plain numbers\), b\.tif \((CMYK|CIELab)\)"):
        tiff.probe(tmp_path, ("a.tif", "b.tif"), {})


def test_different_numbers_for_nothing_are_said(tmp_path: Path) -> None:
    for name, nodata in (("a.tif", "0"), ("b.tif", "255")):
        tifffile.imwrite(tmp_path / name, pattern((6, 5), "u1"), extratags=[(42113, "s", 0, nodata, True)])
    assert "a.tif (0), b.tif (255)" in tiff.probe(tmp_path, ("a.tif", "b.tif"), {}).notes[0]


def test_a_page_that_differs_in_the_middle_is_not_stacked(tmp_path: Path) -> None:
    pages = [pattern((8, 8), "u2", i) for i in range(12)]
    with tifffile.TiffWriter(tmp_path / "m.tif") as out:
        for i, page in enumerate(pages):
            out.write(page.view("i2") if i == 4 else page, metadata=None, contiguous=False, rowsperstrip=8)
    with pytest.raises(MixedInput, match="Page 5"):
        tiff.probe(tmp_path, ("m.tif",), {})


@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "packbits", "zstd"])
def test_a_file_cut_short_is_an_error(tmp_path: Path, compression: str | None) -> None:
    array = np.arange(4 * 50 * 50, dtype="u2").reshape(4, 50, 50) // 3
    write(tmp_path / "whole.tif", array, compression=compression, photometric="minisblack")
    data = (tmp_path / "whole.tif").read_bytes()
    for part in range(1, 20):
        (tmp_path / "cut.tif").write_bytes(data[: len(data) * part // 20])
        with pytest.raises(BadInput):
            read_all(tiff, tmp_path, probe_one(tmp_path, "cut.tif"))


def test_jpeg_cut_inside_a_tile_is_an_error(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype("u1")
    write(tmp_path / "j.tif", smooth, compression="jpeg", tile=(64, 64))
    with tifffile.TiffFile(tmp_path / "j.tif") as f:
        at, count = f.pages[0].dataoffsets[0], f.pages[0].databytecounts[0]
    data = bytearray((tmp_path / "j.tif").read_bytes())
    data[at + count // 2 : at + count] = bytes(count - count // 2)
    (tmp_path / "j.tif").write_bytes(data)
    with pytest.raises(TruncatedInput):
        read_all(tiff, tmp_path, probe_one(tmp_path, "j.tif"))


def test_a_missing_tile_is_an_error_unless_gdal_left_it_out(tmp_path: Path) -> None:
    array = pattern((32, 32), "u2")
    for name, tags in (("plain.tif", []), ("gdal.tif", [(42113, "s", 0, "7", True)])):
        write(tmp_path / name, array, tile=(16, 16), compression="deflate", extratags=tags)
        with tifffile.TiffFile(tmp_path / name, mode="r+") as f:
            for code in (324, 325):
                tag = cast(tifffile.TiffPage, f.pages[0]).tags[code]
                tag.overwrite((*tag.value[:3], 0))
    with pytest.raises(BadInput, match="missing"):
        read_all(tiff, tmp_path, probe_one(tmp_path, "plain.tif"))
    whole = read_all(tiff, tmp_path, probe_one(tmp_path, "gdal.tif"))[0]
    assert (whole[16:, 16:] == 7).all()
    assert (whole[:16] == array[:16]).all()


def test_directories_in_a_circle_end(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "c.tif") as out:
        for i in range(130):
            out.write(pattern((4, 4), "u1", i), metadata=None, contiguous=False)
    with tifffile.TiffFile(tmp_path / "c.tif") as f:
        offsets = [p.offset for p in f.pages]
    data = bytearray((tmp_path / "c.tif").read_bytes())
    count = struct.unpack_from("<H", data, offsets[-1])[0]
    struct.pack_into("<I", data, offsets[-1] + 2 + 12 * count, offsets[120])
    (tmp_path / "c.tif").write_bytes(data)
    with pytest.raises(BadInput, match="circle"):
        tiff.probe(tmp_path, ("c.tif",), {})


@pytest.mark.parametrize("name", ["sample-get-lzw-stuck.tiff", "graydepth-invert-overflow.tiff"])
def test_fuzzed_files_are_errors(name: str) -> None:
    with pytest.raises(BadInput):
        read_all(tiff, DATA, probe_one(DATA, name))


def test_what_is_no_tiff_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"")
    with pytest.raises(EmptyInput):
        tiff.probe(tmp_path, ("a.tif",), {})
    (tmp_path / "a.tif").write_bytes(b"hello, this is text")
    with pytest.raises(WrongSensor):
        tiff.probe(tmp_path, ("a.tif",), {})
    with pytest.raises(EmptyInput):
        tiff.probe(tmp_path, (), {})


def test_declared_size_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", pattern((8, 8), "u1"), compression="deflate")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as f:
        for code in (256, 257):
            cast(tifffile.TiffPage, f.pages[0]).tags[code].overwrite(2**31, dtype="I")
    with pytest.raises(ScrayError):
        tiff.probe(tmp_path, ("a.tif",), {})


@pytest.mark.parametrize(
    "name", ["_blobs_3d_fiji_skeleton.tif", "gray.separate.u1.tif", "BigTIFFMotorola.tif", "float_nan.tif"]
)
def test_real_files_equal_the_reference_library(name: str) -> None:
    volume = probe_one(DATA, name)
    with tifffile.TiffFile(DATA / name) as f:
        series = f.series[0]
        expected = series.asarray()
        if "S" in series.axes:
            expected = np.moveaxis(expected, series.axes.index("S"), -1)
    whole = read_all(tiff, DATA, volume)
    assert whole[0].shape == expected.shape
    assert whole[0].tobytes() == np.ascontiguousarray(expected.astype(volume.dtype)).tobytes()
    check_boxes(tiff, DATA, volume, whole, 8)


def test_metadata_is_json(tmp_path: Path) -> None:
    shutil.copy(DATA / "_blobs_3d_fiji_skeleton.tif", tmp_path)
    metadata = tiff.probe(tmp_path, ("_blobs_3d_fiji_skeleton.tif",), {}).metadata
    assert metadata["imagej"]["slices"] == 30
    assert metadata["byte_order"] == "big"


def test_narrow_columns_of_a_wide_uncompressed_image(tmp_path: Path) -> None:
    array = pattern((40, 600, 3), "u2")
    write(tmp_path / "a.tif", array, photometric="rgb", byteorder=">")
    volume = probe_one(tmp_path, "a.tif")
    with tiff.open_volume(tmp_path, volume) as reader:
        for x0, x1 in ((10, 20), (5, 590), (0, 600)):
            got = reader.read(0, ((3, 37), (x0, x1)))
            assert got.tobytes() == np.ascontiguousarray(array[3:37, x0:x1]).tobytes()


@pytest.mark.parametrize("compression", ["jpeg", "webp", "jpeg2000", "lzma", "png"])
def test_image_codecs_equal_the_reference_library(tmp_path: Path, compression: str) -> None:
    smooth = np.add.outer(np.arange(50), np.arange(70))[..., None] + np.arange(3)
    write(tmp_path / "a.tif", smooth.astype("u1"), compression=compression, tile=(32, 32), photometric="rgb")
    volume = probe_one(tmp_path, "a.tif")
    whole = read_all(tiff, tmp_path, volume)
    assert whole[0].tobytes() == tifffile.imread(tmp_path / "a.tif").tobytes()
    check_boxes(tiff, tmp_path, volume, whole, 9)


def test_a_damaged_strip_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", pattern((64, 64), "u2"), compression="deflate", rowsperstrip=64)
    with tifffile.TiffFile(tmp_path / "a.tif") as f:
        at = f.pages[0].dataoffsets[0]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[at + 200 : at + 220] = bytes(20)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(BadInput, match="cannot be decoded"):
        read_all(tiff, tmp_path, probe_one(tmp_path, "a.tif"))


def test_a_file_that_changed_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", pattern((8, 8), "u1"))
    volume = probe_one(tmp_path, "a.tif")
    write(tmp_path / "a.tif", pattern((8, 9), "u1"))
    with pytest.raises(MixedInput, match="changed"):
        tiff.open_volume(tmp_path, volume)


@pytest.mark.parametrize(("code", "value", "kind"), [(258, 13, "H"), (259, 64000, "H"), (273, 0, "I"), (278, 0, "I")])
def test_tags_that_make_no_sense_are_errors(tmp_path: Path, code: int, value: int, kind: str) -> None:
    write(tmp_path / "a.tif", pattern((8, 8), "f4"), compression="deflate")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as f:
        cast(tifffile.TiffPage, f.pages[0]).tags[code].overwrite(value, dtype=kind)
    with pytest.raises(ScrayError):
        read_all(tiff, tmp_path, probe_one(tmp_path, "a.tif"))


def fax(path: Path, array: Array, how: str, **tags: Any) -> None:
    """A bilevel picture, encoded by libtiff."""
    Image.fromarray(array).save(path, "TIFF", compression=how, tiffinfo={278: 16, **tags})


def blocks(height: int, width: int) -> Array:
    """A drawing of two colours: blocks, a white band and noise."""
    y, x = np.mgrid[:height, :width]
    drawing: Array = (x // 7 + y // 5) % 3 == 0
    drawing[height // 3 : height // 2] = False
    drawing[height * 3 // 4 :] = pattern((height, width), "u1")[height * 3 // 4 :] > 128
    return drawing


@pytest.mark.parametrize("how", ["group4", "group3", "tiff_ccitt"])
@pytest.mark.parametrize("shape", [(40, 61), (1, 1), (33, 16), (5, 3000)])
def test_fax_codes_are_read_exactly(tmp_path: Path, how: str, shape: tuple[int, int]) -> None:
    array = blocks(*shape)
    fax(tmp_path / "a.tif", array, how)
    volume = probe_one(tmp_path, "a.tif")
    assert np.array_equal(read_all(tiff, tmp_path, volume).reshape(shape), array)


@pytest.mark.parametrize("how", ["group4", "group3"])
def test_fax_codes_in_tiles_are_read_exactly(tmp_path: Path, how: str) -> None:
    array = np.pad(blocks(20, 50), ((0, 12), (0, 14)))
    pieces, tags = [], tiffs.grey(50, 20) | {322: ("I", 32), 323: ("I", 16), 278: ("I", None)}
    for y, x in np.ndindex(2, 2):
        fax(tmp_path / "a.tif", array[16 * y : 16 * y + 16, 32 * x : 32 * x + 32], how)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            page = file.pages.first
            pieces.append((tmp_path / "a.tif").read_bytes()[page.dataoffsets[0] :][: page.databytecounts[0]])
            tags |= {code: ("H", int(page.tags[code].value)) for code in (258, 259, 262)}
    (tmp_path / "a.tif").write_bytes(tiffs.tiff(tiffs.Page(tags, pieces)))
    found = read_all(tiff, tmp_path, probe_one(tmp_path, "a.tif"))
    assert np.array_equal(found.reshape(20, 50), array[:20, :50])


def test_what_follows_the_end_of_a_page_of_group_4_is_no_code(tmp_path: Path) -> None:
    """Scanners pad their strips with more than zeros; without the end of the page it is damage."""
    array = blocks(16, 61)
    fax(tmp_path / "a.tif", array, "group4")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        data = (tmp_path / "a.tif").read_bytes()[page.dataoffsets[0] :][: page.databytecounts[0]]
    assert proven(array, data + b"\1", 4, 0, reverse=False)
    assert not proven(array, data[:-4] + b"\1", 4, 0, reverse=False)


@pytest.mark.parametrize("how", ["group4", "group3", "tiff_ccitt"])
def test_fax_codes_that_end_early_are_errors(tmp_path: Path, how: str) -> None:
    fax(tmp_path / "a.tif", blocks(64, 200), how)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        start, count = page.dataoffsets[1], page.databytecounts[1]
    for keep in (count // 4, count // 2, count - 8):
        data[start + keep : start + count] = bytes(count - keep)
        (tmp_path / "b.tif").write_bytes(data)
        volume = probe_one(tmp_path, "b.tif")
        with pytest.raises(BadInput, match=r"b\.tif"):
            read_all(tiff, tmp_path, volume)


@pytest.mark.parametrize("how", ["jpegxr", "lossless", "twelve", "by another encoder"])
def test_decoders_that_fill_in_what_is_missing_are_found_out(tmp_path: Path, how: str) -> None:
    """The end of the strip is taken away; its end marker stays."""
    y, x = np.mgrid[:64, :80]
    array = ((x * 50 + y * 70) % 4096).astype(np.uint16) + pattern((64, 80), "u1") // 8
    encode: Any = {
        "jpegxr": lambda: imagecodecs.jpegxr_encode(array),
        "lossless": lambda: imagecodecs.jpeg8_encode(array, lossless=True, bitspersample=16),
        "twelve": lambda: imagecodecs.jpeg8_encode(array, bitspersample=12, level=95),
        "by another encoder": lambda: imagecodecs.ljpeg_encode(array),
    }[how]
    data, code = bytes(encode()), 34934 if how == "jpegxr" else 7
    bits = 12 if how == "twelve" else 16
    whole = tiffs.tiff(tiffs.Page(tiffs.grey(80, 64, bits=bits, t259=code), [data]))
    (tmp_path / "a.tif").write_bytes(whole)
    found = read_all(tiff, tmp_path, probe_one(tmp_path, "a.tif"))[0]
    if how == "twelve":
        assert np.abs(found.astype(int) - array).mean() < 60
    else:
        assert np.array_equal(found, array)
    for cut in (8, 100, len(data) // 2):
        end = b"" if how == "jpegxr" else data[-2:]
        page = tiffs.Page(tiffs.grey(80, 64, bits=bits, t259=code), [data[:-cut] + end])
        (tmp_path / "a.tif").write_bytes(tiffs.tiff(page))
        with pytest.raises(BadInput, match=r"a\.tif"):
            read_all(tiff, tmp_path, probe_one(tmp_path, "a.tif"))
