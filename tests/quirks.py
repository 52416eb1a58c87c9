"""Small files with one oddity each, and what has to come of them: these arrays, bit for bit, or this error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np

from converters import registry
from converters.prepare import find_files
from converters.volume import Array, Volume
from scray.errors import ScrayError
from tests.openvisus import openvisus

Arrays = dict[str, Array]  # by selector: the first is the principal one
Expected = Arrays | str  # or the code of the error
Build = Callable[[Path], Expected]


@dataclass(frozen=True)
class Quirk:
    """`build` fills a folder and says what is expected of it."""

    build: Build
    sensor: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join((self.build.__name__, *(f"{k}={v}" for k, v in self.parameters.items())))


class Quirks(list[Quirk]):
    """A list that functions join by decoration: `@quirks`, or `@quirks.of(dataset="/a")`."""

    def __init__(self, sensor: str) -> None:
        super().__init__()
        self.sensor = sensor

    def __call__(self, build: Build) -> Build:
        return self.of()(build)

    def of(self, **parameters: Any) -> Callable[[Build], Build]:
        def join(build: Build) -> Build:
            self.append(Quirk(build, self.sensor, parameters))
            return build

        return join


@contextmanager
def h5(folder: Path, name: str = "a.h5", **how: Any) -> Iterator[Any]:
    """A new HDF5 file in a folder."""
    with h5py.File(folder / name, "w", **how) as file:
        yield file


@contextmanager
def nc(folder: Path, form: Any = "NETCDF4", name: str = "a.nc", **dims: int | None) -> Iterator[Any]:
    """A new NetCDF file in a folder, with these dimensions, values raw."""
    with netCDF4.Dataset(str(folder / name), "w", format=form) as file:
        for dim, length in dims.items():
            file.createDimension(dim, length)
        yield file


def put(file: Any, name: str, dims: tuple[str, ...], values: Any, fill: Any = None, **attributes: Any) -> Any:
    """A variable of a NetCDF file with these stored values."""
    variable = file.createVariable(name, values.dtype, dims, fill_value=fill)
    variable.set_auto_maskandscale(False)
    variable.setncatts(attributes)
    variable[...] = values
    return variable


def outcome(folder: Path, quirk: Quirk) -> Expected:
    """What probing and reading give, in source axes, or the code of the error."""
    try:
        root, files = find_files([folder])
        source = registry.probe(quirk.sensor, root, files, quirk.parameters)
        return {volume.selector: _whole(root, volume) for volume in source.volumes}
    except ScrayError as error:
        return error.code


def _whole(root: Path, volume: Volume) -> Array:
    with registry.open_volume(root, volume) as reader:
        return reader.read_source(tuple((0, n) for n in volume.source_shape))


def compare(found: Expected, expected: Expected) -> None:
    """The same arrays, the principal one first, exact in both directions; or the same error."""
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    assert next(iter(found)) == next(iter(expected))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        same(found[name], values)


def same(got: Array, values: Array) -> None:
    """Equal bits, in a type that holds them all."""
    stored = np.ascontiguousarray(values)
    assert got.size == stored.size
    assert got.reshape(stored.shape).tobytes() == stored.astype(got.dtype).tobytes()
    assert got.astype(stored.dtype).tobytes() == stored.tobytes()


def published(out: Path, record: Mapping[str, Any]) -> Arrays:
    """The fields of one dataset of a result, by selector, as OpenVisus reads them: (steps, z, y, x)."""
    path = out / record["idx"]
    return {entry["source"]: _steps(path, entry["name"], record["steps"]) for entry in record["fields"]}


def _steps(path: Path, name: str, count: int) -> Array:
    found = [openvisus().read(path, name, step) for step in range(count)]
    assert all(array is not None for array in found)
    return np.stack([array for array in found if array is not None])
