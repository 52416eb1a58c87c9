"""A mixed load of datasets, one of them big, and the serial conversion every result is compared with."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile

from converters.convert import convert
from converters.plan import Choices
from converters.prepare import Job, find_files
from converters.run import Serial
from tests.trees import tree_digests

MIB = 1 << 20
SLAB_BYTES = 64 * MIB
PARTS = 24


@dataclass(frozen=True)
class Source:
    path: Path
    sensor: str
    parameters: dict[str, str] = field(default_factory=dict)


def mixed(folder: Path, count: int, big_bytes: int) -> Iterator[Source]:
    """The big one first, in bricks of 16 MiB where a task has 240 MiB; then small ones of five kinds in turn."""
    yield Source(big(folder / "big.h5", big_bytes), "HDF5", {"profile": "cloud"})
    kinds = (parts, pages, chunked, steps, packed)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        yield kind(folder, number)


def big(path: Path, size: int) -> Path:
    """A contiguous volume of uint16, written slab by slab."""
    shape = (size // (512 * 512 * 2), 512, 512) if size < 1 << 30 else (size // (2048 * 2048 * 2), 2048, 2048)
    rng = np.random.default_rng(1)
    depth = max(1, SLAB_BYTES // (shape[1] * shape[2] * 2))
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", shape, "<u2")
        for z in range(0, shape[0], depth):
            data[z : z + depth] = rng.integers(0, 64, (min(depth, shape[0] - z), *shape[1:]), "<u2")
    return path


def _samples(number: int, *shape: int) -> Any:
    return np.random.default_rng(number).integers(0, 4096, shape).astype("<u2")


def parts(folder: Path, number: int) -> Source:
    """Many datasets of different sizes in one file: a brick each, hard to compress."""
    path = folder / f"parts{number}.h5"
    with h5py.File(path, "w") as file:
        for i in range(PARTS):
            file[f"d{i:02}"] = _samples(number * PARTS + i, 64, 96 + i, 128)
    return Source(path, "HDF5", {"dataset": ",".join(f"/d{i:02}" for i in range(PARTS)), "codec": "small"})


def pages(folder: Path, number: int) -> Source:
    path = folder / f"pages{number}.tif"
    tifffile.imwrite(path, _samples(number, 64, 200, 300), compression="zlib")
    return Source(path, "TIFF")


def chunked(folder: Path, number: int) -> Source:
    path = folder / f"chunked{number}.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=_samples(number, 128, 200, 256), chunks=(1, 200, 256), compression="gzip")
    return Source(path, "HDF5")


def steps(folder: Path, number: int) -> Source:
    """A volume over time."""
    path = folder / f"steps{number}.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=_samples(number, 6, 48, 128, 128))
        for axis, name in enumerate(("time", "z", "y", "x")):
            data.dims[axis].label = name
    return Source(path, "HDF5")


def packed(folder: Path, number: int) -> Source:
    """An archive."""
    inner = pages(folder, number).path
    path = folder / f"packed{number}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, inner.name)
    inner.unlink()
    return Source(path, "TIFF")


def serial_digests(uploaded: Path, source: Source, out: Path) -> dict[str, str]:
    """What a for-loop makes of the same upload, run.json aside."""
    root, files = find_files([uploaded])
    convert(Job(root, files, source.sensor, dict(source.parameters), Choices()), out, Serial())
    return tree_digests(out)
