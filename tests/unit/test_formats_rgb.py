"""RGB: pictures are read exactly as independent decoders see them, turned as they say; broken ones are refused."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from converters import registry, rgb
from converters.convert import convert
from converters.picture import MAX_PIXELS
from converters.plan import Choices
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.verify import verify
from converters.volume import Array, Source
from scray.errors import BadInput, NeverFits, ScrayError, TooLarge, TruncatedInput, Unsupported, WrongSensor
from scray.idx.reader import Dataset
from tests.formats import DATA, check_boxes, pattern, read_all


def probe(root: Path, *files: str) -> Source:
    return rgb.probe(root, files, {})


def pixels(root: Path, *files: str) -> Array:
    """All samples of the first volume, time steps first where there are any."""
    volume = probe(root, *files).volumes[0]
    whole = read_all(rgb, root, volume)
    check_boxes(rgb, root, volume, whole, seed=5)
    return whole if volume.axes_of("time") else whole[0]


def smooth(height: int, width: int, samples: int = 3, seed: int = 0) -> Array:
    """A picture that JPEG keeps well and that looks different from every side."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = [(x * (k + 1) + y * (3 - k) * 2 + rng.integers(50)) % 256 for k in range(samples)]
    return np.stack(base, -1).astype(np.uint8)


def jpeg(array: Array, **how: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array.squeeze()).save(out, "JPEG", **{"quality": 92, **how})
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(array: Array, colour: int, *extra: bytes, bits: int = 0) -> bytes:
    """A PNG made by hand, so that no library has a say in it."""
    height, width = array.shape[:2]
    rows = array.astype(array.dtype.newbyteorder(">")).reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, bits or array.dtype.itemsize * 8, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_png_of_every_colour_and_depth_is_exact(tmp_path: Path, dtype: str, colour: int, samples: int) -> None:
    array = pattern((23, 31, samples)[: 2 + (samples > 1)], dtype)
    (tmp_path / "a.png").write_bytes(png(array, colour))
    assert np.array_equal(pixels(tmp_path, "a.png"), array)


@pytest.mark.parametrize("name", ["palette_color.png", "u76c0g_bliznaca_709_g1.png"])
def test_real_png_are_what_opencv_sees(name: str) -> None:
    seen = cv2.imread(str(DATA / name), cv2.IMREAD_UNCHANGED)
    assert seen is not None
    assert np.array_equal(pixels(DATA, name), seen[..., ::-1])


def test_a_palette_png_has_its_colours_and_its_transparency(tmp_path: Path) -> None:
    index = pattern((9, 11), "u1") % 3
    table = pattern((3, 3), "u1", 1)
    colours, alpha = chunk(b"PLTE", table.tobytes()), chunk(b"tRNS", b"\x10\x20")
    (tmp_path / "a.png").write_bytes(png(index, 3, colours, alpha))
    opacity = np.array([0x10, 0x20, 255], np.uint8)
    assert np.array_equal(pixels(tmp_path, "a.png"), np.dstack([table[index], opacity[index]]))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_orientation_turns_pixels_and_size_alike(tmp_path: Path, orientation: int, kind: str) -> None:
    array = smooth(24, 40)
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, array, photometric="rgb", extratags=[(274, "H", 1, orientation, True)], metadata=None)
    else:
        Image.fromarray(array).save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        seen = np.asarray(ImageOps.exif_transpose(image))
    source = probe(tmp_path, path.name)
    assert np.array_equal(pixels(tmp_path, path.name), seen)
    assert source.volumes[0].space == seen.shape[:2] == ((24, 40) if orientation < 5 else (40, 24))
    stated = source.metadata["pictures"][0].get("orientation")
    assert stated == (None if orientation == 1 else {"stated": orientation, "applied": True})


def test_exif_under_another_name_turns_nothing(tmp_path: Path) -> None:
    """DC-008, 4.7.2: the name is Exif and two zeros; viewers pass over a block called otherwise."""
    exif = Image.Exif()
    exif[274] = 6
    data = jpeg(smooth(24, 40), exif=exif).replace(b"Exif\0\0", b"Exif\0\x24")
    (tmp_path / "a.jpg").write_bytes(data)
    assert np.array_equal(pixels(tmp_path, "a.jpg"), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("samples", [1, 3])
def test_jpeg_is_what_pillow_sees(tmp_path: Path, how: dict[str, Any], samples: int) -> None:
    data = jpeg(smooth(61, 83, samples), **how)
    (tmp_path / "a.jpg").write_bytes(data + b"what cameras append")
    assert np.array_equal(pixels(tmp_path, "a.jpg"), np.asarray(Image.open(io.BytesIO(data))))


def test_a_single_colour_is_a_picture_too(tmp_path: Path) -> None:
    for side in (1, 7, 8, 17, 500):
        (tmp_path / "a.jpg").write_bytes(jpeg(np.full((side, side, 3), 200, np.uint8)))
        volume = probe(tmp_path, "a.jpg").volumes[0]
        assert read_all(rgb, tmp_path, volume).size == side * side * 3


def test_a_real_photo_is_turned_as_its_exif_says() -> None:
    with Image.open(DATA / "hopper_orientation_6.jpg") as image:
        seen = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(pixels(DATA, "hopper_orientation_6.jpg"), seen)


def test_cmyk_is_four_components_and_says_so() -> None:
    source = probe(DATA, "pil_sample_cmyk.jpg")
    with Image.open(DATA / "pil_sample_cmyk.jpg") as image:
        assert np.array_equal(pixels(DATA, "pil_sample_cmyk.jpg"), np.asarray(image))
    assert source.volumes[0].attributes["colour"] == "CMYK"
    assert any("CMYK" in note for note in source.notes)


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"planarconfig": "separate"},
    {"planarconfig": "separate", "tile": (16, 32), "compression": "deflate", "predictor": True},
    {"tile": (32, 16), "compression": "lzw", "byteorder": ">"},
    {"bigtiff": True, "rowsperstrip": 7},
]


@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
@pytest.mark.parametrize(("dtype", "samples"), [("u1", 3), ("u2", 3), ("u2", 4), ("u1", 6)])
def test_tiff_of_any_layout_is_exact(tmp_path: Path, layout: int, dtype: str, samples: int) -> None:
    array = pattern((45, 52, samples), dtype)
    how = dict(LAYOUTS[layout])
    stored = np.moveaxis(array, -1, 0) if how.get("planarconfig") == "separate" else array
    extra = ["unassalpha", *["unspecified"] * 4][: samples - 3]
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=extra, metadata=None, **how)
    assert np.array_equal(pixels(tmp_path, "a.tif"), array)


@pytest.mark.parametrize(("photometric", "colour"), [("rgb", "RGB"), ("ycbcr", "YCbCr")])
def test_jpeg_planes_that_do_not_say_what_they_are_are_grey_each(tmp_path: Path, photometric: str, colour: str) -> None:
    """As GDAL writes them; together they are what the tag says, as nobody has made RGB of them."""
    planes = [imagecodecs.jpeg_encode(np.full((16, 24), 40 * i, "u1"), 95) for i in range(3)]
    bare = [bytes(plane[:2] + plane[4 + int.from_bytes(plane[4:6], "big") :]) for plane in planes]  # without "JFIF"
    how: dict[str, Any] = {"compression": "jpeg", "planarconfig": "separate", "photometric": photometric}
    tifffile.imwrite(tmp_path / "a.tif", iter(bare), shape=(3, 16, 24), dtype="u1", rowsperstrip=16, **how)
    assert np.array_equal(pixels(tmp_path, "a.tif"), np.broadcast_to(np.array([0, 40, 80], "u1"), (16, 24, 3)))
    assert probe(tmp_path, "a.tif").volumes[0].attributes["colour"] == colour


@pytest.mark.parametrize("name", ["rgb.tiled.webp.u1.tif", "rgb.separate.tiled.u1.tif"])
def test_real_tiff_pictures_are_what_tifffile_reads(name: str) -> None:
    seen = tifffile.imread(DATA / name)
    samples_last = seen if seen.shape[-1] == 3 else np.moveaxis(seen, 1, -1)
    assert np.array_equal(pixels(DATA, name), samples_last)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_palette_tiff_becomes_colours_and_keeps_its_indices(tmp_path: Path, orientation: int) -> None:
    index = pattern((17, 21), "u1")
    colours = pattern((3, 256), "u2", 1)
    tags: list[Any] = [(274, "H", 1, orientation, True)]
    how: dict[str, Any] = {"photometric": "palette", "colormap": colours, "extratags": tags}
    tifffile.imwrite(tmp_path / "a.tif", index, metadata=None, **how)
    seen = np.rot90(index, -1) if orientation == 6 else index
    bare, shown = probe(tmp_path, "a.tif").volumes
    assert np.array_equal(read_all(rgb, tmp_path, shown)[0], (colours >> 8).T.astype(np.uint8)[seen])
    whole = read_all(rgb, tmp_path, bare)
    assert np.array_equal(whole[0], seen)
    check_boxes(rgb, tmp_path, bare, whole, seed=2)


def test_only_the_finest_level_of_a_pyramid_is_data(tmp_path: Path) -> None:
    array = smooth(128, 160)
    with tifffile.TiffWriter(tmp_path / "sub.tif") as file:
        file.write(array, subifds=1, tile=(32, 32), photometric="rgb")
        file.write(array[::2, ::2], subfiletype=1, tile=(32, 32), photometric="rgb")
    with tifffile.TiffWriter(tmp_path / "overviews.tif") as file:
        file.write(array, tile=(32, 32), photometric="rgb", metadata=None)
        file.write(np.ones((128, 160), bool), subfiletype=4, metadata=None)
        file.write(array[::2, ::2], subfiletype=1, tile=(32, 32), photometric="rgb", metadata=None)
    for name in ("sub.tif", "overviews.tif"):
        assert np.array_equal(pixels(tmp_path, name), array)


def test_alike_pictures_are_time_steps_in_natural_order(tmp_path: Path) -> None:
    arrays = {f"shot{n}.png": smooth(20, 30, seed=n) for n in (1, 2, 10)}
    for name, array in arrays.items():
        Image.fromarray(array).save(tmp_path / name)
    source = registry.probe("RGB", tmp_path, tuple(arrays)[::-1], {})
    assert len(source.volumes) == 1
    assert np.array_equal(read_all(rgb, tmp_path, source.volumes[0]), np.stack(list(arrays.values())))


def test_each_time_step_is_turned_by_its_own_orientation(tmp_path: Path) -> None:
    array = smooth(20, 30)
    for name, orientation in (("a.png", 1), ("b.png", 3), ("c.png", 4)):
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(array).save(tmp_path / name, exif=exif)
    assert np.array_equal(pixels(tmp_path, "a.png", "b.png", "c.png"), [array, array[::-1, ::-1], array[::-1]])


def test_different_pictures_are_a_dataset_each(tmp_path: Path) -> None:
    shapes = {"a/p.png": (10, 12, 3), "b/p.png": (10, 13, 3), "grey.png": (10, 12)}
    for name, shape in shapes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pattern(shape, "u1")).save(tmp_path / name)
    volumes = probe(tmp_path, *shapes).volumes
    assert len({v.dataset for v in volumes}) == 3
    for volume, shape in zip(volumes, shapes.values(), strict=True):
        assert np.array_equal(read_all(rgb, tmp_path, volume)[0], pattern(shape, "u1"))


def test_a_whole_conversion_keeps_pixels_icc_and_exif(tmp_path: Path) -> None:
    root, files = find_files([DATA / "u76c0g_bliznaca_709_g1.png"])
    convert(Job(root, files, "TIFF RGB", {}), tmp_path / "out", Serial())
    assert verify(tmp_path / "out", DATA / "u76c0g_bliznaca_709_g1.png") == []
    with Dataset.open(tmp_path / "out" / "visus.idx") as dataset:
        assert dataset.header.fields[0].components == 3
        assert dataset.header.fields[0].dtype == "<u2"
    picture = json.loads((tmp_path / "out" / "metadata.json").read_text())["source"]["pictures"][0]
    assert picture["icc"]["bytes"] > 0
    assert picture["icc"]["base64"]
    assert picture["exif"]["image"]["Model"]


# --- what is refused -----------------------------------------------------------------------------


def refuse(path: Path, *kinds: type[ScrayError]) -> None:
    """Probing or reading this picture fails with one of these errors, naming it."""
    with pytest.raises(kinds or (BadInput,)) as caught:
        pixels(path.parent, path.name)
    assert path.name in str(caught.value)


@given(st.floats(0.02, 0.98), st.booleans(), st.sampled_from([{}, {"progressive": True}, {"restart_marker_blocks": 2}]))
@settings(max_examples=40, deadline=None)
def test_a_jpeg_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, where: float, ended: bool, how: dict[str, Any]
) -> None:
    data = jpeg(smooth(120, 130), **how)
    cut = data[: int(len(data) * where)] + (b"\xff\xd9" if ended else b"")
    path = tmp_path_factory.mktemp("cut") / "a.jpg"
    path.write_bytes(cut)
    if how.get("progressive") and ended:  # cut between two scans it is a whole, if coarse, picture
        try:
            pixels(path.parent, path.name)
        except BadInput:
            return
        assert np.asarray(Image.open(io.BytesIO(cut))).shape == (120, 130, 3)
    else:
        refuse(path)


@pytest.mark.parametrize("removed", [(0.3, 0.5), (0.5, 0.52), (0.7, 0.9)])
def test_a_jpeg_with_a_hole_is_refused(tmp_path: Path, removed: tuple[float, float]) -> None:
    data = jpeg(smooth(200, 200))
    first, last = (int(len(data) * part) for part in removed)
    (tmp_path / "a.jpg").write_bytes(data[:first] + data[last:])
    refuse(tmp_path / "a.jpg")


def test_jpeg_tiles_of_a_tiff_are_read_and_proven_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    array = smooth(128, 192)
    tifffile.imwrite(path, array, photometric="ycbcr", compression="jpeg", tile=(64, 64), metadata=None)
    assert np.array_equal(pixels(tmp_path, "a.tif"), tifffile.imread(path))
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        start, count = page.dataoffsets[2], page.databytecounts[2]
    data = bytearray(path.read_bytes())
    scan = data.index(b"\xff\xda", start) + 14
    middle = scan + (start + count - scan) // 2
    rest = start + count - middle
    data[middle : start + count] = b"\xff\xd9" + bytes(rest - 4) + b"\xff\xd9"  # ends early, in the same space
    path.write_bytes(data)
    refuse(path, TruncatedInput)


def test_real_broken_pictures_are_refused(tmp_path: Path) -> None:
    shutil.copy(DATA / "truncated_jpeg.jpg", tmp_path)
    refuse(tmp_path / "truncated_jpeg.jpg", TruncatedInput)


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_png_with_one_changed_byte_is_refused(
    tmp_path_factory: pytest.TempPathFactory, where: int, change: int
) -> None:
    data = bytearray(png(pattern((12, 13, 3), "u1"), 2))
    data[8 + where % (len(data) - 8)] ^= change
    path = tmp_path_factory.mktemp("bad") / "a.png"
    path.write_bytes(data)
    refuse(path, ScrayError)


def test_a_png_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = png(pattern((12, 13, 3), "u1"), 2)
    for length in range(9, len(data), 7):
        (tmp_path / "a.png").write_bytes(data[:length])
        refuse(tmp_path / "a.png", TruncatedInput)


def test_a_png_with_too_few_rows_is_refused(tmp_path: Path) -> None:
    data = png(pattern((12, 13, 3), "u1"), 2)
    taller = data[:16] + chunk(b"IHDR", struct.pack(">IIBBBBB", 13, 14, 8, 2, 0, 0, 0))[4:]
    (tmp_path / "a.png").write_bytes(data[:12] + taller[12:16] + taller[20:] + data[33:])
    refuse(tmp_path / "a.png")


def test_bombs_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    def bomb(width: int, height: int) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"x" * 99) + chunk(b"IEND", b"")

    (tmp_path / "a.png").write_bytes(bomb(2**31 - 1, 2**31 - 1))
    refuse(tmp_path / "a.png", TooLarge, TruncatedInput)
    (tmp_path / "b.png").write_bytes(bomb(30_000, 30_000))
    refuse(tmp_path / "b.png", TruncatedInput)
    data = jpeg(smooth(16, 16))
    at = data.index(b"\xff\xc0") + 5
    (tmp_path / "c.jpg").write_bytes(data[:at] + struct.pack(">HH", 65000, 65000) + data[at + 4 :])
    refuse(tmp_path / "c.jpg", TooLarge, TruncatedInput)
    assert MAX_PIXELS < 65000**2


def test_a_picture_that_does_not_fit_the_memory_is_refused_by_the_plan(tmp_path: Path) -> None:
    wide = np.zeros((12_000, 12_000, 3), np.uint8)
    Image.fromarray(wide).save(tmp_path / "a.png", compress_level=1)
    job = Job(tmp_path, ("a.png",), "RGB", {}, Choices(memory_bytes=512 << 20))
    with pytest.raises(NeverFits):
        convert(job, tmp_path / "out", Serial())


def test_text_and_data_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"hello")
    with pytest.raises(WrongSensor, match=r"a\.jpg"):
        registry.probe("RGB", tmp_path, ("a.jpg",), {})
    Image.fromarray(smooth(8, 8)).save(tmp_path / "b.png")
    with pytest.raises(WrongSensor, match=r"a\.jpg"):
        registry.probe("RGB", tmp_path, ("a.jpg", "b.png"), {})


@pytest.mark.parametrize(("scale", "shift"), [(257, 8), (1, 0)])
def test_a_palette_is_shown_in_its_colours(tmp_path: Path, scale: int, shift: int) -> None:
    """A colour map has 16 bits; some writers put 8 into them."""
    colours = np.zeros((3, 256), np.uint16)
    colours[0, 7], colours[1, 9], colours[2, 11] = 255 * scale, 255 * scale, 128 * scale
    index = np.repeat(np.array([7, 9, 11], np.uint8), 20).reshape(3, 20)
    tifffile.imwrite(tmp_path / "a.tif", index, metadata=None, photometric="palette", colormap=colours)
    convert(Job(tmp_path, ("a.tif",), "TIFF RGB", {}), tmp_path / "out", Serial())
    shown = np.asarray(Image.open(tmp_path / "out" / "preview.png"))
    assert np.array_equal(shown[::6, ::6], (colours >> shift).T.astype(np.uint8)[index])


def test_a_palette_with_alpha_is_kept_as_it_is(tmp_path: Path) -> None:
    array = pattern((9, 11, 2), "u1")
    how: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]}
    colours = (320, "H", 768, tuple(range(768)), True)
    tifffile.imwrite(tmp_path / "a.tif", array, metadata=None, extratags=[colours], **how)
    data = (tmp_path / "a.tif").read_bytes()
    at = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
    (tmp_path / "a.tif").write_bytes(data[:at] + struct.pack("<H", 3) + data[at + 2 :])
    assert np.array_equal(pixels(tmp_path, "a.tif"), array)


# --- JPEG, marker by marker ----------------------------------------------------------------------


def scans_of(data: bytes) -> list[int]:
    """Where the scans of a JPEG begin."""
    return [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]


def test_a_progressive_jpeg_that_lacks_scans_is_refused(tmp_path: Path) -> None:
    data = jpeg(smooth(120, 130), progressive=True)
    for number, at in enumerate(scans_of(data)[1:]):
        for name, ended in (("cut.jpg", b""), ("ended.jpg", b"\xff\xd9")):
            (tmp_path / name).write_bytes(data[:at] + ended)
            refuse(tmp_path / name, TruncatedInput)
        assert number < 20


@pytest.mark.parametrize("scale", [{}, {"subsampling": 0}, {"optimize": True}, {"restart_marker_blocks": 9}])
def test_data_behind_the_last_pixel_are_refused(tmp_path: Path, scale: dict[str, Any]) -> None:
    """What a decoder that lost its step leaves over."""
    data = jpeg(smooth(120, 130), **scale)
    (tmp_path / "a.jpg").write_bytes(data[:-2] + bytes(range(1, 13)) + b"\xff\xd9")
    refuse(tmp_path / "a.jpg", BadInput)


def test_pictures_of_even_colour_are_not_taken_for_damaged(tmp_path: Path) -> None:
    """Their last bytes are seen least."""
    rng = np.random.default_rng(4)
    for number in range(40):
        array = np.full((int(rng.integers(60, 160)), int(rng.integers(60, 160)), 3), rng.integers(0, 256, 3), np.uint8)
        array[: len(array) // 2] = rng.integers(0, 256, (len(array) // 2, *array.shape[1:]))
        data = jpeg(array, quality=int(rng.integers(10, 95)), subsampling=number % 3)
        (tmp_path / "a.jpg").write_bytes(data)
        assert np.array_equal(pixels(tmp_path, "a.jpg"), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("samples", [1, 3])
def test_twelve_bits_a_sample(tmp_path: Path, samples: int) -> None:
    array = smooth(60, 70, samples).astype(np.uint16) * 16
    data = imagecodecs.jpeg8_encode(array.squeeze(), bitspersample=12, level=98)
    (tmp_path / "a.jpg").write_bytes(data)
    found = pixels(tmp_path, "a.jpg")
    assert found.dtype == np.uint16
    assert np.array_equal(found, imagecodecs.jpeg8_decode(data))
    assert np.abs(found.astype(int) - array.squeeze()).mean() < 100  # of 4080


def test_four_components_without_a_name_are_refused(tmp_path: Path) -> None:
    data = imagecodecs.jpeg8_encode(smooth(40, 50, 4), colorspace="CMYK", outcolorspace="CMYK")
    at = data.find(b"\xff\xee")
    bare = data if at < 0 else data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    (tmp_path / "a.jpg").write_bytes(bare)
    refuse(tmp_path / "a.jpg", Unsupported)


def test_of_several_pictures_in_a_file_the_first_is_taken_and_it_is_said(tmp_path: Path) -> None:
    first, second = (Image.fromarray(smooth(40, 50, seed=n)) for n in (1, 2))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=90)
    source = probe(tmp_path, "a.jpg")
    assert any("only its first" in note for note in source.notes)
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.array_equal(pixels(tmp_path, "a.jpg"), np.asarray(image))
