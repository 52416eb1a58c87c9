"""A picture of a reflectance target: its fiducial, and the numbers of its four grey patches.

The target is MAPIR's reflectance target of version 2: an ArUco marker beside four diffuse panels. Where the panels lie
and what they reflect are the maker's measurements. Deterministic: the same picture gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.volume import Array
from scray.errors import BadInput

MARKER_ID = 13  # of the dictionary of 4×4 bits
CELLS = 6  # a side of the marker, its border included
MARKER_SIDE = 5.5  # inches, over the black border, corner to corner
SAMPLE_SIDE = 0.75  # inches around the middle of a panel that are averaged
SAMPLE_POINTS = 25  # a side
# Middles of the panels in inches from the marker's first corner: x along its upper edge, y along its left edge.
# Panels 1 and 3 are 9 inches from the left corners, 2 and 4 are 10.5 inches from the right ones, all to its left.
PANELS = ((-9.0, 0.0), (-5.0, 0.0), (-9.0, 5.5), (-5.0, 5.5))
# What the panels reflect at a wavelength (nm), a fraction of the light: brightest first.
REFLECTANCE: dict[int, tuple[float, float, float, float]] = {
    475: (0.8348841674, 0.2580074987, 0.1890252099, 0.0197570300),
    490: (0.8414604806, 0.2594283565, 0.1897271608, 0.0197180224),
    550: (0.8689592421, 0.2656248359, 0.1961875592, 0.0195576511),
    615: (0.8751529643, 0.2673261446, 0.2007025375, 0.0192817427),
    660: (0.8775934407, 0.2661207692, 0.1987265874, 0.0192249327),
    725: (0.8688518306, 0.2630255375, 0.2127410974, 0.0195510206),
    808: (0.8687829080, 0.2784539900, 0.2298671821, 0.0211305297),
    850: (0.8653063177, 0.2798126291, 0.2337498097, 0.0193295348),
}
MAX_SPREAD = 0.15  # of a panel's numbers, as a part of the range between brightest and darkest panel
NEAR_FULL = 0.98  # noise leaves the samples of a saturated panel a little below full scale
MAX_CLIPPED = 0.01  # of a panel's samples
MIN_OF_WHITE = 0.75  # brightest panel against the marker's white, which reflects no more than all: less is shadow


def panel_means(picture: Array, name: str) -> Array:
    """The mean numbers of the four panels, (4, bands) float64; 0 where a panel is black, full scale where saturated.

    `picture` is uint8 or uint16. Raises BadInput, naming the frame, without a target, and where its panels are not
    evenly lit, each and all together.
    """
    bands = picture.reshape(*picture.shape[:2], -1)
    full = np.iinfo(bands.dtype).max
    corners = _marker(bands, name)
    samples = np.stack([_around(bands, corners, panel, SAMPLE_SIDE, name) for panel in PANELS])
    means: Array = samples.mean(axis=1)
    means[(samples >= NEAR_FULL * full).mean(axis=1) > MAX_CLIPPED] = full
    means[(samples == 0).mean(axis=1) > MAX_CLIPPED] = 0
    spread = samples.std(axis=1).max(axis=0)
    reach = means[0] - means[3]
    if not (reach > 0).all() or (spread > MAX_SPREAD * reach).any() or (np.diff(means, axis=0) > 0).any():
        raise BadInput(
            f"The calibration target in {name} has no four even grey panels beside its marker: "
            "they are covered, in shadow or another kind of target."
        )
    if (means[0] < MIN_OF_WHITE * _white(bands, corners, name)).any():
        raise BadInput(
            f"The panels of the calibration target in {name} are darker than its marker: they are in the shadow of "
            "something. Upload another picture of the target, or leave the frame out."
        )
    return means


def _white(bands: Array, corners: Array, name: str) -> Array:
    """The number of the marker's white in each band."""
    import cv2

    cells = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50), MARKER_ID, CELLS)
    side = MARKER_SIDE / CELLS
    middles = [((x + 0.5) * side, (y + 0.5) * side) for y, x in np.argwhere(cells)]
    white: Array = np.median([_around(bands, corners, at, side / 4, name).mean(axis=0) for at in middles], axis=0)
    return white


def _marker(bands: Array, name: str) -> Array:
    """The corners of the marker in pixels (x, y), clockwise from its own upper left."""
    import cv2

    cv2.setNumThreads(1)
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    detector = cv2.aruco.ArucoDetector(dictionary, settings)
    for grey in _greys(bands):
        corners, ids, _ = detector.detectMarkers(grey)
        found = [] if ids is None else [c for c, i in zip(corners, ids.ravel(), strict=True) if i == MARKER_ID]
        if len(found) > 1:
            raise BadInput(f"{name} shows {len(found)} calibration targets; one is needed.")
        if found:
            return np.asarray(found[0], np.float64).reshape(4, 2)
    raise BadInput(
        f"No calibration target was found in {name}: its marker (ArUco 4×4, number {MARKER_ID}) is not to be seen. "
        "Upload another picture of the target, or leave the frame out."
    )


def _greys(bands: Array) -> Sequence[Array]:
    """The picture in grey, 8 bits: by its mean, stretched, and cut in two halfway."""
    mean = bands.mean(axis=2)
    top = np.iinfo(bands.dtype).max if bands.dtype.kind in "iu" else max(float(mean.max()), 1e-9)
    low, high = (float(v) for v in np.percentile(mean, (1, 99)))
    plain = (mean * (255 / top)).astype(np.uint8)
    if high <= low:
        return [plain]
    stretched = (np.clip((mean - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return [plain, stretched, np.where(stretched > 127, 255, 0).astype(np.uint8)]


def _around(bands: Array, corners: Array, middle: tuple[float, float], side: float, name: str) -> Array:
    """The numbers at a grid of points in a square, all in inches, (points, bands) float64."""
    import cv2

    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * np.float32(MARKER_SIDE)
    to_pixels = cv2.getPerspectiveTransform(square, corners.astype(np.float32))
    offsets = np.linspace(-side / 2, side / 2, SAMPLE_POINTS)
    x, y = np.meshgrid(middle[0] + offsets, middle[1] + offsets)
    mapped = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], -1) @ to_pixels.T
    at = np.rint(mapped[:, :2] / mapped[:, 2:]).astype(np.int64)
    if not ((at >= 0) & (at < bands.shape[1::-1])).all():
        raise BadInput(f"The grey panels of the calibration target in {name} are not all in the picture.")
    return bands[at[:, 1], at[:, 0]].astype(np.float64)
