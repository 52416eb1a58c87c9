"""A picture of a reflectance target: its fiducial, its four grey patches, and the line from numbers to reflectance.

The target is MAPIR's reflectance target of version 2: an ArUco marker beside four diffuse panels. Where the panels lie
and what they reflect are the maker's measurements. Deterministic: the same picture gives the same line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from converters.bands import FILTERS
from converters.volume import Array
from scray.errors import BadInput

MARKER_ID = 13  # of the dictionary of 4×4 bits
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
MIN_PANELS = 2


def panel_means(picture: Array, name: str) -> Array:
    """The mean numbers of the four panels, (4, bands) float64; raises BadInput, naming the frame, without a target."""
    bands = picture.reshape(*picture.shape[:2], -1)
    corners = _marker(bands, name)
    samples = np.stack([_panel(bands, corners, panel, name) for panel in PANELS])
    means: Array = samples.mean(axis=1)
    spread = samples.std(axis=1).max(axis=0)
    reach = means[0] - means[3]
    if not (reach > 0).all() or (spread > MAX_SPREAD * reach).any():
        raise BadInput(
            f"The calibration target in {name} has no four even grey panels beside its marker: "
            "they are covered, in shadow or another kind of target."
        )
    return means


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


def _panel(bands: Array, corners: Array, panel: tuple[float, float], name: str) -> Array:
    """The numbers at a grid of points around the middle of a panel, (points, bands) float64."""
    import cv2

    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * np.float32(MARKER_SIDE)
    to_pixels = cv2.getPerspectiveTransform(square, corners.astype(np.float32))
    offsets = np.linspace(-SAMPLE_SIDE / 2, SAMPLE_SIDE / 2, SAMPLE_POINTS)
    x, y = np.meshgrid(panel[0] + offsets, panel[1] + offsets)
    mapped = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], -1) @ to_pixels.T
    at = np.rint(mapped[:, :2] / mapped[:, 2:]).astype(np.int64)
    if not ((at >= 0) & (at < bands.shape[1::-1])).all():
        raise BadInput(f"The grey panels of the calibration target in {name} are not all in the picture.")
    return bands[at[:, 1], at[:, 0]].astype(np.float64)


def fit(filter_name: str, means: Sequence[tuple[str, Array]], full_scale: int) -> list[dict[str, Any]]:
    """A line for each band, by least squares over the panels of all frames: reflectance = slope · number + intercept.

    Panels that are saturated or black say nothing and are left out. Raises BadInput, naming the frames, where fewer
    than MIN_PANELS are left, or where the darker panel is the brighter one.
    """
    lines = []
    frames = ", ".join(name for name, _ in means)
    for channel, (band, wavelength) in enumerate(FILTERS[filter_name]):
        numbers = np.concatenate([m[:, channel] for _, m in means])
        known = np.tile(np.array(REFLECTANCE[wavelength]), len(means))
        useful = (numbers > 0) & (numbers < full_scale)
        if len(np.unique(known[useful])) < MIN_PANELS:
            raise BadInput(f"The {band} band of {frames} is too bright or too dark to calibrate with.")
        slope, intercept = _line(numbers[useful], known[useful])
        if not slope > 0:
            raise BadInput(f"The grey panels in {frames} are not in the order of their brightness.")
        said = {"band": band, "wavelength_nm": wavelength, "slope": slope, "intercept": intercept}
        lines.append(said | {"panels_used": int(useful.sum()), "panel_numbers": numbers.tolist()})
    return lines


def _line(x: Array, y: Array) -> tuple[float, float]:
    middle = x.mean()
    below = float(((x - middle) ** 2).sum())
    if not below:
        return 0.0, 0.0
    slope = float(((x - middle) * (y - y.mean())).sum()) / below
    return slope, float(y.mean()) - slope * float(middle)


def told(lines: Sequence[Mapping[str, Any]], frames: Sequence[str]) -> dict[str, Any]:
    """What metadata.json says about a calibration."""
    return {
        "frames": list(frames),
        "target": {"marker": MARKER_ID, "marker_side_inches": MARKER_SIDE, "panels_inches": [list(p) for p in PANELS]},
        "panel_reflectance": {str(line["wavelength_nm"]): list(REFLECTANCE[line["wavelength_nm"]]) for line in lines},
        "formula": "reflectance = slope · number + intercept",
        "bands": [dict(line) for line in lines],
    }
