"""Which format module reads an input: the sensor guides, the content decides.

Adding a format is one module with `probe` and `open_volume`, and one line in `converters.kinds`.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from converters.axes import arranged
from converters.fill import filled
from converters.kinds import KINDS
from converters.natural import natural_key
from converters.other import package
from converters.sniff import kind_of
from converters.visible import lies_beside, visible
from converters.volume import Reader, Source, Volume
from scray.errors import BadParameter, EmptyInput, MixedInput, NothingToConvert, Unsupported, WrongSensor
from scray.parameters import check, given, unheeded
from scray.sensors import read_sensor
from scray.storage import inside

_REWRITING = ("axes", "time", "fill", "codec", "profile")  # parameters that need volumes
_PICTURES = ("jpeg", "png", "tiff")
_PICTURE_NAMES = frozenset({".tif", ".tiff", ".jpg", ".jpeg", ".png"})
_MODULES_OF_SENSORS = {"mapir", "nexus"}  # which read what another module reads too
_PICTURE_SENSORS = {"RGB": "rgb", "TIFF RGB": "rgb", "MAPIR": "mapir"}

# Whose parameters a module heeds where the sensor stands for something else.
_SENSORS_OF_MODULES = {"tiff": "TIFF", "hdf5": "HDF5", "netcdf": "NETCDF", "idx": "IDX", "rgb": "RGB"}

# What each sensor expects to find (kinds of content, best first) and the names such files usually have.
_SENSORS: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "TIFF": (("tiff",), frozenset({".tif", ".tiff"})),
    "TIFF RGB": (_PICTURES, _PICTURE_NAMES),
    "RGB": (_PICTURES, _PICTURE_NAMES),
    "MAPIR": (_PICTURES, _PICTURE_NAMES),
    "HDF5": (("hdf5",), frozenset({".h5", ".hdf5", ".hdf", ".nxs", ".he5", ".nwb"})),
    "4D_NEXUS": (("hdf5",), frozenset({".nxs", ".h5", ".hdf5", ".hdf"})),
    "NETCDF": (("netcdf", "hdf5"), frozenset({".nc", ".nc4", ".cdf", ".mnc", ".nc3"})),
    "IDX": (("idx", "midx"), frozenset({".idx", ".midx"})),
    "OTHER": ((), frozenset()),
}


def probe(sensor: str, root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    """The Source in these files (relative to `root`), by content; hidden files and `__MACOSX` are left out.

    Raises BadParameter for an unknown parameter, EmptyInput for no data, WrongSensor where the content is nothing
    that this sensor, or any other that is safe to assume, can stand for, MixedInput where it is several of these, and
    what the format's module raises. What sensor OTHER cannot convert is kept as it is.
    """
    sensor = read_sensor(sensor)
    check(parameters)
    if sensor not in _SENSORS:
        raise Unsupported(f"The sensor {sensor} cannot be converted yet.")
    names = tuple(sorted(filter(visible, files), key=natural_key))
    if not names:
        raise EmptyInput("There is no file in the dataset.")
    every = frozenset(names)
    kinds = {name: kind_of(inside(root, Path(name))) for name in names if not lies_beside(name, every)}
    try:
        return _recognised(sensor, root, names, kinds, parameters)
    except (Unsupported, NothingToConvert, MixedInput) as error:
        if sensor != "OTHER":
            raise
        return package(names, error.message, parameters)


def _recognised(
    sensor: str, root: Path, names: tuple[str, ...], kinds: Mapping[str, str], parameters: Mapping[str, Any]
) -> Source:
    wanted, suffixes = _SENSORS[sensor]
    _check_names(kinds, wanted, suffixes, sensor)
    kind = next((kind for kind in wanted if kind in kinds.values()), None) or _other_kind(kinds, sensor)
    module, chosen = _module(sensor, kind, root, names, kinds)
    note = (
        () if kind in wanted or not wanted else (f"The content is {KINDS[kind].told}, not what {sensor} stands for.",)
    )
    if (sensor, module.__name__) == ("NETCDF", "converters.hdf5"):
        note = ("The content is an HDF5 file without the dimensions that NetCDF gives its variables.",)
    source: Source = module.probe(root, chosen, parameters)
    source = filled(arranged(source, parameters), parameters) if source.volumes else _kept(source, parameters)
    heeding = sensor if kind in wanted else _SENSORS_OF_MODULES.get(module.__name__.rsplit(".")[-1], sensor)
    idle = [f"{name} changed nothing: sensor {heeding} does not heed it." for name in unheeded(parameters, heeding)]
    return replace(source, notes=(*note, *idle, *_ignored(names, chosen), *source.notes))


def _kept(source: Source, parameters: Mapping[str, Any]) -> Source:
    """Files that are kept as they are; raises BadParameter for what would change them."""
    wished = [name for name in _REWRITING if given(parameters, name) is not None]
    if wished:
        raise BadParameter(f"{', '.join(wished)}: an IDX dataset is kept as it is; repack=true writes it anew.")
    return source


def open_volume(root: Path, volume: Volume) -> Reader:
    """A reader of a volume, by its format."""
    if volume.format not in _MODULES_OF_SENSORS | {kind.module for kind in KINDS.values()}:
        raise Unsupported(f"There is no reader of {volume.format!r}.")
    reader: Reader = importlib.import_module(f"converters.{volume.format}").open_volume(root, volume)
    return reader


def _check_names(kinds: Mapping[str, str], wanted: tuple[str, ...], suffixes: frozenset[str], sensor: str) -> None:
    """A file that by its name should be data but is not must not silently be left out of a stack."""
    if set(kinds.values()) == {"empty"}:
        first, many = next(iter(kinds)), len(kinds)
        raise EmptyInput(f"{first} is empty." if many == 1 else f"All {many} files are empty, like {first}.")
    if not set(wanted) & set(kinds.values()):
        return
    for name, kind in kinds.items():
        if kind not in wanted and PurePosixPath(name).suffix.lower() in suffixes:
            if kind == "empty":
                raise EmptyInput(f"{name} is empty.")
            raise WrongSensor(f"{name} is {KINDS[kind].told}, which does not fit the sensor {sensor}.")


def _other_kind(kinds: Mapping[str, str], sensor: str) -> str:
    """What else the input is, where there is only one answer."""
    safe = {name for name, kind in KINDS.items() if kind.module and (kind.module != "rgb" or sensor == "OTHER")}
    found = sorted(set(kinds.values()) & safe)
    if len(found) == 1:
        return found[0]
    if found:
        raise MixedInput(f"The dataset holds {_told(kinds)}: upload them as datasets of their own.")
    name, kind = next(iter(kinds.items()))
    if sensor == "OTHER":
        raise Unsupported(f"The dataset holds {_told(kinds)}, which cannot be converted.")
    raise WrongSensor(f"{name} is {KINDS[kind].told}, which does not fit the sensor {sensor}.")


def _told(kinds: Mapping[str, str]) -> str:
    """What is in the dataset, the most frequent first, with an example of each."""
    counts = Counter(kinds.values())
    first = {kind: name for name, kind in reversed(list(kinds.items()))}
    return ", ".join(f"{KINDS[kind].told} ({count}, like {first[kind]})" for kind, count in counts.most_common())


def _module(
    sensor: str, kind: str, root: Path, names: tuple[str, ...], kinds: Mapping[str, str]
) -> tuple[Any, tuple[str, ...]]:
    """The module that reads this kind for this sensor, and the files it gets."""
    chosen = tuple(name for name in kinds if kinds[name] == kind)
    if sensor in _PICTURE_SENSORS and kind in _PICTURES:
        pictures = tuple(name for name in kinds if kinds[name] in _PICTURES)
        return importlib.import_module(f"converters.{_PICTURE_SENSORS[sensor]}"), pictures
    if kind in ("idx", "midx"):
        return importlib.import_module("converters.idx"), names
    if sensor == "4D_NEXUS" and kind == "hdf5":
        return importlib.import_module("converters.nexus"), chosen
    if sensor in ("NETCDF", "OTHER") and kind == "hdf5":
        netcdf = importlib.import_module("converters.netcdf")
        if netcdf.is_netcdf4(root, chosen[0]):
            return netcdf, chosen
    if kind == "netcdf":
        both = tuple(name for name in kinds if kinds[name] in ("netcdf", "hdf5"))
        return importlib.import_module("converters.netcdf"), both
    return importlib.import_module(f"converters.{KINDS[kind].module}"), chosen


def _ignored(names: tuple[str, ...], chosen: tuple[str, ...]) -> tuple[str, ...]:
    rest = [name for name in names if name not in set(chosen)]
    return (f"{len(rest)} other files are left out: {', '.join(rest[:20])}.",) if rest else ()
