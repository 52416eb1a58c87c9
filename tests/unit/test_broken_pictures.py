"""Pictures whose structure is wrong, byte by byte: each is refused with the error and the words that fit."""

from __future__ import annotations

import base64
import io
import os
import shutil
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from converters import rgb
from converters.archives import settle
from converters.jpegfile import parse_jpeg
from converters.photo import MAX_FILE_BYTES, Photo
from converters.pngfile import MAX_TEXT, SIGNATURE, parse_png
from scray.errors import (
    BadInput,
    EmptyInput,
    MixedInput,
    ScrayError,
    TooLarge,
    TruncatedInput,
    Unsupported,
    WrongSensor,
)

# --- JPEG ----------------------------------------------------------------------------------------


def whole_jpeg() -> bytes:
    out = io.BytesIO()
    y, x = np.mgrid[:24, :32]
    Image.fromarray((x * 5 + y * 3).astype(np.uint8)).save(out, "JPEG")
    return out.getvalue()


WHOLE = whole_jpeg()
FRAME = WHOLE.index(b"\xff\xc0")  # marker, length, precision, height, width, components
SCAN = WHOLE.index(b"\xff\xda")
FRAME_END = FRAME + 2 + struct.unpack_from(">H", WHOLE, FRAME + 2)[0]


def changed(at: int, content: bytes) -> bytes:
    return WHOLE[:at] + content + WHOLE[at + len(content) :]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def test_the_whole_one_is_read_with_what_stands_before_its_frame() -> None:
    told = WHOLE[:2] + b"\xff\x01" + segment(0xFE, b"a word") + segment(0xE2, b"MPF\0II*\0") + WHOLE[2:]
    found = parse_jpeg(told, "a.jpg")
    assert (found.width, found.height, found.precision, found.components) == (32, 24, 8, 1)
    assert (found.process, found.comments, found.several, found.end) == ("baseline", [b"a word"], True, len(told))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (WHOLE[:2] + b"\0" + WHOLE[2:], BadInput, "no JPEG marker"),
        (WHOLE[:2] + b"\xff\xff\xff", TruncatedInput, "has no end"),
        (WHOLE[:2] + b"\xff\xe0\0", TruncatedInput, "within its JPEG markers"),
        (WHOLE[:2] + b"\xff\xe0\0\1", TruncatedInput, "reaches beyond"),
        (WHOLE[:2] + b"\xff\xe0\xff\xff", TruncatedInput, "reaches beyond"),
        (WHOLE[:FRAME_END] + WHOLE[FRAME:], BadInput, "frame twice"),
        (changed(FRAME + 1, b"\xc5"), Unsupported, "hierarchical"),
        (WHOLE[:FRAME] + segment(0xC0, b"\x08\0\x18") + WHOLE[FRAME_END:], BadInput, "too short"),
        (changed(FRAME + 9, b"\x09"), BadInput, "too short"),
        (WHOLE[:SCAN] + segment(0xDC, b"\0\x18") + WHOLE[SCAN:], Unsupported, "height after its pixels"),
        (WHOLE[:SCAN] + segment(0xDA, b"") + WHOLE[SCAN:], BadInput, "scan is wrong"),
        (WHOLE[:SCAN] + segment(0xDA, b"\1\1\0\0\x40\0") + WHOLE[SCAN:], BadInput, "scan is wrong"),
        (WHOLE[:2] + b"\xff\xd9", BadInput, "without an image"),
        (WHOLE[:FRAME] + WHOLE[FRAME_END:], BadInput, "without an image"),
        (changed(FRAME + 4, b"\x10"), Unsupported, "16 bits a sample"),
        (changed(FRAME + 5, b"\0\0"), BadInput, "32×0 pixels"),
        (WHOLE[:-2], TruncatedInput, "cut short"),
    ],
)
def test_a_jpeg_of_wrong_structure_is_refused(data: bytes, error: type[ScrayError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        parse_jpeg(data, "a.jpg")
    assert "a.jpg" in caught.value.message


def test_what_a_photo_is_not(tmp_path: Path) -> None:
    contents: list[tuple[bytes, type[ScrayError], str]] = [
        (b"", EmptyInput, "is empty"),
        (b"GIF89a", WrongSensor, "neither a JPEG"),
        (changed(FRAME + 1, b"\xc3"), Unsupported, "lossless JPEG"),
    ]
    for content, error, words in contents:
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(error, match=words):
            Photo(tmp_path, "a.jpg")
    with (tmp_path / "a.jpg").open("wb") as file:
        file.write(WHOLE)
        file.truncate(MAX_FILE_BYTES + 1)  # a hole: nothing of it is on the disk
    with pytest.raises(TooLarge, match="may have"):
        Photo(tmp_path, "a.jpg")


ARITHMETIC = base64.b85decode(  # 8×8 grey, whose coder left out a zero at its end
    "|JeWA07C!<1O)~K1O^5L1_uWQ2nrAi3JD1c6b=sz5Em2}7#9>478)HT9~v7Y92OQJEFdE$Cn+i^86Pb$EhsQ0C@Coa$p8xo"
    "00;mG0Ra&J|I7de01yxb|Jncu0RaF2KLE~LVndWgq5Tv?q{-cWd_I`FfB)G"
)


@pytest.mark.parametrize("lost", [0, 8])
def test_an_arithmetic_jpeg_is_whole_without_the_zeros_at_its_end_but_not_without_more(
    lost: int, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(ARITHMETIC[: -2 - lost] + ARITHMETIC[-2:])
    photo = Photo(tmp_path, "a.jpg")
    if lost:
        with pytest.raises(TruncatedInput, match="end before its last pixel"):
            photo.read_stored(((0, 8), (0, 8)))
    else:
        with Image.open(tmp_path / "a.jpg") as image:
            assert np.array_equal(photo.read_stored(((0, 8), (0, 8))), np.asarray(image))


def test_a_photo_that_became_another_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(WHOLE)
    photo = Photo(tmp_path, "a.jpg")
    Image.new("L", (16, 16)).save(tmp_path / "a.jpg")
    with pytest.raises(BadInput, match="unlike what its header says"):
        photo.read_stored(((0, 24), (0, 32)))


# --- PNG -----------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def head(width: int = 4, height: int = 3, bits: int = 8, colour: int = 0, last: bytes = b"\0\0\0") -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, bits, colour) + last)


DATA = chunk(b"IDAT", zlib.compress(b"\0\1\2\3\4" * 3))
END = chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("chunks", "error", "words"),
    [
        (DATA + head() + END, BadInput, "does not begin with a PNG header"),
        (head() + head() + DATA + END, BadInput, "its PNG header is wrong"),
        (chunk(b"IHDR", b"\0" * 12) + DATA + END, BadInput, "its PNG header is wrong"),
        (head(width=0) + DATA + END, BadInput, "no PNG has"),
        (head(bits=3) + DATA + END, BadInput, "no PNG has"),
        (head(colour=5) + DATA + END, BadInput, "no PNG has"),
        (head(last=b"\1\0\0") + DATA + END, BadInput, "no PNG has"),
        (head(last=b"\0\0\2") + DATA + END, BadInput, "no PNG has"),
        (head(colour=3) + DATA + END, BadInput, "palette is missing"),
        (head() + END, TruncatedInput, "in 0 bytes"),
        (head() + DATA, TruncatedInput, "has no end"),
        (head() + DATA[:-6] + END[:2], TruncatedInput, "within its chunk"),
        (head() + DATA[:-1] + b"\0" + END, BadInput, "checksum"),
        (head() + chunk(b"ABCD", b"x") + DATA + END, Unsupported, "a chunk 'ABCD'"),
    ],
)
def test_a_png_of_wrong_structure_is_refused(chunks: bytes, error: type[ScrayError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        parse_png(SIGNATURE + chunks, "a.png")
    assert "a.png" in caught.value.message


def test_what_a_png_tells_beside_its_pixels_is_kept(tmp_path: Path) -> None:
    packed = zlib.compress("wörter".encode())
    told = [
        chunk(b"tEXt", b"Author\0somebody"),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"packed")),
        chunk(b"iTXt", b"Title\0\0\0de\0\0" + "Überschrift".encode()),
        chunk(b"iTXt", b"Long\0\1\0de\0\0" + packed),
        chunk(b"zTXt", b"Broken\0\0no deflate at all"),
        chunk(b"zTXt", b"Bomb\0\0" + zlib.compress(bytes(3 * MAX_TEXT))),
        chunk(b"iCCP", b"profile\0\0damaged"),
        chunk(b"acTL", bytes(8)),
        chunk(b"pHYs", bytes(9)),
    ]
    data = SIGNATURE + head() + b"".join(told) + DATA + END
    found = parse_png(data, "a.png")
    assert {**found.texts, "Bomb": ""} == {
        "Author": "somebody",
        "Comment": "packed",
        "Title": "Überschrift",
        "Long": "wörter",
        "Broken": "",
        "Bomb": "",
    }
    assert len(found.texts["Bomb"]) == MAX_TEXT
    assert (found.icc, found.animated, found.chunks) == (b"", True, {"pHYs": "00" * 9})
    (tmp_path / "a.png").write_bytes(data)
    source = rgb.probe(tmp_path, ("a.png",), {})
    assert any("animated" in note for note in source.notes)


def test_few_bits_are_spread_and_it_is_said(tmp_path: Path) -> None:
    rows = zlib.compress(b"\0\xa0" * 3)
    (tmp_path / "a.png").write_bytes(SIGNATURE + head(bits=1) + chunk(b"IDAT", rows) + END)
    source = rgb.probe(tmp_path, ("a.png",), {})
    assert any("1 bits a pixel" in note for note in source.notes)
    with rgb.open_volume(tmp_path, source.volumes[0]) as reader:
        assert reader.read(0, ((0, 3), (0, 4))).tolist() == [[255, 0, 255, 0]] * 3


@pytest.mark.parametrize("colours", [2, 4, 5])
def test_a_png_pixel_beyond_its_palette_is_refused(colours: int, tmp_path: Path) -> None:
    """Decoders make it black."""
    palette = chunk(b"PLTE", bytes(range(3 * colours)))
    rows = chunk(b"IDAT", zlib.compress(b"\0\0\1\2\3" * 3))
    (tmp_path / "a.png").write_bytes(SIGNATURE + head(bits=8, colour=3) + palette + rows + END)
    with rgb.open_volume(tmp_path, rgb.probe(tmp_path, ("a.png",), {}).volumes[0]) as reader:
        if colours > 3:
            assert reader.read(0, ((0, 3), (0, 4)))[0, 3].tolist() == [9, 10, 11]
            return
        with pytest.raises(BadInput, match="beyond its palette"):
            reader.read(0, ((0, 3), (0, 4)))


# --- TIFF ----------------------------------------------------------------------------------------


def refuse_tiff(path: Path, error: type[ScrayError], words: str) -> None:
    with pytest.raises(error, match=words):
        rgb.probe(path.parent, (path.name,), {})


def test_numbers_that_are_no_picture(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 5), "c8"))
    refuse_tiff(tmp_path / "a.tif", Unsupported, "complex numbers")


def test_pages_that_are_turned_differently(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for turn in (1, 6):
            tags = [(274, "H", 1, turn, True)]
            file.write(np.ones((4, 4), "u1"), metadata=None, photometric="minisblack", extratags=tags, contiguous=False)
    refuse_tiff(tmp_path / "a.tif", MixedInput, "different orientations")


@pytest.mark.parametrize("largest", [2, 3])
def test_a_pixel_beyond_the_palette_is_refused(largest: int, tmp_path: Path) -> None:
    """The map of 256 colours is cut to three by the number of its values."""
    path, colours = tmp_path / "a.tif", np.arange(3 * 256, dtype="u2").reshape(3, 256) * 85
    tifffile.imwrite(path, np.full((4, 5), largest, "u1"), photometric="palette", colormap=colours)
    with tifffile.TiffFile(path) as file:
        count_at = file.pages[0].tags[320].offset + 4  # type: ignore[union-attr]
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, count_at, 9)
    path.write_bytes(data)
    indices, shown = rgb.probe(tmp_path, ("a.tif",), {}).volumes
    assert (indices.components, shown.components) == (1, 3)
    with rgb.open_volume(tmp_path, shown) as reader:
        if largest < 3:
            assert reader.read(0, ((0, 4), (0, 5))).shape == (4, 5, 3)
        else:
            with pytest.raises(BadInput, match="number 3 and 3 colours"):
                reader.read(0, ((0, 4), (0, 5)))


# --- what archives are mixed with ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("unpacked", "beside", "words"),
    [("a.txt", "a.txt", "both hold a.txt"), ("scan", "scan/b.txt", "needs a folder")],
)
def test_an_archive_and_files_beside_it_that_collide(unpacked: str, beside: str, words: str, tmp_path: Path) -> None:
    made, root = tmp_path / "made", tmp_path / "upload"
    (root / beside).parent.mkdir(parents=True)
    (root / beside).write_text("mine")
    made.mkdir()
    (made / unpacked).write_text("from the archive")
    with pytest.raises(MixedInput, match=words):
        settle(root, (beside,), made, tmp_path / "final")
    assert not (tmp_path / "final").exists()


def other_file_system(folder: Path) -> Path | None:
    """A folder on another file system than this one, where the machine has one that can be written."""
    for place in (Path("/dev/shm"), Path("/tmp"), Path.home()):
        if place.is_dir() and os.access(place, os.W_OK) and place.stat().st_dev != folder.stat().st_dev:
            return place / f"scray-{os.getpid()}-{folder.name}"
    return None


def settled(root: Path, made: Path, final: Path) -> bytes:
    made.mkdir(parents=True)
    settle(root, ("deep/a.txt",), made, final)
    assert not made.exists()
    return (final / "deep" / "a.txt").read_bytes()


def test_files_beside_an_archive_are_linked_and_the_first_of_two_wins(tmp_path: Path) -> None:
    root, final = tmp_path / "upload", tmp_path / "final"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "a.txt").write_bytes(b"mine")
    assert settled(root, tmp_path / "made", final) == b"mine"
    assert (final / "deep" / "a.txt").samefile(root / "deep" / "a.txt")
    inode = final.stat().st_ino
    assert settled(root, tmp_path / "made", final) == b"mine"
    assert final.stat().st_ino == inode


def test_across_file_systems_they_are_copied(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    elsewhere = other_file_system(tmp_path)
    if elsewhere is None:
        pytest.skip("there is one file system only")
    request.addfinalizer(partial(shutil.rmtree, elsewhere, ignore_errors=True))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_bytes(b"mine")
    assert settled(tmp_path, elsewhere / "made", elsewhere / "final") == b"mine"
    assert (elsewhere / "final" / "deep" / "a.txt").stat().st_nlink == 1
