"""(g) Very many small time steps, and very many variables."""

from __future__ import annotations

import shutil
from pathlib import Path

import netCDF4
import numpy as np

from bench.measure import keep, python

STEPS, LAT, LON = 100_000, 73, 144
VARIABLES = 300


def bench(scratch: Path) -> None:
    keep("many-steps", _convert(_steps(scratch / "many-steps.nc"), scratch / "many-out"))
    keep("many-variables", _convert(_variables(scratch / "many-variables.nc"), scratch / "many-out"))


def _convert(source: Path, out: Path) -> dict[str, object]:
    shutil.rmtree(out, ignore_errors=True)
    cost = python("-m", "cluster.cli", "convert", str(source), "--sensor", "NETCDF", "--out", str(out), "--json")
    files = sum(1 for p in out.rglob("*") if p.is_file())
    shutil.rmtree(out)
    return {"seconds (want < 300)": cost.seconds, "files (want < 1000)": files, "source bytes": source.stat().st_size}


def _steps(path: Path) -> Path:
    if path.exists():
        return path
    field = np.random.default_rng(1).standard_normal((1000, LAT, LON), dtype=np.float32) + 280
    with netCDF4.Dataset(path, "w") as file:
        _grid(file)
        file.createDimension("time", None)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "hours since 1900-01-01 00:00:00"
        air = file.createVariable("air", "f4", ("time", "lat", "lon"), chunksizes=(100, LAT, LON))
        for start in range(0, STEPS, 1000):
            time[start : start + 1000] = np.arange(start, start + 1000)
            air[start : start + 1000] = field + np.float32(start / STEPS)
    return path


def _variables(path: Path) -> Path:
    if path.exists():
        return path
    values = np.random.default_rng(2).standard_normal((10, LAT, LON), dtype=np.float32)
    with netCDF4.Dataset(path, "w") as file:
        _grid(file)
        file.createDimension("time", 10)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "hours since 1900-01-01 00:00:00"
        time[:] = np.arange(10)
        for number in range(VARIABLES):
            file.createVariable(f"v{number:03}", "f4", ("time", "lat", "lon"))[:] = values + number
    return path


def _grid(file: netCDF4.Dataset) -> None:
    for name, size in (("lat", LAT), ("lon", LON)):
        file.createDimension(name, size)
        file.createVariable(name, "f4", (name,))[:] = np.arange(size)
