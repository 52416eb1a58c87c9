"""Pictures of a calibration target, drawn; their numbers follow a line that the calibration has to find again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

from converters.volume import Array

INCH = 16  # pixels
# The panels, clockwise from the marker's point of view, and what they reflect at 660, 550 and 850 nm: written out here
# once more, so that a change of the constants does not go unseen.
PANELS = {(-9.0, 0.0): 0, (-5.0, 0.0): 1, (-9.0, 5.5): 2, (-5.0, 5.5): 3}
RGN = np.array(
    [
        [0.8775934407, 0.8689592421, 0.8653063177],
        [0.2661207692, 0.2656248359, 0.2798126291],
        [0.1987265874, 0.1961875592, 0.2337498097],
        [0.0192249327, 0.0195576511, 0.0193295348],
    ]
)


def draw(dtype: Any, slope: Array, intercept: Array, reflectance: Array = RGN) -> Array:
    """A target, 384×336 pixels, with numbers = (reflectance - intercept) / slope in each band."""
    height, width = 14 * INCH, 24 * INCH
    paper = np.full((height, width, 3), 0.5)
    left, top, side = 14 * INCH, 4 * INCH, int(5.5 * INCH)
    marker = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50), 13, side)
    paper[top - INCH : top + side + INCH, left - INCH : left + side + INCH] = 0.85
    paper[top : top + side, left : left + side] = np.where(marker > 0, 0.85, 0.02)[..., np.newaxis]
    for (x, y), panel in PANELS.items():
        column, row = int(left + x * INCH), int(top + y * INCH)
        paper[row - INCH : row + INCH, column - INCH : column + INCH] = reflectance[panel]
    numbers = (paper - intercept) / slope
    return np.clip(np.rint(numbers), 0, np.iinfo(dtype).max).astype(dtype)


def exif(model: str, position: tuple[float, float] | None = None, gps: dict[int, Any] | None = None) -> Image.Exif:
    """Exif of a camera; without a position its block is all zeros, as Survey3 cameras write it without a fix.

    `gps` are further tags of that block, by number.
    """
    found = Image.Exif()
    found[271], found[272] = "MAPIR", model
    latitude, longitude = position or (0.0, 0.0)
    found[34853] = {
        1: "N" if latitude >= 0 else "S",
        2: _sexagesimal(latitude),
        3: "E" if longitude >= 0 else "W",
        4: _sexagesimal(longitude),
        **(gps or {}),
    }
    return found


def _sexagesimal(degrees: float) -> tuple[float, float, float]:
    whole = abs(degrees)
    minutes = whole % 1 * 60
    return float(int(whole)), float(int(minutes)), round(minutes % 1 * 60, 6)


def save_tiff(path: Path, array: Array, model: str) -> None:
    """A TIFF as Survey3 sets have it."""
    tags: list[Any] = [(271, "s", 0, "MAPIR", True), (272, "s", 0, model, True)]
    tifffile.imwrite(path, array, photometric="rgb", metadata=None, extratags=tags)


def jpeg(array: Array, exif_block: Image.Exif) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", quality=98, subsampling=0, exif=exif_block)
    return out.getvalue()


def photograph(
    drawn: Array, angle: float = 10.0, scale: float = 1.0, lean: float = 0.0, blur: float = 1.0, noise: float = 0.01
) -> Array:
    """A drawn target on a meadow: turned, seen askew, out of focus; uint16, 600×800 pixels."""
    height, width = drawn.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    turned = (corners - (width / 2, height / 2)) * scale
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turned = turned @ np.array([[cosine, sine], [-sine, cosine]])
    seen = turned / (1 + lean * turned[:, 1:] / (height * scale)) + (400, 300)
    to_photo = cv2.getPerspectiveTransform(corners.astype(np.float32), seen.astype(np.float32))
    rng = np.random.default_rng(11)
    meadow = cv2.GaussianBlur(rng.uniform(3000, 30000, (600, 800, 3)).astype(np.float32), (0, 0), 4)
    cv2.warpPerspective(drawn.astype(np.float32), to_photo, (800, 600), meadow, borderMode=cv2.BORDER_TRANSPARENT)
    photo = cv2.GaussianBlur(meadow, (0, 0), blur)
    seen_so: Array = np.clip(photo * rng.normal(1, noise, photo.shape), 0, 65535).astype(np.uint16)
    return seen_so
