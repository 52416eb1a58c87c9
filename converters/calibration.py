"""The line from numbers to reflectance in each band, by the panels of targets, and how far it may be off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from converters.bands import FILTERS
from converters.target import MARKER_ID, MARKER_SIDE, PANELS, REFLECTANCE
from converters.volume import Array
from scray.errors import BadInput

MIN_PANELS = 2
NOTED = 0.05  # of reflectance
# Numbers of 16 bits follow the light, so that panels off the line are unevenly lit; those of a JPEG follow the eye.
MOST = {255: 0.5, 65535: 0.15}


def fit(filter_name: str, means: Sequence[tuple[str, Array]], full_scale: int) -> list[dict[str, Any]]:
    """A line for each band, by least squares over the panels of all frames: reflectance = slope · number + intercept.

    Panels that are saturated or black say nothing and are left out. `uncertainty` is how far reflectance moves, at
    most, where any one of the panels or frames is left out. Raises BadInput, naming the frames, where fewer than
    MIN_PANELS are left, where the darker panel is the brighter one, or where the panels are too far off the line.
    """
    lines = []
    frames = ", ".join(name for name, _ in means)
    for channel, (band, wavelength) in enumerate(FILTERS[filter_name]):
        numbers = np.array([m[:, channel] for _, m in means])
        known = np.broadcast_to(REFLECTANCE[wavelength], numbers.shape)
        useful = (numbers > 0) & (numbers < full_scale)
        if len(np.unique(known[useful])) < MIN_PANELS:
            raise BadInput(f"The {band} band of {frames} is too bright or too dark to calibrate with.")
        slope, intercept = _line(numbers[useful], known[useful])
        if not slope > 0:
            raise BadInput(f"The grey panels in {frames} are not in the order of their brightness.")
        off = _uncertainty(numbers, known, useful)
        if off is not None and off > MOST[full_scale]:
            raise BadInput(
                f"The {band} band of {frames} cannot be calibrated: its panels are unevenly lit, reflectance might be "
                f"off by {off:.2f}. Upload another picture of the target, or leave the frame out."
            )
        said = {"band": band, "wavelength_nm": wavelength, "slope": slope, "intercept": intercept, "uncertainty": off}
        lines.append(said | {"panels_used": int(useful.sum()), "panel_numbers": numbers.ravel().tolist()})
    return lines


def _uncertainty(numbers: Array, known: Array, useful: Array) -> float | None:
    """The most that reflectance moves, from the darkest number to the brightest, where a panel or frame is left out.

    None where too few panels are left to tell.
    """
    ends = np.array([numbers.min(), numbers.max()])
    slope, intercept = _line(numbers[useful], known[useful])
    found = []
    frames, panels = np.indices(numbers.shape)
    for left_out in [*(panels == panel for panel in range(4)), *(frames == frame for frame in range(len(numbers)))]:
        kept = useful & ~left_out
        if len(np.unique(known[kept])) >= MIN_PANELS and (useful & left_out).any():
            other = _line(numbers[kept], known[kept])
            found.append(float(np.abs((slope - other[0]) * ends + intercept - other[1]).max()))
    return max(found, default=None)


def _line(x: Array, y: Array) -> tuple[float, float]:
    middle = x.mean()
    below = float(((x - middle) ** 2).sum())
    if not below:
        return 0.0, 0.0
    slope = float(((x - middle) * (y - y.mean())).sum()) / below
    return slope, float(y.mean()) - slope * float(middle)


def noted(lines: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """What is to be said of lines that are uncertain."""
    unknown = [line["band"] for line in lines if line["uncertainty"] is None]
    off = max((line["uncertainty"] or 0.0 for line in lines), default=0.0)
    notes = [f"The panels are not quite on a line: reflectance may be off by up to {off:.2f}."] if off > NOTED else []
    if unknown:
        notes.append(f"So many panels are saturated or black that nothing tells how good {', '.join(unknown)} is.")
    return notes


def told(lines: Sequence[Mapping[str, Any]], frames: Sequence[str]) -> dict[str, Any]:
    """What metadata.json says about a calibration."""
    return {
        "frames": list(frames),
        "target": {"marker": MARKER_ID, "marker_side_inches": MARKER_SIDE, "panels_inches": [list(p) for p in PANELS]},
        "panel_reflectance": {str(line["wavelength_nm"]): list(REFLECTANCE[line["wavelength_nm"]]) for line in lines},
        "formula": "reflectance = slope · number + intercept",
        "bands": [dict(line) for line in lines],
    }
