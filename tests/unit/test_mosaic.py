"""Photos with positions: placed on the ground as a mosaic that OpenVisus opens, each pixel where it belongs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converters.convert import convert
from converters.geo import EARTH_RADIUS, Footprint, footprint, mercator
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.verify import verify
from converters.volume import Array
from scray.errors import BadParameter
from tests.mapir_target import exif
from tests.openvisus import openvisus

PLACE = (40.7662, -111.8456)
FILM = 36.0  # mm


def picture(seed: int, height: int = 40, width: int = 60) -> Array:
    return np.random.default_rng(seed).integers(1, 255, (height, width, 3), np.uint8)


def save(path: Path, array: Array, position: tuple[float, float] | None, heading: float = 0.0) -> None:
    """A photo 50 m above a ground at 1300 m."""
    block = exif("Camera", position, {5: b"\x00", 6: 1350.0, 17: heading})
    block[34665] = {41989: int(FILM)}
    Image.fromarray(array).save(path, exif=block)


def east(metres: float) -> tuple[float, float]:
    """A position that many metres of the projection east of PLACE."""
    return PLACE[0], PLACE[1] + math.degrees(metres / EARTH_RADIUS)


def build(tmp_path: Path, **parameters: Any) -> tuple[Path, dict[str, Any]]:
    root, files = find_files([tmp_path / "in"])
    out = tmp_path / "out"
    convert(Job(root, files, "RGB", parameters), out, Serial())
    assert verify(out, tmp_path / "in") == []
    return out, json.loads((out / "metadata.json").read_text())["source"]


def test_every_pixel_of_a_mosaic_is_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    first, second = picture(1), picture(2)
    pixel = 50 * 43.267 / math.hypot(60, 40) / FILM / math.cos(math.radians(PLACE[0]))
    save(tmp_path / "in" / "a.png", first, PLACE)
    save(tmp_path / "in" / "b.png", second, east(70 * pixel))
    out, said = build(tmp_path, ground_altitude="1300")
    assert (out / "visus.midx").read_bytes() == (out / "visus.idx").read_bytes()
    assert said["crs_name"] == "epsg:3857"
    assert said["crs_scale"] == pytest.approx([1 / pixel] * 2, rel=1e-6)
    x, y = mercator(*PLACE)
    assert said["crs_offset"] == pytest.approx([x - 30 * pixel, y - 20 * pixel], abs=1e-3 * pixel)
    for name in ("visus.idx", "visus.midx"):
        seen = openvisus().read(out / name, "data")
        assert seen is not None
        assert seen.shape == (40, 130, 3)
        assert np.array_equal(seen[1:, :59], first[::-1][1:, :59])  # north is up: rows run upwards
        assert np.array_equal(seen[1:, 71:129], second[::-1][1:, 1:59])
        assert not seen[:, 62:69].any()


def test_headings_turn_photos(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    array = picture(3, 40, 40)
    save(tmp_path / "in" / "a.png", array, PLACE, heading=90)
    save(tmp_path / "in" / "b.png", array, east(200))
    out, said = build(tmp_path, ground_altitude="1300")
    seen = openvisus().read(out / "visus.idx", "data")
    assert seen is not None
    turned = np.rot90(array, -1)[::-1]  # its upper edge looks east
    left, bottom = (
        round((min(c[i] for c in said["places"][0]["corners"]) - said["crs_offset"][i]) * said["crs_scale"][i])
        for i in (0, 1)
    )
    got = seen[bottom + 1 : bottom + 39, left + 1 : left + 39]
    assert np.array_equal(got, turned[1:39, 1:39])


def test_photos_at_one_place_without_place_or_by_wish_are_time_steps(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    save(folder / "a.png", picture(1), PLACE)
    save(folder / "b.png", picture(2), PLACE)
    for name, position, parameters in (
        ("the very same", PLACE, {}),
        ("b.png", (0.0, 0.0), {}),
        ("", east(50), {"mosaic": "no"}),
    ):
        save(folder / "b.png", picture(2), position)
        out, said = build(tmp_path, **parameters)
        assert not (out / "visus.midx").exists()
        assert openvisus().describe(out / "visus.idx")["steps"] == [0, 1]
        assert "crs_name" not in said
        notes = json.loads((out / "metadata.json").read_text())["notes"]
        assert any(name in note for note in notes) or not name


def test_what_is_not_known_is_assumed_and_said() -> None:
    gps = {"GPSLatitudeRef": "S", "GPSLatitude": [10.0, 30.0, 0.0], "GPSLongitudeRef": "E", "GPSLongitude": [20.0]}
    place = footprint({"gps": gps}, 400, 300, {})
    assert place is not None
    assert place.middle == pytest.approx(mercator(-10.5, 20.0))
    assert len(place.guesses) == 3
    known: dict[str, dict[str, Any]] = {"gps": {**gps, "GPSImgDirection": 45.0}, "photo": {"FocalLengthIn35mmFilm": 24}}
    known["xmp"] = {"RelativeAltitude": 80.0}
    place = footprint(known, 400, 300, {})
    assert place is not None
    assert place.guesses == ()
    assert place.pixel == pytest.approx(80 * 43.267 / 500 / 24 / math.cos(math.radians(10.5)))


@pytest.mark.parametrize("latitude", [[91.0], [1.0, 2.0, 3.0, 4.0], [math.nan], [-1.0], "x", None])
def test_nonsense_is_no_position(latitude: Any) -> None:
    gps = {"GPSLatitude": latitude, "GPSLongitude": [1.0], "GPSLatitudeRef": "N", "GPSLongitudeRef": "E"}
    assert footprint({"gps": gps}, 4, 3, {}) is None


@pytest.mark.parametrize(
    ("north", "east_", "placed"),
    [
        (b"S\0", b"W\0", (-10.5, -20)),
        ("s", "West", (-10.5, -20)),
        ("W", "S", None),
        ("?", "E", None),
        (None, None, (10.5, 20)),
    ],
)
def test_hemispheres_are_read_or_assumed_and_said_but_never_passed_over(north: Any, east_: Any, placed: Any) -> None:
    gps = {"GPSLatitude": 10.5, "GPSLongitude": [20.0, 0.0], "GPSAltitude": 90.0, "GPSImgDirection": 1.0}
    refs = {"GPSLatitudeRef": north, "GPSLongitudeRef": east_, "GPSImgDirectionRef": "M"}
    place = footprint({"gps": {**gps, **{name: ref for name, ref in refs.items() if ref}}}, 40, 30, {})
    assert (place.middle if place else None) == (mercator(*placed) if placed else None)
    assert not place or ("a latitude without N or S is north" in place.guesses) == (north is None)
    assert not place or "magnetic north is north" in place.guesses


@pytest.mark.parametrize(
    ("gps", "photo", "pixel"),
    [
        ({"GPSAltitude": 4294967295.0}, {"FocalLengthIn35mmFilm": 28}, 100 * 43.267 / 50 / 28),
        ({}, {"FocalLength": 1e-300, "FocalPlaneXResolution": 1e-300}, None),
        ({}, {"FocalLength": 1e300, "FocalPlaneXResolution": 1e300}, None),
    ],
)
def test_what_no_camera_can_have_is_not_believed(gps: Any, photo: Any, pixel: float | None) -> None:
    place = {"GPSLatitude": [0.0], "GPSLongitude": [20.0], "GPSLatitudeRef": "N", "GPSLongitudeRef": "E"}
    found = footprint({"gps": {**place, **gps}, "photo": photo}, 40, 30, {})
    assert (found.pixel if found else None) == (pixel and pytest.approx(pixel))


def test_positions_are_those_of_the_register() -> None:
    """The worked example of EPSG guidance note 7-2 for the Popular Visualisation Pseudo Mercator."""
    place = mercator(24 + 22 / 60 + 54.433 / 3600, -(100 + 20 / 60))
    assert place == pytest.approx((-11169055.58, 2800000.0), abs=0.005)


@pytest.mark.parametrize(("latitude", "placed"), [(85.0, True), (-85.0, True), (85.1, False), (90.0, False)])
def test_the_poles_are_not_on_the_map(latitude: float, placed: bool) -> None:
    side = "N" if latitude > 0 else "S"
    gps = {"GPSLatitudeRef": side, "GPSLatitude": [abs(latitude)], "GPSLongitudeRef": "W", "GPSLongitude": [180.0]}
    place = footprint({"gps": gps}, 40, 30, {})
    assert (place is not None) == placed
    if place:
        assert place.middle == pytest.approx(mercator(latitude, -180.0))
        assert all(math.isfinite(number) for corner in place.corners() for number in corner)


@pytest.mark.parametrize("said", [b"\x01", 1, b"\x01\0", b"\x03"])
def test_a_flight_below_sea_level(said: Any) -> None:
    gps = {"GPSLatitudeRef": "N", "GPSLatitude": [31.5], "GPSLongitudeRef": "E", "GPSLongitude": [35.5]}
    exif_ = {"gps": {**gps, "GPSAltitude": 380.0, "GPSAltitudeRef": said}, "photo": {"FocalLengthIn35mmFilm": 24}}
    place = footprint(exif_, 400, 300, {"ground_altitude": "-430"})
    assert place is not None
    assert place.pixel == pytest.approx(50 * 43.267 / 500 / 24 / math.cos(math.radians(31.5)))


def test_corners_turn_clockwise_with_the_heading() -> None:
    place = Footprint((0.0, 0.0), 1.0, 90.0, 4, 2, ())
    assert np.allclose(place.corners(), [(1, 2), (1, -2), (-1, -2), (-1, 2)])


def test_strange_wishes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "a.png", picture(1), PLACE)
    for parameters in ({"mosaic": "maybe"}, {"ground_altitude": "high"}):
        with pytest.raises(BadParameter):
            build(tmp_path, **parameters)
