"""The codes of a JPEG are its blocks: whole ones of every kind pass, and what no decoder complains of is found."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from converters import huffman, jpegfile
from converters.jpegfile import decode_whole, parse_jpeg
from converters.volume import Array
from scray.errors import BadInput, ScrayError, TruncatedInput

RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 256, (45, 70, 3)).astype(np.uint8)
SMOOTH = np.add.outer(np.arange(45), np.arange(70))[..., np.newaxis].repeat(3, 2).astype(np.uint8)


def jpeg(pixels: Array = SMOOTH, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def decode(data: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(data)))


def read(data: bytes, by: Any = decode) -> Array:
    return decode_whole(data, parse_jpeg(data, "a.jpg"), by, "a.jpg")


def scan_of(data: bytes) -> slice:
    start, stop = parse_jpeg(data, "a.jpg").scans[-1]
    return slice(start, stop)


@pytest.mark.parametrize("quality", [1, 75, 100])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subsampling": 0},
        {"subsampling": 1},
        {"optimize": True},
        {"restart_marker_blocks": 1},
        {"restart_marker_rows": 1},
        {"mode": "L"},
        {"mode": "CMYK"},
        {"keep_rgb": True},
    ],
)
@pytest.mark.parametrize("pixels", [NOISE, SMOOTH, NOISE[:1, :1], np.where(NOISE > 127, 255, 0).astype(np.uint8)])
def test_whole_images_pass(pixels: Array, options: dict[str, Any], quality: int) -> None:
    data = jpeg(pixels, quality=quality, **options)
    assert parse_jpeg(data, "a.jpg").coded
    assert np.array_equal(read(data), decode(data))


def test_samples_of_12_bits_pass() -> None:
    data = bytes(imagecodecs.jpeg_encode(NOISE.astype(np.uint16) * 16, level=90, bitspersample=12))
    assert parse_jpeg(data, "a.jpg").coded
    assert read(data, imagecodecs.jpeg_decode).shape == NOISE.shape


def test_an_image_of_several_windows_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huffman, "WINDOW_BYTES", 64)
    for blocks in (0, 2):
        data = jpeg(NOISE, restart_marker_blocks=blocks)
        assert np.array_equal(read(data), decode(data))
        with pytest.raises(ScrayError):
            read(data[: scan_of(data).stop - 1] + data[scan_of(data).stop :])


@pytest.mark.parametrize("surplus", [b"\x51\x0c", b"\x51\x0c\x77\x12\x99"])
def test_left_over_data_are_found_and_fillings_are_not(surplus: bytes) -> None:
    """Too little for any pixel to tell."""
    data = jpeg(NOISE)
    end = scan_of(data).stop
    with pytest.raises(BadInput, match="go on after its last pixel"):
        read(data[:end] + surplus + data[end:])
    filled = data[:end] + bytes(5) + data[end:]
    assert np.array_equal(read(filled), decode(data))


def test_a_single_missing_byte_is_found() -> None:
    data = jpeg(NOISE)
    with pytest.raises(TruncatedInput, match="end before its last pixel"):
        read(data[: scan_of(data).stop - 1] + data[scan_of(data).stop :])


def test_codes_that_do_not_exist_are_found() -> None:
    data = bytearray(jpeg(NOISE, optimize=True))
    middle = scan_of(bytes(data)).start + 1000
    data[middle : middle + 8] = b"\xfe" * 8
    with pytest.raises(BadInput, match="a code that does not exist"):
        read(bytes(data))


def test_means_that_no_pixels_have_are_found() -> None:
    """What is lost of the differences between blocks shifts all that follow, until one is beyond white."""
    rng, found = np.random.default_rng(1), 0
    data = jpeg(np.where(SMOOTH > 60, 255, 0).astype(np.uint8), quality=95)
    scan = scan_of(data)
    for _ in range(300):
        spoilt = bytearray(data)
        spoilt[rng.integers(scan.start, scan.stop)] ^= 1 << rng.integers(8)
        try:
            read(bytes(spoilt))
        except ScrayError as error:
            found += "brighter or darker" in error.message
    assert found > 3


def test_restarts_that_are_lost_or_exchanged_are_found() -> None:
    data = jpeg(NOISE, restart_marker_blocks=4)
    first, second, *_ = (match.start() for match in re.finditer(b"\xff[\xd0-\xd7]", data))
    exchanged = bytearray(data)
    exchanged[first + 1], exchanged[second + 1] = data[second + 1], data[first + 1]
    with pytest.raises(BadInput, match="do not follow each other"):
        read(bytes(exchanged))
    last = len(data) - 2
    with pytest.raises(BadInput, match="pieces between restarts"):
        read(data[:last] + b"\xff" + bytes([0xD0 + len(parse_jpeg(data, "a").scans) % 8 - 1]) + b"\x12" + data[last:])


def test_tables_that_are_shared_count() -> None:
    """As in TIFF: the tables lie elsewhere."""
    data = jpeg(NOISE)
    found = re.search(rb"\xff\xc4.*?(?=\xff\xda)", data, re.DOTALL)
    assert found
    tables = b"\xff\xd8" + found[0] + b"\xff\xd9"
    bare = data.replace(found[0], b"")
    assert not parse_jpeg(bare, "a.jpg").coded
    assert parse_jpeg(bare, "a.jpg", tables).coded == [
        type(c)(c.parts, c.units, c.interval, tuple((a - len(found[0]), b - len(found[0])) for a, b in c.pieces))
        for c in parse_jpeg(data, "a.jpg").coded
    ]


def test_impossible_tables_and_samplings_are_refused() -> None:
    data = jpeg(NOISE)
    table = data.index(b"\xff\xc4") + 5
    with pytest.raises(BadInput, match="more codes than there can be"):
        read(data[:table] + b"\x03" + data[table + 1 :])
    frame = data.index(b"\xff\xc0")
    with pytest.raises(BadInput, match="sampling"):
        read(data[: frame + 11] + b"\x00" + data[frame + 12 :])


HONEST = [jpeg(NOISE), jpeg(NOISE, restart_marker_blocks=3), jpeg(SMOOTH, "L", optimize=True)]


@given(
    st.sampled_from(HONEST),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_any_damage_ends_in_pixels_or_a_clear_error(data: bytes, damage: list[tuple[float, int]]) -> None:
    spoilt = bytearray(data)
    for place, value in damage:
        spoilt[2 + int(place * (len(data) - 2))] = value
    with suppress(ScrayError):
        read(bytes(spoilt), lambda _: NOISE)


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}])
def test_what_is_too_large_to_be_walked_is_tried(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = jpeg(NOISE, **options)
    decoded: list[int] = []

    def counted(data: bytes) -> Array:
        decoded.append(len(data))
        return decode(data)

    assert np.array_equal(read(whole, counted), decode(whole))
    assert len(decoded) == 1
    monkeypatch.setattr(jpegfile, "WALKED_PIXELS", 45 * 70 - 1)
    assert np.array_equal(read(whole, counted), decode(whole))
    assert len(decoded) == 3, "as it is, and with more behind its data"
    with pytest.raises(ScrayError):
        read(whole[: len(whole) // 2] + b"\xff\xd9")
