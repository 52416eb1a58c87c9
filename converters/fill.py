"""The parameter `fill`: one number that stands for nothing in the result, in place of those of the file.

What a file calls nothing are its `_FillValue`, `missing_value`, `fill_value`, and the fill value of its format. Where
samples have one of these, `fill` is read; preview and statistics leave it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from converters.volume import Source, Volume
from scray.errors import BadParameter
from scray.parameters import given, number_of

FILLS = ("_FillValue", "missing_value", "fill_value")
OPTION = "fill"  # of a volume: the fill value of its format, as text


def filled(source: Source, parameters: Mapping[str, Any]) -> Source:
    """The source with `fill` for nothing, where it is given.

    The principal array has to hold the number, and so does every other one that has a fill value. Raises BadParameter.
    """
    value = given(parameters, "fill")
    if value is None:
        return source
    first, *others = source.volumes
    volumes = [_filled(first, value), *(_filled(v, value) if declared(v) else v for v in others)]
    return replace(source, volumes=tuple(volumes))


def _filled(volume: Volume, value: Any) -> Volume:
    text = _held(number_of(value), volume.dtype)
    if text is None:
        kind = np.dtype(volume.dtype).name
        raise BadParameter(f"fill={value}: {volume.selector} holds {kind}, which cannot be {value}.")
    return replace(volume, fill=text, nothing=tuple(one for one in declared(volume) if one != text))


def declared(volume: Volume) -> tuple[str, ...]:
    """The numbers that stand for nothing in the file, as text, each once."""
    said = [volume.attributes.get(name) for name in FILLS] + [volume.options.get(OPTION)]
    texts = [_held(_stored(number_of(one), volume), volume.dtype) for value in said for one in _each(value)]
    return tuple(dict.fromkeys(text for text in texts if text is not None))


def _stored(number: float | None, volume: Volume) -> float | None:
    """The number as it is stored: of what NetCDF means as unsigned (`_Unsigned`) 255 is the byte -1."""
    kind = np.dtype(volume.dtype)
    above = 1 << (8 * kind.itemsize - 1)
    unsigned = kind.kind == "i" and str(volume.attributes.get("_Unsigned", "")).lower() == "true"
    return number - 2 * above if unsigned and number is not None and above <= number < 2 * above else number


def _each(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else [value]


def _held(number: float | None, dtype: str) -> str | None:
    """The number as this type holds it, as text; None where it cannot."""
    kind = np.dtype(dtype)
    if number is None:
        return None
    if kind.kind in "iu":
        whole = isinstance(number, int) or number.is_integer()
        info = np.iinfo(kind)
        return str(int(number)) if whole and int(info.min) <= number <= int(info.max) else None
    with np.errstate(over="ignore"):
        held = float(kind.type(number))
    return None if np.isinf(held) else repr(held)


def fill_of(volume: Volume) -> Any:
    """The number that `fill` asked for; None where it did not."""
    return np.dtype(volume.dtype).type(volume.fill) if volume.fill else None


def told(volume: Volume) -> dict[str, Any]:
    """What metadata.json says of it, numbers as text."""
    return {"fill": {"value": volume.fill, "instead_of": list(volume.nothing)}} if volume.fill else {}
