"""Conversion parameters: every name there is, what its values look like, and what it does. The table of the docs.

Names and kinds of values are checked wherever parameters come in; what a value means, only the conversion knows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scray.errors import BadParameter

SWITCHES = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
ARRAYS = ("HDF5", "4D_NEXUS", "NETCDF", "TIFF", "IDX")
PICTURES = ("TIFF RGB", "RGB", "MAPIR")
MAX_LETTERS = 200  # of a value that is shown in an error


@dataclass(frozen=True)
class Parameter:
    """One parameter: the sensors that heed it, its kind of value, what it does, an example.

    `choices` are all values of the kind "choice". A value that is null or "" is as good as none.
    """

    name: str
    sensors: tuple[str, ...]
    kind: str
    text: str
    example: Any
    choices: tuple[str, ...] = ()


_SCAN = (
    ("volume", "the volumes to convert"),
    ("Xs", "coordinates of the slow scan axis"),
    ("Ys", "coordinates of the fast scan axis"),
    ("presample", "intensity before the sample"),
    ("postsample", "intensity behind the sample"),
)
_NEXUS = ("4D_NEXUS",)

PARAMETERS = {
    one.name: one
    for one in (
        Parameter(
            "dataset", ARRAYS + PICTURES[:2], "names",
            "What to convert: HDF5 paths; the series of a TIFF, `series[0]`; one of several IDX headers.",
            "/entry/data/data",
        ),
        Parameter("variable", ("NETCDF", "HDF5", "4D_NEXUS"), "names", "The variables to convert.", ["air", "mask"]),
        Parameter(
            "axes", ARRAYS + PICTURES, "axes",
            "Which axis of the stored array becomes x, y, z, time or channels.", "zyx",
        ),
        Parameter(
            "time", ARRAYS + PICTURES, "axis",
            "Which axis is time, or `none`; or what time becomes: `steps`, `axis`.", 0,
        ),
        Parameter("fill", ARRAYS + PICTURES, "fill", "The number that stands for nothing in the result.", "NaN"),
        Parameter(
            "codec", ARRAYS + PICTURES + ("OTHER",), "choice", "How blocks are compressed.", "small",
            ("zip", "small", "fast", "raw"),
        ),
        Parameter(
            "profile", ARRAYS + PICTURES + ("OTHER",), "choice", "Block files, or one object a block.", "cloud",
            ("local", "cloud"),
        ),
        Parameter("repack", ("IDX",), "switch", "Write the dataset anew instead of keeping its files.", True),
        *(Parameter(name, _NEXUS, "names", f"{text[0].upper()}{text[1:]}.", f"/entry/{name}") for name, text in _SCAN),
        *(
            Parameter(f"{name}_dataset", _NEXUS, "names", f"The same as `{name}`.", f"/entry/{name}")
            for name, _ in _SCAN
        ),
        Parameter(
            "memmaps", ("4D_NEXUS", "HDF5", "NETCDF"), "switch",
            "Whether memory maps for 4-D dashboards are written beside the input.", False,
        ),
        Parameter(
            "filter", ("MAPIR",), "choice", "The camera's filter; the camera's model tells it otherwise.", "RGN",
            ("RGB", "RGN", "NGB", "OCN", "RE", "NIR"),
        ),
        Parameter("mosaic", PICTURES, "switch", "Whether photos with positions are placed as a mosaic.", False),
        Parameter("ground_altitude", PICTURES, "number", "The altitude of the ground in metres.", 312.5),
    )
}  # fmt: skip


def check(parameters: Mapping[str, Any]) -> None:
    """Raise BadParameter for an unknown parameter, listing the known ones, or a value that is none of its kind."""
    unknown = sorted(str(name) for name in set(parameters) - set(PARAMETERS))
    if unknown:
        known = ", ".join(sorted(PARAMETERS))
        raise BadParameter(f"Unknown conversion parameters: {', '.join(unknown)[:MAX_LETTERS]}. Known are: {known}.")
    for name, value in parameters.items():
        if value is not None and value != "":
            _KINDS[PARAMETERS[name].kind](PARAMETERS[name], value)


def given(parameters: Mapping[str, Any], name: str) -> Any:
    """The value of a parameter; None where there is none."""
    value = parameters.get(name)
    return None if value == "" else value


def switched(parameters: Mapping[str, Any], name: str, default: bool = False) -> bool:
    """Whether a parameter is on. Raises BadParameter for what is neither on nor off."""
    value = given(parameters, name)
    if value is None:
        return default
    _check_switch(PARAMETERS[name], value)
    return SWITCHES[_word(value)]


def unheeded(parameters: Mapping[str, Any], sensor: str) -> list[str]:
    """The parameters that were given although nothing heeds them for this sensor."""
    names = [name for name in parameters if given(parameters, name) is not None]
    return [] if sensor == "OTHER" else [name for name in names if sensor not in PARAMETERS[name].sensors]


# --- kinds of values -----------------------------------------------------------------------------


def _word(value: Any) -> str:
    return str(value).strip().lower()


def _is_name(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(str(value).strip())


def _wrong(one: Parameter, value: Any, told: str) -> BadParameter:
    shown = json.dumps(value, default=str, ensure_ascii=False)[:MAX_LETTERS]
    return BadParameter(f"{one.name}={shown}: it is {told}, like {json.dumps(one.example)}.")


def _check_names(one: Parameter, value: Any) -> None:
    if not (_is_name(value) or (isinstance(value, (list, tuple)) and value and all(map(_is_name, value)))):
        raise _wrong(one, value, "a name, or a list of names")


def _check_choice(one: Parameter, value: Any) -> None:
    if not isinstance(value, str) or (value.upper() if one.name == "filter" else value) not in one.choices:
        raise _wrong(one, value, f"one of {', '.join(one.choices)}")


def _check_switch(one: Parameter, value: Any) -> None:
    if not isinstance(value, (bool, int, str)) or _word(value) not in SWITCHES:
        raise _wrong(one, value, "true or false")


def _check_number(one: Parameter, value: Any) -> None:
    number = number_of(value)
    if number is None or not math.isfinite(number):
        raise _wrong(one, value, "a number")


def _check_axes(one: Parameter, value: Any) -> None:
    pairs = isinstance(value, Mapping) and value and all(_is_name(v) for v in value.values())
    if not pairs and not _is_name(value):
        _check_names(one, value)


def _check_axis(one: Parameter, value: Any) -> None:
    if not _is_name(value):
        raise _wrong(one, value, "steps, axis, none, or an axis by its name or number")


def _check_fill(one: Parameter, value: Any) -> None:
    number = number_of(value)
    if number is None or math.isinf(number) or (number != number and not isinstance(value, str)):
        raise _wrong(one, value, "a number, or NaN as a text")


def number_of(value: Any) -> int | float | None:
    """The number that a value is, or that its text says, integers exactly; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or len(str(value)) > MAX_LETTERS:
        return None
    for kind in (int, float):
        try:
            return kind(value) if isinstance(value, str) else value
        except ValueError:
            continue
    return None


_KINDS: dict[str, Callable[[Parameter, Any], None]] = {
    "names": _check_names,
    "choice": _check_choice,
    "switch": _check_switch,
    "number": _check_number,
    "axes": _check_axes,
    "axis": _check_axis,
    "fill": _check_fill,
}


def table() -> str:
    """All parameters, in Markdown."""
    rows = ["| parameter | sensors | value | what it does | example |", "|---|---|---|---|---|"]
    for one in PARAMETERS.values():
        value = ", ".join(f"`{choice}`" for choice in one.choices) or _VALUES[one.kind]
        sensors = "all" if "OTHER" in one.sensors else ", ".join(one.sensors)
        rows.append(f"| `{one.name}` | {sensors} | {value} | {one.text} | `{json.dumps({one.name: one.example})}` |")
    return "\n".join([*rows, ""])


_VALUES = {
    "names": "a name, a comma list, a list",
    "switch": "`true`, `false`",
    "number": "a number",
    "axes": "see [axes](axes.md)",
    "axis": "see [axes](axes.md)",
    "fill": "a number, `NaN` as a text",
}
