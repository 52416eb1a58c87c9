"""Where a photo lies on the ground: Web Mercator (EPSG:3857), metres, from what the camera noted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.exif import Exif, hemisphere, model_of, number, position_of
from scray.errors import BadParameter

EARTH_RADIUS = 6_378_137.0  # of the sphere that EPSG:3857 projects
MAX_LATITUDE = 85.06
MAX_HEIGHT = 1e6  # metres: what is said to be higher is no camera's
BELOW = (1, 3)  # of GPSAltitudeRef: under the sea or the ellipsoid, as Exif 2 and Exif 3 number it
FILM_DIAGONAL = 43.267  # mm, of what "focal length in 35 mm film" refers to
SURVEY3_SENSOR = 6.17  # mm, the longer side
ASSUMED_FILM_FOCAL_LENGTH = 28.0  # mm, where nothing is known of the lens
ASSUMED_HEIGHT = 100.0  # metres above ground, where nothing is known of it
_MM_A_UNIT = {2: 25.4, 3: 10.0, 4: 1.0}  # of the tag FocalPlaneResolutionUnit

Point = tuple[float, float]


@dataclass(frozen=True)
class Footprint:
    """A photo on the ground: its middle, the size of a pixel in metres of EPSG:3857, and where its upper edge looks.

    `heading` is in degrees clockwise from north; `guesses` says what was assumed.
    """

    middle: Point
    pixel: float
    heading: float
    width: int
    height: int
    guesses: tuple[str, ...]

    def corners(self) -> tuple[Point, Point, Point, Point]:
        """Of the upper left, upper right, lower right and lower left pixel's outer edge."""
        x, y = self.width * self.pixel / 2, self.height * self.pixel / 2
        return self._turned(-x, y), self._turned(x, y), self._turned(x, -y), self._turned(-x, -y)

    def _turned(self, right: float, up: float) -> Point:
        c, s = math.cos(math.radians(self.heading)), math.sin(math.radians(self.heading))
        return self.middle[0] + right * c + up * s, self.middle[1] - right * s + up * c


def mercator(latitude: float, longitude: float) -> Point:
    """Degrees to metres of EPSG:3857."""
    y = math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2))
    return EARTH_RADIUS * math.radians(longitude), EARTH_RADIUS * y


def footprint(exif: Exif, width: int, height: int, parameters: Mapping[str, Any]) -> Footprint | None:
    """The footprint of a photo of this size, as it is meant to be seen; None without a position, or beyond the map."""
    position = position_of(exif)
    if position is None or abs(position[0]) > MAX_LATITUDE:
        return None
    unsaid = (("Latitude", "a latitude without N or S is north"), ("Longitude", "a longitude without E or W is east"))
    guesses = [guess for name, guess in unsaid if not hemisphere(exif, name)]
    above = _above_ground(exif, parameters, guesses)
    pixel = above * _pixel_angle(exif, width, height, guesses)
    pixel /= math.cos(math.radians(position[0]))  # metres of the projection a metre on the ground
    if not 0 < pixel * max(width, height) < 2 * math.pi * EARTH_RADIUS:
        return None
    return Footprint(mercator(*position), pixel, _heading(exif, guesses), width, height, tuple(guesses))


def _above_ground(exif: Exif, parameters: Mapping[str, Any], guesses: list[str]) -> float:
    relative = number(exif, "xmp", "RelativeAltitude")
    if relative is not None and relative > 0:
        return relative
    altitude, ground = _altitude(exif), _ground(parameters)
    if altitude is not None and ground is not None and altitude > ground:
        return altitude - ground
    if altitude is not None and 0 < altitude < MAX_HEIGHT:
        guesses.append("the ground is at sea level (the parameter ground_altitude tells its altitude)")
        return altitude
    guesses.append(f"the camera is {ASSUMED_HEIGHT:g} m above ground")
    return ASSUMED_HEIGHT


def _altitude(exif: Exif) -> float | None:
    """Metres above sea level; a number of one byte, GPSAltitudeRef, says where they are below."""
    height = number(exif, "gps", "GPSAltitude")
    said = exif.get("gps", {}).get("GPSAltitudeRef")
    below = (said[0] if isinstance(said, bytes) and said else said) in BELOW
    return -height if below and height is not None else height


def _ground(parameters: Mapping[str, Any]) -> float | None:
    said = parameters.get("ground_altitude")
    if said is None:
        return None
    try:
        value = float(said)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise BadParameter(f"ground_altitude={said!r}: it is the altitude of the ground in metres.")
    return value


def _pixel_angle(exif: Exif, width: int, height: int, guesses: list[str]) -> float:
    """How wide a pixel is, a unit of distance."""
    film = number(exif, "photo", "FocalLengthIn35mmFilm")
    focal = number(exif, "photo", "FocalLength")
    density = number(exif, "photo", "FocalPlaneXResolution")
    unit = _MM_A_UNIT.get(int(number(exif, "photo", "FocalPlaneResolutionUnit") or 2), 25.4)
    if focal and focal > 0 and density and density > 0:
        return unit / density / focal
    if focal and focal > 0 and model_of(exif).startswith("Survey3"):
        return SURVEY3_SENSOR / max(width, height) / focal
    if not film or film <= 0:
        guesses.append(f"the lens is like one of {ASSUMED_FILM_FOCAL_LENGTH:g} mm on 35 mm film")
        film = ASSUMED_FILM_FOCAL_LENGTH
    return FILM_DIAGONAL / math.hypot(width, height) / film


def _magnetic(exif: Exif) -> bool:
    """Whether GPSImgDirection counts from magnetic north; how far that is from north is not in a photo."""
    return str(exif.get("gps", {}).get("GPSImgDirectionRef", "")).strip("\0 ").upper() == "M"


def _heading(exif: Exif, guesses: list[str]) -> float:
    for block, name in (("xmp", "GimbalYawDegree"), ("gps", "GPSImgDirection"), ("xmp", "FlightYawDegree")):
        found = number(exif, block, name)
        if found is not None and -360 <= found <= 360:
            if block == "gps" and _magnetic(exif):
                guesses.append("magnetic north is north")
            return found
    guesses.append("the upper edge looks north")
    return 0.0
