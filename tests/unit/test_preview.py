"""Previews: something can be made out whatever the numbers are, and never more than 512 pixels a side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from converters.convert import convert
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.volume import Array

Y, X = np.mgrid[:60, :80].astype(np.float32)
WAVES = (np.sin(X / 6) * np.cos(Y / 5)).astype(np.float32)


def shown(tmp_path: Path, array: Array, **how: Any) -> Array:
    (tmp_path / "in").mkdir(exist_ok=True)
    tifffile.imwrite(tmp_path / "in" / "a.tif", array, metadata=None, **{"photometric": "minisblack", **how})
    root, files = find_files([tmp_path / "in"])
    convert(Job(root, files, "TIFF", {}), tmp_path / "out", Serial())
    with Image.open(tmp_path / "out" / "preview.png") as image:
        return np.asarray(image)


@pytest.mark.parametrize("value", [0, 7, -3.5, np.nan, np.inf])
def test_what_is_all_alike_is_one_grey_and_what_is_nothing_is_black(tmp_path: Path, value: float) -> None:
    found = shown(tmp_path, np.full((30, 40), value, np.float32))
    assert found.shape == (90, 120)
    assert (found == (128 if np.isfinite(value) else 0)).all()


@pytest.mark.parametrize("spoil", [1e30, -1e30, np.inf, np.nan])
def test_a_single_pixel_does_not_take_all_the_contrast(tmp_path: Path, spoil: float) -> None:
    array = WAVES.copy()
    array[5, 5] = spoil
    found = shown(tmp_path, array)
    assert np.corrcoef(found.ravel(), WAVES.ravel())[0, 1] > 0.99
    assert found.std() > 60


def test_a_range_wider_than_any_number_is_shown(tmp_path: Path) -> None:
    found = shown(tmp_path, np.where(X > 40, 1.7e308, -1.7e308))
    assert (found == np.where(X > 40, 255, 0)).all()


def test_what_gdal_calls_nothing_is_black_and_takes_no_contrast(tmp_path: Path) -> None:
    hole = (X - 40) ** 2 + (Y - 30) ** 2 > 500
    found = shown(tmp_path, np.where(hole, np.float32(-9999), WAVES), extratags=[(42113, "s", 0, "-9999", True)])
    assert (found[hole] == 0).all()
    assert np.corrcoef(found[~hole], WAVES[~hole])[0, 1] > 0.99


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "u8"])
def test_every_type_is_stretched(tmp_path: Path, dtype: str) -> None:
    limits = np.iinfo(dtype)
    ramp = (np.arange(100) / 99 * (limits.max // 2 - limits.min // 2) + limits.min // 2).astype(dtype)
    found = shown(tmp_path, np.tile(ramp, (50, 1)))
    assert found[0, 0] == 0
    assert found[0, -1] == 255
    assert (np.diff(found[0].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 2000), (16, 512)),
        ((2000, 1), (16, 512)),
        ((3, 5000), (16, 512)),
        ((5000, 3), (512, 16)),
        ((1, 1), (128, 16)),
    ],
)
def test_long_and_narrow_is_no_line(tmp_path: Path, shape: tuple[int, int], size: tuple[int, int]) -> None:
    assert shown(tmp_path, np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)).shape == size


def test_of_a_volume_the_middle_is_shown(tmp_path: Path) -> None:
    planes = np.stack([np.roll(WAVES, 9 * k, 1) for k in range(9)])
    found = shown(tmp_path, planes)
    best = int(np.argmax([np.corrcoef(found.ravel(), plane.ravel())[0, 1] for plane in planes]))
    assert 2 <= best <= 6


def test_colours_are_shown_as_they_are(tmp_path: Path) -> None:
    array = np.stack([X * 3, Y * 4, X + Y], -1).astype(np.uint8)
    assert np.array_equal(shown(tmp_path, array, photometric="rgb"), array)
