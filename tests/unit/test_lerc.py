"""LERC in TIFF: samples that are no numbers, an alpha of two values, and either byte order, as libtiff defines them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from converters.lerc import LERC, PARAMETERS
from converters.volume import Array
from tests.formats import pattern
from tests.quirks import same
from tests.tiffs import Page, grey, tiff
from tests.unit.test_quirks_tiff import found

HEIGHT, WIDTH = 12, 17
HOLES = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 5 > 0


def one(blob: bytes | bytearray, samples: int, bits: int, form: int, order: str = "<", packed: int = 0) -> bytes:
    """A TIFF of one strip of LERC."""
    tags: dict[int, Any] = grey(WIDTH, HEIGHT, t259=LERC, t277=samples)
    tags |= {258: ("H", [bits] * samples), 339: ("H", [form] * samples), PARAMETERS: ("I", [4, packed])}
    return tiff(Page(tags, [bytes(blob)]), order=order)


def floats(samples: int, dtype: str = "<f4") -> Array:
    return np.arange(HEIGHT * WIDTH * samples, dtype=dtype).reshape(HEIGHT, WIDTH, samples)


def holed(values: Array) -> Array:
    return np.where(HOLES[..., np.newaxis], values, values.dtype.type(np.nan))


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("packed", [0, 1, 2])
def test_what_is_no_number_is_nan(tmp_path: Path, dtype: str, packed: int) -> None:
    values = floats(1, dtype)
    blob = imagecodecs.lerc_encode(values[..., 0], masks=HOLES, version=4)
    if packed:
        blob = imagecodecs.zlib_encode(blob) if packed == 1 else imagecodecs.zstd_encode(blob)
    data = one(blob, 1, values.itemsize * 8, 3, packed=packed)
    got = found(tmp_path, "TIFF", data)
    same(np.asarray(got), holed(values))


def test_samples_of_a_pixel_with_a_mask_each(tmp_path: Path) -> None:
    values, masks = floats(3), np.stack([HOLES, ~HOLES, np.ones_like(HOLES)])
    bands = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    blob = imagecodecs.lerc_encode(bands, masks=masks, version=4, planar=True)
    expected = np.where(np.moveaxis(masks, 0, -1), values, np.float32(np.nan))
    same(np.asarray(found(tmp_path, "TIFF", one(blob, 3, 32, 3))), expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_samples_behind_each_other(tmp_path: Path, order: str) -> None:
    values = pattern((HEIGHT, WIDTH, 2), "<u2")
    blob = imagecodecs.lerc_encode(values.astype(f"{order}u2").view("<u2"), version=4, planar=False)
    same(np.asarray(found(tmp_path, "TIFF", one(blob, 2, 16, 1, order))), values)


def test_an_alpha_of_two_values_is_the_mask(tmp_path: Path) -> None:
    values = pattern((HEIGHT, WIDTH), "u1")
    blob = imagecodecs.lerc_encode(values, masks=HOLES, version=4)
    got = np.asarray(found(tmp_path, "TIFF", one(blob, 2, 8, 1)))
    same(got[..., 1], np.uint8(255) * HOLES)
    same(got[..., 0][HOLES], values[HOLES])


def test_integers_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    blob = imagecodecs.lerc_encode(pattern((HEIGHT, WIDTH), "<u2"), masks=HOLES, version=4)
    assert found(tmp_path, "TIFF", one(blob, 1, 16, 1)) == "unsupported"


@pytest.mark.parametrize("samples", [2, 4])
def test_another_number_of_samples_is_refused(tmp_path: Path, samples: int) -> None:
    blob = imagecodecs.lerc_encode(pattern((HEIGHT, WIDTH, 3), "<u2"), version=4, planar=False)
    assert found(tmp_path, "TIFF", one(blob, samples, 16, 1)) == "bad-input"
