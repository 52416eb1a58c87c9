"""The variables of a NetCDF file and what each is for: data, coordinate, bounds or text (CF conventions 1.11)."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.jsonsafe import json_array, json_safe
from converters.samples import is_numeric
from scray.errors import TooLarge

MAX_VARIABLES = 20_000
MAX_COORDINATE = 100_000
MAX_COORDINATES = 300_000  # values written down, all coordinates together
POSITIONS = frozenset({"latitude", "longitude"})
DEGREES = re.compile(r"degrees?_?(north|east|n|e)", re.IGNORECASE)  # CF conventions 1.11, 4.1 and 4.2
BOUNDS = frozenset({"bounds", "climatology", "grid_mapping"})


@dataclass(frozen=True)
class Variable:
    """One variable: `path` without a leading slash, dimensions by full name, its attributes JSON-safe."""

    path: str
    item: Any
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def samples(self) -> int:
        return math.prod(self.shape)

    @property
    def numeric(self) -> bool:
        return is_numeric(self.dtype)

    @property
    def long_axes(self) -> int:
        """How many axes are longer than 1."""
        return sum(n > 1 for n in self.shape)

    @property
    def is_axis(self) -> bool:
        """Whether this is the coordinate of its own dimension."""
        return len(self.dims) == 1 and self.dims[0].rsplit("/", 1)[-1] == self.name

    @property
    def is_position(self) -> bool:
        return is_position(self.attributes)

    @property
    def is_time(self) -> bool:
        """Whether these are times, as CF says it: units "… since …", axis T, or the standard name; or "day as %Y…"."""
        said = self.attributes
        units = str(said.get("units", "")).lower()
        return (
            " since " in units
            or units.startswith("day as %y")
            or said.get("axis") == "T"
            or said.get("standard_name") == "time"
        )


def is_position(said: Mapping[str, Any]) -> bool:
    """Whether a variable of these attributes holds latitudes or longitudes, as CF says it."""
    return said.get("standard_name") in POSITIONS or bool(DEGREES.fullmatch(str(said.get("units", ""))))


def variables(dataset: Any) -> Iterator[Variable]:
    """Every variable of every group, in the order of the file; raises TooLarge past the limit."""
    queue = deque([("", dataset)])
    count = 0
    while queue:
        prefix, group = queue.popleft()
        for name, item in group.variables.items():
            count += 1
            if count > MAX_VARIABLES:
                raise TooLarge(f"The file has more than {MAX_VARIABLES} variables.")
            yield _variable(prefix + name, item)
        queue.extend((f"{prefix}{name}/", child) for name, child in group.groups.items())


def _variable(path: str, item: Any) -> Variable:
    dims = tuple(_full_name(d) for d in item.get_dims())
    ragged = not isinstance(item.dtype, np.dtype) or getattr(item, "_isvlen", False)
    dtype = np.dtype(object) if ragged else item.dtype
    return Variable(path, item, dims, tuple(int(n) for n in item.shape), dtype, attributes(item))


def _full_name(dimension: Any) -> str:
    path = dimension.group().path.strip("/")
    return f"{path}/{dimension.name}" if path else str(dimension.name)


def attributes(item: Any) -> dict[str, Any]:
    """All attributes of a variable or group, JSON-safe; what cannot be read says so."""
    found: dict[str, Any] = {}
    for key in item.ncattrs()[:1000]:
        try:
            found[key] = json_safe(item.getncattr(key))
        except Exception as error:
            found[key] = json_safe(f"unreadable: {error}")
    return found


def data_variables(every: list[Variable]) -> list[Variable]:
    """The variables to convert: the data, in the order of the file, then their coordinates of two axes or more.

    Data are those of two axes or more that are neither coordinates nor bounds; where there is none, those of one
    axis; where there is none, whatever numbers are left.
    """
    numeric = [v for v in every if v.numeric and v.samples]
    known = {v.path for v in every}
    coordinates = coordinate_paths(every)
    bounds = {path for v in every for path in _referred(v, known, BOUNDS.__contains__)}
    plain = [v for v in numeric if not v.is_axis and v.path not in coordinates | bounds and not _looks_like_bounds(v)]
    data = (
        [v for v in plain if len(v.shape) > 1 and v.long_axes > 1]
        or [v for v in plain if len(v.shape) > 1]
        or [v for v in plain if v.shape]
        or [v for v in numeric if len(v.shape) > 1]
        or [v for v in numeric if v.shape]
        or numeric
    )
    data.sort(key=lambda v: v.is_position or v.is_time)
    paths = {v.path for v in data}
    return data + [v for v in numeric if v.path in coordinates - paths and len(v.shape) > 1]


def coordinate_paths(every: list[Variable]) -> set[str]:
    """The variables that others name as their coordinates, and positions in two axes or more, named or not."""
    known = {v.path for v in every}
    bounds = {path for v in every for path in _referred(v, known, BOUNDS.__contains__)}
    positions = {v.path for v in every if len(v.shape) > 1 and v.is_position and not _looks_like_bounds(v)}
    return {path for v in every for path in _referred(v, known, _is_coordinate_key)} | positions - bounds


def _is_coordinate_key(key: str) -> bool:
    """CF's list of coordinates, or what a mesh topology is made of (UGRID conventions 1.0)."""
    return key == "coordinates" or key.endswith(("_coordinates", "_connectivity"))


def _referred(variable: Variable, known: set[str], wanted: Callable[[str], bool]) -> Iterator[str]:
    """The other variables that the attributes of one name, looked for in its group, then in those around it."""
    words = [w for key, value in variable.attributes.items() if wanted(key) for w in str(value).split()]
    for word in words[:1000]:
        group = variable.path.rpartition("/")[0]
        name = word.rstrip(":").strip("/")
        while group and f"{group}/{name}" not in known:
            group = group.rpartition("/")[0]
        path = f"{group}/{name}" if group else name
        if path in known and path != variable.path:
            yield path


def _looks_like_bounds(variable: Variable) -> bool:
    return variable.name.endswith(("_bnds", "_bounds")) and bool(variable.shape) and variable.shape[-1] <= 4


def time_axis(variable: Variable, axes: dict[str, Variable]) -> int | None:
    """Which axis is time, where at least two others are left to look at; `axes` are the coordinates by dimension."""
    for i, length in enumerate(variable.shape):
        if _of_time(variable.dims[i], axes):
            return i if variable.long_axes - (length > 1) >= 2 else None
    return None


def is_series(variable: Variable, axes: dict[str, Variable]) -> bool:
    """Whether the first axis is time, and too little is left to look at."""
    return bool(variable.dims) and _of_time(variable.dims[0], axes) and time_axis(variable, axes) is None


def _of_time(dim: str, axes: dict[str, Variable]) -> bool:
    coordinate = axes.get(dim)
    named = dim.rsplit("/", 1)[-1].lower() == "time"
    return (coordinate.is_time or (named and not coordinate.attributes.get("units"))) if coordinate else named


def coordinates(every: list[Variable], hollow: Collection[str] = ()) -> dict[str, Any]:
    """The coordinates and other small arrays of one axis, with attributes and, but of the hollow, values, by path."""
    found: dict[str, Any] = {}
    left = MAX_COORDINATES
    for variable in every:
        if len(variable.shape) > 1 or not variable.numeric or variable.dtype.names or not variable.samples:
            continue
        told: dict[str, Any] = {"dimensions": list(variable.dims), "attributes": variable.attributes}
        if variable.samples <= min(left, MAX_COORDINATE) and variable.path not in hollow:
            left -= variable.samples
            told["values"] = _values(variable)
        found[variable.path] = told
    return found


def _values(variable: Variable) -> Any:
    try:
        return json_array(np.asarray(variable.item[...]))
    except Exception as error:
        return json_safe(f"unreadable: {error}")
