"""TIFF as its writers in the field lay it out: what their tags and descriptions mean, to the sample."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import tiff as tiffs
from converters.volume import Array, Source
from tests.formats import pattern
from tests.tiffs import Page, grey, tiff

HIGH, WIDE = 6, 16
PLANES = pattern((3, HIGH, WIDE), "<u2")
GREY = grey(WIDE, HIGH, bits=16)


def probed(tmp_path: Path, data: bytes) -> tuple[Source, Array]:
    (tmp_path / "a.tif").write_bytes(data)
    source = tiffs.probe(tmp_path, ("a.tif",), {})
    with tiffs.open_volume(tmp_path, source.volumes[0]) as reader:
        return source, reader.read_source(tuple((0, n) for n in source.volumes[0].source_shape))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0)])
@pytest.mark.parametrize("gap", [0, 64])
def test_slices_of_imagej_that_were_laid_elsewhere_are_found_by_their_tags(
    tmp_path: Path, order: tuple[int, ...], gap: int
) -> None:
    """The description says that they lie behind each other; a program that copied the file laid them otherwise."""
    step = PLANES[0].nbytes + gap
    tags = [GREY | {273: ("I", 8 + order.index(n) * step), 279: ("I", PLANES[0].nbytes)} for n in range(3)]
    tags[0] |= {270: ("s", b"ImageJ=1.54f\nimages=3\nslices=3\n\0")}
    first = Page(tags[0], [PLANES[n].tobytes() + b"\xee" * gap for n in order])
    _, found = probed(tmp_path, tiff(first, *(Page(more, ()) for more in tags[1:])))
    assert np.array_equal(found, PLANES)


def test_two_slices_of_imagej_that_libtiff_copied(tmp_path: Path) -> None:
    told: dict[int, tuple[str, Any]] = {270: ("s", b"ImageJ=1.54f\nimages=2\n\0")}
    pages = (Page(GREY | told, [PLANES[0].tobytes()]), Page(GREY, [PLANES[1].tobytes()]))
    assert np.array_equal(probed(tmp_path, tiff(*pages))[1], PLANES[:2])


NOTHINGS = [
    ("<f4", "-3.4028234663852886e+38", float(np.finfo("f4").min), float(np.finfo("f4").min)),
    ("<f4", "nan", None, np.nan),
    ("<f4", "-1.7976931348623157e+308", None, -np.inf),
    ("<i2", "32767", 32767.0, 32767),
    ("<i2", "-9999.0", -9999.0, -9999),
    ("<u2", "-9999", None, 0),
    ("<u2", "none", None, 0),
    ("|u1", "7.5", None, 8),
]


@pytest.mark.parametrize(("dtype", "text", "told", "filled"), NOTHINGS)
def test_what_gdal_calls_nothing(tmp_path: Path, dtype: str, text: str, told: float | None, filled: float) -> None:
    """As GDAL reads it: the attribute only where a sample can be it, a tile that was left out in any case."""
    tile = pattern((16, 16), dtype)
    tags = grey(16, 32, bits=8 * tile.itemsize, t339={"u": 1, "i": 2, "f": 3}[tile.dtype.kind])
    tags |= {322: ("H", 16), 323: ("H", 16), 42113: ("s", text.encode() + b"\0")}
    tags |= {324: ("I", [8, 0]), 325: ("I", [tile.nbytes, 0])}
    del tags[278]
    source, found = probed(tmp_path, tiff(Page(tags, [tile.tobytes()])))
    assert source.volumes[0].attributes.get("fill_value") == told
    expected = np.vstack([tile, np.full((16, 16), filled, dtype)])
    assert np.array_equal(found, expected, equal_nan=dtype == "<f4")


def ome(pixels: str) -> dict[int, tuple[str, Any]]:
    attributes = 'ID="P" DimensionOrder="XYZCT" Type="uint16" SizeC="1" SizeT="1"'
    text = f'<OME xmlns="OME"><Image ID="I"><Pixels {attributes} {pixels}><TiffData/></Pixels></Image></OME>'
    return {270: ("s", b'<?xml version="1.0"?>' + text.encode() + b"\0")}


@pytest.mark.parametrize(
    ("pixels", "shape", "note"),
    [
        ('SizeX="16" SizeY="6" SizeZ="2"', (2, 6, 16), "1 pages behind those that its description counts are left out"),
        ('SizeX="32" SizeY="6" SizeZ="3"', (3, 6, 16), "its description does not fit its pages"),
        ('SizeX="16" SizeY="6" SizeZ="3"', (3, 6, 16), ""),
    ],
)
def test_an_ome_description_that_is_not_of_these_pages_is_told(
    tmp_path: Path, pixels: str, shape: tuple[int, ...], note: str
) -> None:
    pages = [Page(GREY | (ome(pixels) if not n else {}), [plane.tobytes()]) for n, plane in enumerate(PLANES)]
    source, found = probed(tmp_path, tiff(*pages))
    assert found.shape == shape
    assert np.array_equal(found, PLANES[: shape[0]])
    assert note in " ".join(source.notes)
    assert len(source.notes) == bool(note)


@pytest.mark.parametrize("more", [0, 6])
def test_micromanager_pages_lie_where_their_tags_say(tmp_path: Path, more: int) -> None:
    """The library takes them to follow 162 bytes of tags, which is true of grey ones only."""
    summary = b'{"MicroManagerVersion": "2.0", "Frames": 1, "Slices": 3, "Channels": 1}'
    head = bytearray(struct.pack("<8I", 54773648, 0, 483765892, 0, 99384722, 0, 2355492, len(summary)) + summary)
    data, link, places = bytearray(b"II*\0\0\0\0\0") + head + bytes(len(head) % 2), 4, []
    for plane in PLANES:
        at = len(data)
        tags = GREY | {273: ("I", at + 162 + more), 279: ("I", plane.nbytes)}
        tags |= dict.fromkeys((274, 296, 305, 51123), ("H", 1))
        entries = [
            struct.pack(f"<HHI{kind}", code, {"H": 3, "I": 4}[kind], 1, n) for code, (kind, n) in sorted(tags.items())
        ]
        ifd = struct.pack("<H", len(tags)) + b"".join(entry.ljust(12, b"\0") for entry in entries) + bytes(4)
        struct.pack_into("<I", data, link, at)
        link = at + len(ifd) - 4
        places.append(at)
        data += ifd.ljust(162 + more, b"\x55") + plane.tobytes()
    struct.pack_into("<I", data, 12, len(data))
    data += struct.pack("<II", 3453623, 3) + b"".join(struct.pack("<5I", 0, z, 0, 0, at) for z, at in enumerate(places))
    assert np.array_equal(probed(tmp_path, bytes(data))[1], PLANES)


def test_of_a_raw_photo_the_sensors_numbers_are_converted_and_not_its_preview(tmp_path: Path) -> None:
    preview, numbers = pattern((3, 4, 3), "u1"), PLANES[0]
    tags = grey(4, 3) | {258: ("H", [8, 8, 8]), 262: ("H", 2), 277: ("H", 3)}
    sensor = GREY | {262: ("H", 32803), 33421: ("H", [2, 2])}
    source, found = probed(tmp_path, tiff(Page(tags, [preview.tobytes()]), Page(sensor, [numbers.tobytes()])))
    assert np.array_equal(found, numbers)
    assert source.volumes[0].attributes["samples"] == "colour filter array"
    assert "Left out: series[0]" in " ".join(source.notes)


def imagej(counts: str) -> dict[int, tuple[str, Any]]:
    return {270: ("s", b"ImageJ=1.31\n" + counts.encode() + b"\n\0")}


@pytest.mark.parametrize("counts", ["images=3", "images=3\nslices=2"])
def test_imagej_opens_as_many_images_as_it_counts_where_their_bytes_are(tmp_path: Path, counts: str) -> None:
    tags = GREY | imagej(counts) | {279: ("I", [PLANES[0].nbytes]), 273: ("I", [8])}
    assert np.array_equal(probed(tmp_path, tiff(Page(tags, [PLANES.tobytes()])))[1], PLANES)


def test_pages_that_were_put_behind_a_stack_of_imagej_are_taken_too(tmp_path: Path) -> None:
    """Programs that join stacks keep the description of the first."""
    planes = [*PLANES, PLANES[0] + 1]
    pages = [Page(GREY | ({} if n else imagej("images=3\nslices=3")), [p.tobytes()]) for n, p in enumerate(planes)]
    source, found = probed(tmp_path, tiff(*pages))
    assert np.array_equal(found, planes)
    assert "its description does not fit its pages" in " ".join(source.notes)
