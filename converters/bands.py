"""Survey3 filters: which band each channel records, how numbers become reflectance, and the indices of band pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.volume import Array
from scray.errors import BadParameter

# For each filter, what the channels of a picture record, in the order red, green, blue: name and wavelength (nm).
# A filter of one band records it in its first channel.
FILTERS: dict[str, tuple[tuple[str, int], ...]] = {
    "RGB": (("red", 660), ("green", 550), ("blue", 475)),
    "RGN": (("red", 660), ("green", 550), ("nir", 850)),
    "NGB": (("nir", 850), ("green", 550), ("blue", 475)),
    "OCN": (("orange", 615), ("cyan", 490), ("nir", 808)),
    "RE": (("red_edge", 725),),
    "NIR": (("nir", 850),),
}
SOIL = 0.5  # L of the soil-adjusted vegetation index (Huete 1988); only reflectance has its scale


@dataclass(frozen=True)
class Index:
    """(1 + soil) (first - second) / (first + second + soil); a normalised difference where soil is 0."""

    first: str
    second: str
    soil: float = 0.0


INDICES: dict[str, dict[str, Index]] = {
    "RGB": {"ngrdi": Index("green", "red")},
    "RGN": {
        "ndvi": Index("nir", "red"),
        "gndvi": Index("nir", "green"),
        "ndwi": Index("green", "nir"),
        "savi": Index("nir", "red", SOIL),
    },
    "NGB": {"bndvi": Index("nir", "blue"), "gndvi": Index("nir", "green"), "ndwi": Index("green", "nir")},
    "OCN": {"ndvi": Index("nir", "orange"), "cndvi": Index("nir", "cyan"), "savi": Index("nir", "orange", SOIL)},
}
_MODEL = re.compile(r"Survey[0-9][A-Z]?[ _-]([A-Z]+)", re.IGNORECASE)


def filter_named(value: Any) -> str:
    """A filter that the parameter `filter` names; raises BadParameter, listing the known ones."""
    name = str(value).strip().upper()
    if name not in FILTERS:
        raise BadParameter(f"filter={value!r}: it is one of {', '.join(FILTERS)}.")
    return name


def filter_of(model: str) -> str:
    """The filter that a camera's model tells ("Survey3W_RGN"); "" where it tells none that is known."""
    match = _MODEL.match(model)
    name = match.group(1).upper() if match else ""
    return name if name in FILTERS else ""


def channel_of(filter_name: str, band: str) -> int:
    """Which channel records a band."""
    return [name for name, _ in FILTERS[filter_name]].index(band)


def indices_of(filter_name: str, *, calibrated: bool) -> dict[str, Index]:
    """The indices that a filter's bands allow; those that need reflectance only where there is some."""
    found = INDICES.get(filter_name, {})
    return {name: index for name, index in found.items() if calibrated or not index.soil}


def reflectance(numbers: Array, line: Mapping[str, float]) -> Array:
    """slope · number + intercept, float64; nothing is clipped: a bright roof may exceed 1, a shadow fall below 0."""
    return numbers.astype(np.float64) * line["slope"] + line["intercept"]


def normalised(first: Array, second: Array, soil: float) -> Array:
    """An index of two bands, float32; NaN where both are 0 together with the soil."""
    one, other = first.astype(np.float64), second.astype(np.float64)
    below = one + other + soil
    known = below != 0
    result = np.full(below.shape, np.nan)
    np.divide((1 + soil) * (one - other), below, out=result, where=known)
    return result.astype(np.float32)
