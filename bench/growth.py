"""(f) Eight times the data: at most 8.8 times the seconds and 1.15 times the memory of a process."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench import sources
from bench.measure import Cost, keep, python

SMALL, LARGE = (128, 2048, 2048), (1024, 2048, 2048)  # uint16: 1 and 8 GiB


def bench(scratch: Path) -> None:
    """Small, large, small again: the small runs around the large one tell how steady the machine was."""
    before = _convert(sources.hdf5(scratch / "growth-1.h5", SMALL, "<u2"), scratch / "growth-out")
    large = _convert(sources.hdf5(scratch / "growth-8.h5", LARGE, "<u2"), scratch / "growth-out")
    after = _convert(scratch / "growth-1.h5", scratch / "growth-out")
    small = (before.seconds + after.seconds) / 2
    keep(
        "growth",
        {
            "seconds 8 GiB / 1 GiB (want <= 8.8)": large.seconds / small,
            "cpu seconds 8 GiB / 1 GiB": 2 * large.cpu_seconds / (before.cpu_seconds + after.cpu_seconds),
            "peak 8 GiB / 1 GiB (want <= 1.15)": large.peak_bytes / before.peak_bytes,
            "steadiness of the small runs": after.seconds / before.seconds,
            "seconds": [round(c.seconds, 1) for c in (before, large, after)],
            "peak MiB": [c.peak_bytes >> 20 for c in (before, large, after)],
        },
    )
    (scratch / "growth-8.h5").unlink()


def _convert(source: Path, out: Path) -> Cost:
    """One conversion, on memory that is there already: each finds the pages that it writes to equally warm."""
    shutil.rmtree(out, ignore_errors=True)
    sources.touch_memory(10 << 30)
    cost = python(
        "-m", "cluster.cli", "convert", str(source), "--sensor", "HDF5", "--out", str(out), "--json", sample_memory=True
    )
    shutil.rmtree(out)
    return cost
