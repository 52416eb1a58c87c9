"""What a MAPIR flight should become, by the description in docs/pictures.md and the maker's measurements alone.

Written without the converter: the target is found in each band on its own, its plane is solved for by least squares,
and the panels count by their medians.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import tifffile
from numpy.typing import NDArray

Array = NDArray[Any]
BANDS = {
    "RGB": ("red", "green", "blue"),
    "RGN": ("red", "green", "nir"),
    "NGB": ("nir", "green", "blue"),
    "OCN": ("orange", "cyan", "nir"),
}
# Of panels one to four, in a thousandth of a per cent.
PANELS = {
    ("RGB", "red"): (87759, 26612, 19873, 1922),
    ("RGB", "green"): (86896, 26562, 19619, 1956),
    ("RGB", "blue"): (83488, 25801, 18903, 1976),
    ("RGN", "red"): (87759, 26612, 19873, 1922),
    ("RGN", "green"): (86896, 26562, 19619, 1956),
    ("RGN", "nir"): (86531, 27981, 23375, 1933),
    ("NGB", "nir"): (86531, 27981, 23375, 1933),
    ("NGB", "green"): (86896, 26562, 19619, 1956),
    ("NGB", "blue"): (83488, 25801, 18903, 1976),
    ("OCN", "orange"): (87515, 26733, 20070, 1928),
    ("OCN", "cyan"): (84146, 25943, 18973, 1972),
    ("OCN", "nir"): (86878, 27845, 22987, 2113),
}
FIRST = {"ndwi": "green", "ngrdi": "green"}  # of other indices the near infrared
SECOND = {"gndvi": "green", "bndvi": "blue", "cndvi": "cyan", "ndwi": "nir", "ngrdi": "red"}
INCHES = {"corner": 5.5, "odd": 9.0, "even": 10.5, "disc": 0.3}
NEAR = 0.05  # of reflectance, between two ways to find the panels
DISC = [(x, y) for x in np.linspace(-1, 1, 15) for y in np.linspace(-1, 1, 15) if x * x + y * y <= 1]


def calculated(root: Path, path: Path, name: str, said: list[dict[str, Any]]) -> Array:
    """The field of this name of a shot, float64; the targets of its flight are the files called target….

    `said` is what the result says of its bands: its lines count where they are as near ours as it says they are.
    """
    bands, model = _picture(path)
    chosen = model.rsplit("_", 1)[-1].upper()
    targets = [p for p in root.rglob("*") if p.name.lower().startswith("target") and p.is_file()]
    if targets:
        frames = [_picture(target)[0] for target in targets]
        lines = _agreed(said, calibrated(frames, chosen), float(np.iinfo(frames[0].dtype).max))
        bands = bands[..., : len(BANDS[chosen])] * lines[:, 0] + lines[:, 1]
    values = {band: bands[..., i].astype(np.float64) for i, band in enumerate(BANDS[chosen])}
    if name.startswith("reflectance_"):
        return values[name.removeprefix("reflectance_")]
    second = SECOND.get(name, "orange" if chosen == "OCN" else "red")
    one, other, soil = values[FIRST.get(name, "nir")], values[second], 0.5 if name == "savi" else 0.0
    with np.errstate(all="ignore"):
        index: Array = (1 + soil) * (one - other) / (one + other + soil)
    return np.where(np.isfinite(index), index, np.nan)


def _picture(path: Path) -> tuple[Array, str]:
    with path.open("rb") as file:
        tiff = file.read(2) in (b"II", b"MM")
    if tiff:
        with tifffile.TiffFile(path) as opened:
            page = opened.pages.first
            return page.asarray(), str(page.tags.valueof(272, ""))
    with PIL.Image.open(path) as image:
        model = str(image.getexif().get(272, ""))
        return np.asarray(PIL.ImageOps.exif_transpose(image)), model.strip("\0 ")


def calibrated(frames: list[Array], chosen: str) -> Array:
    """Slope and intercept of each band, (bands, 2)."""
    full = np.iinfo(frames[0].dtype).max
    lines = []
    numbers = [panel_numbers(frame) for frame in frames]
    for channel, band in enumerate(BANDS[chosen]):
        pairs = [(n[i, channel], PANELS[chosen, band][i] / 1e5) for n in numbers for i in range(4)]
        good = np.array([pair for pair in pairs if 0 < pair[0] < 0.975 * full])
        lines.append(np.polyfit(good[:, 0], good[:, 1], 1))
    return np.array(lines)


def _agreed(said: list[dict[str, Any]], ours: Array, full: float) -> Array:
    """The lines of a result, where none is further from ours than NEAR and its own uncertainty; else ours."""
    theirs = np.array([(line["slope"], line["intercept"]) for line in said])
    apart = np.abs((theirs - ours) @ [[0, full], [1, 1]]).max(axis=1)
    allowed = [NEAR + (line["uncertainty"] or 0.0) for line in said]
    return theirs if (apart <= allowed).all() else ours


def panel_numbers(frame: Array) -> Array:
    """The median numbers of the panels, (4, bands)."""
    middles = _middles(_corners(frame))
    rows, columns = frame.shape[:2]
    found = []
    for middle, across, down in middles:
        points = np.rint([middle + INCHES["disc"] * (x * across + y * down) for x, y in DISC]).astype(int)
        inside = (points >= 0).all() and (points < (columns, rows)).all()
        if not inside:
            raise LookupError("a panel is not in the picture")
        found.append(np.median(frame[points[:, 1], points[:, 0]], axis=0))
    return np.array(found)


def _corners(frame: Array) -> Array:
    """Of marker 13, clockwise, by whichever band shows it best."""
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_100))
    for band in (*np.moveaxis(frame, 2, 0), frame.max(axis=2), frame.min(axis=2)):
        for gain in (1.0, 2.0, 4.0, 16.0):
            grey = np.clip(band * (gain * 255.0 / np.iinfo(frame.dtype).max), 0, 255).astype(np.uint8)
            corners, identities, _ = detector.detectMarkers(grey)
            for corner, identity in zip(corners, () if identities is None else identities.ravel(), strict=False):
                if identity == 13:
                    ends = (cv2.TERM_CRITERIA_EPS, 30, 0.01)
                    found = cv2.cornerSubPix(grey, corner.reshape(4, 1, 2), (3, 3), (-1, -1), ends)
                    return np.asarray(found).reshape(4, 2)
    raise LookupError("no marker")


def _middles(corners: Array) -> list[tuple[Array, Array, Array]]:
    """Pixels of the middle of each panel, and of an inch to the right and downwards there."""
    side = INCHES["corner"]
    rows = []
    for (x, y), (u, v) in zip(((0, 0), (side, 0), (side, side), (0, side)), corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, -u], [0, 0, 0, x, y, 1, -v * x, -v * y, -v]]
    plane = np.linalg.svd(np.array(rows, float))[2][-1].reshape(3, 3)

    def pixel(x: float, y: float) -> Array:
        mapped = plane @ (x, y, 1.0)
        return np.asarray(mapped[:2] / mapped[2])

    places = [(x, y) for y in (0.0, side) for x in (-INCHES["odd"], side - INCHES["even"])]
    return [(pixel(*p), pixel(p[0] + 1, p[1]) - pixel(*p), pixel(p[0], p[1] + 1) - pixel(*p)) for p in places]
