"""(d) Memory of a task against its projection, and decoding of compressed bytes, for four ways to store 8 GiB."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from bench import sources
from bench.measure import keep, python

GIB = 1 << 30
SHAPE = (1024, 2048, 2048)  # uint16: 8 GiB
PAGES = (256, 4096, 4096)
LIMIT_BYTES = 1.5 * GIB

STORED: dict[str, Callable[[Path], tuple[Path, str]]] = {
    "contiguous HDF5": lambda d: (sources.hdf5(d / "memory-contiguous.h5", SHAPE, "<u2"), "HDF5"),
    "HDF5 (1,Y,X) gzip": lambda d: (
        sources.hdf5(d / "memory-slices.h5", SHAPE, "<u2", (1, 2048, 2048), gzip=True),
        "HDF5",
    ),
    "HDF5 (T,16,16)": lambda d: (
        sources.hdf5(d / "memory-columns.h5", SHAPE, "<u2", (1024, 16, 16), gzip=True),
        "HDF5",
    ),
    "deflate TIFF 4096x4096": lambda d: (sources.tiff(d / "memory-pages.tif", PAGES, "<u2"), "TIFF"),
}


def bench(scratch: Path) -> None:
    """Each way on its own: sources are 8 GiB and are removed afterwards."""
    for name, make in STORED.items():
        source, sensor = make(scratch)
        keep(
            f"memory-{source.stem.removeprefix('memory-')}",
            {"source": name, **_one(source, sensor, scratch / "memory-out")},
        )
        source.unlink()


def _one(source: Path, sensor: str, out: Path) -> dict[str, object]:
    shutil.rmtree(out, ignore_errors=True)
    command = ("-m", "cluster.cli", "convert", str(source), "--sensor", sensor, "--out", str(out), "--json")
    cost = python(*command, sample_memory=True)
    report = json.loads(cost.output)
    shutil.rmtree(out)
    projected = report["projected_memory_bytes"]
    return {
        "strategy": report["datasets"][0]["strategy"],
        "peak MiB (want <= 1536)": cost.peak_bytes >> 20,
        "projected MiB": projected >> 20,
        "peak / projection (want 0.6 to 1.0)": cost.peak_bytes / projected,
        "decoded times (want <= 1.25)": report["datasets"][0]["amplification"],
        "MB/s of samples": 8 * GIB / cost.seconds / 1e6,
        "stages, seconds": report["stages"],
    }
