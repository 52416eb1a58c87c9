"""GDAL's "no data" of a TIFF page (tag 42113): a number as text, and what it is among samples of the page's type.

The library's own reading of it takes 32767 of int16 and the lowest float32 for 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

GDAL_NODATA = 42113


def sample_for_nothing(page: Any, dtype: np.dtype[Any]) -> float | None:
    """The finite number of the type `dtype` that stands for nothing; None where the page has none, or none of it."""
    said = _said(page)
    if said is None or not math.isfinite(said):
        return None
    sample = _cast(said, dtype)
    known = np.isfinite(sample) if dtype.kind in "fc" else sample == said
    return float(sample.real) if known else None


def left_out(page: Any, dtype: np.dtype[Any]) -> Any:
    """The sample that GDAL reads where a tile was left out: "no data", as near as the type has it, else 0."""
    said = _said(page)
    return _cast(0 if said is None else said, dtype)


def _said(page: Any) -> int | float | None:
    text = page.tags[GDAL_NODATA].value if GDAL_NODATA in page.tags else None
    for read in (int, float):
        try:
            return read(str(text).strip("\0 ").replace(",", "."))
        except ValueError:
            continue
    return None


def _cast(number: float, dtype: np.dtype[Any]) -> Any:
    """To the nearest number that the type has, NaN to 0 where it has none (GDALCopyWords)."""
    if dtype.kind in "fc":
        with np.errstate(over="ignore"):
            return np.float64(number).astype(dtype)
    if math.isnan(number):
        return dtype.type(0)
    low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    bounded = min(max(number, low), high)
    return dtype.type(math.floor(bounded + 0.5) if isinstance(bounded, float) else bounded)
