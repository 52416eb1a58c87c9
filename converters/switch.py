"""Conversion parameters that are on or off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scray.errors import BadParameter

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def switched(parameters: Mapping[str, Any], name: str) -> bool:
    """Whether a parameter is on; absent means off. Raises BadParameter for what is neither."""
    value = parameters.get(name)
    if value in (None, ""):
        return False
    on = _WORDS.get(str(value).strip().lower())
    if on is None:
        raise BadParameter(f"{name}={value!r}: it is true or false.")
    return on
