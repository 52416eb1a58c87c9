"""Targets as people photograph them: a calibration is right, or off by no more than it says, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.flights import calibrated
from converters.calibration import fit
from converters.target import panel_means
from converters.volume import Array
from scray.errors import BadInput
from tests.mapir_target import INCH, draw, photograph

SLOPE, INTERCEPT = np.array([1.7e-5, 1.5e-5, 2.1e-5]), np.array([-0.03, -0.02, -0.05])
DRAWN = draw(np.uint16, SLOPE, INTERCEPT)
REFLECTANCES = np.array([0.02, 0.2, 0.5, 0.87])
TOLERANCE = 0.02


def lines_of(photo: Array) -> tuple[Array, float]:
    """Slopes and intercepts as they are found, and how far they may be off by their own account."""
    found = fit("RGN", [("t.tif", panel_means(photo, "t.tif"))], 65535)
    return np.array([[line["slope"], line["intercept"]] for line in found]), max(x["uncertainty"] for x in found)


def off(lines: Array, exposure: float = 1.0) -> float:
    """The largest error of reflectance of what was drawn."""
    numbers = (REFLECTANCES - INTERCEPT[:, np.newaxis]) / SLOPE[:, np.newaxis] * exposure
    return float(np.abs(numbers * lines[:, :1] + lines[:, 1:] - REFLECTANCES).max())


def darkened(panels: Any, factor: float) -> Array:
    """The target with a shadow over left, right, top, bottom, in inches from the marker's corner."""
    shaded = DRAWN.copy()
    left, right, top, bottom = (int(INCH * n) for n in panels)
    shaded[4 * INCH + top : 4 * INCH + bottom, 14 * INCH + left : 14 * INCH + right] = (
        shaded[4 * INCH + top : 4 * INCH + bottom, 14 * INCH + left : 14 * INCH + right] * factor
    ).astype(np.uint16)
    return shaded


@pytest.mark.parametrize(
    "how",
    [
        *({"angle": angle} for angle in range(3, 360, 51)),
        *({"scale": scale} for scale in (0.3, 0.5, 1.3)),
        *({"lean": lean, "angle": 40} for lean in (0.4, 0.8)),
        {"blur": 3.0},
        {"noise": 0.05},
    ],
)
def test_turned_small_askew_blurred_and_noisy_targets_are_right_to_two_judges(how: dict[str, float]) -> None:
    photo = photograph(DRAWN, **how)
    lines, said = lines_of(photo)
    assert off(lines) < TOLERANCE
    assert said < TOLERANCE
    judged = calibrated([photo], "RGN")
    assert off(judged) < TOLERANCE
    assert off(lines) == pytest.approx(off(judged), abs=TOLERANCE)


@pytest.mark.parametrize("exposure", [0.1, 0.3, 1.2, 2.0, 4.0])
def test_dark_pictures_and_saturated_panels_are_right(exposure: float) -> None:
    """Noise leaves the samples of a saturated panel below full scale."""
    photo = photograph(np.clip(DRAWN * exposure, 0, 65535))
    found = fit("RGN", [("t.tif", panel_means(photo, "t.tif"))], 65535)
    lines = np.array([[line["slope"], line["intercept"]] for line in found])
    assert off(lines, exposure) < TOLERANCE
    assert (found[0]["uncertainty"] is None) == (exposure == 4.0), "of two panels nothing tells"


ALL, FIRST, SECOND, LAST = (-13, -3, -3, 8), (-11, -7, -2, 2), (-7, -3, -2, 2), (-7, -3, 3.5, 7.5)


@pytest.mark.parametrize("factor", [0.85, 0.7, 0.5, 0.3])
@pytest.mark.parametrize("panels", [ALL, FIRST, SECOND, LAST, (-11, -7, -2, 7.5), (-9, -7, -2, 2), (-11, -3, -2, 2)])
def test_shadows_are_refused_or_within_what_is_said(panels: Any, factor: float) -> None:
    """Light that is a quarter less than on the marker is refused; what is less unequal comes out in proportion."""
    try:
        lines, said = lines_of(photograph(darkened(panels, factor)))
    except BadInput as error:
        assert "t.tif" in error.message  # noqa: PT017
        return
    assert off(lines) < max(TOLERANCE, 1.2 * said, 1.1 * (1 / factor - 1) if factor > 0.75 else 0)


@pytest.mark.parametrize(("panels", "factor"), [(ALL, 0.7), (FIRST, 0.7), (SECOND, 0.5), ((-11, -7, -2, 7.5), 0.5)])
def test_deep_shadows_are_refused(panels: Any, factor: float) -> None:
    with pytest.raises(BadInput, match=r"t\.tif"):
        lines_of(photograph(darkened(panels, factor)))


@pytest.mark.parametrize(
    "photo",
    [
        photograph(DRAWN[:, ::-1]),
        photograph(DRAWN, scale=0.1),
        photograph(DRAWN, blur=12.0),
        photograph(DRAWN, noise=0.4),
        np.concatenate([photograph(DRAWN), photograph(DRAWN, 100)]),
        photograph(np.clip(DRAWN * 20.0, 0, 65535)),
        np.zeros((300, 300, 3), np.uint16),
    ],
    ids=["mirrored", "tiny", "blurred", "noisy", "two targets", "overexposed", "black"],
)
def test_what_shows_no_target_well_is_refused(photo: Array) -> None:
    with pytest.raises(BadInput, match=r"t\.tif"):
        lines_of(photo)


def test_numbers_that_follow_the_eye_are_said_to_be_uncertain() -> None:
    """JPEG of a camera: what is far off a line for 16 bits is usual there."""
    seen = photograph(np.clip((DRAWN / 65535) ** (1 / 2.2) * 65535, 0, 65535))
    with pytest.raises(BadInput, match="unevenly lit"):
        lines_of(seen)
    found = fit("RGN", [("t.jpg", panel_means((seen >> 8).astype(np.uint8), "t.jpg"))], 255)
    assert all(0.1 < line["uncertainty"] < 0.5 for line in found)
