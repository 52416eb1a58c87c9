"""What the tasks of a real conversion of 8 GiB take, on one worker and on two: `plan_scale` draws from these."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench import sources
from bench.measure import RESULTS, keep
from converters.plan import Choices, Plan
from converters.task import Kind

SHAPE = (1024, 2048, 2048)  # uint16: 8 GiB


@dataclass(frozen=True)
class Run:
    """One measured conversion; `tasks` are kind, bytes read and seconds of each, as their marks tell."""

    workers: int
    hashing_seconds: float
    performing_seconds: float
    sealing_seconds: float
    files: int
    tasks: list[tuple[Kind, int, float]]

    @classmethod
    def load(cls, workers: int) -> Run:
        record = json.loads((RESULTS / f"task_seconds-{workers}.json").read_text())
        return cls(**record["values"])


def bench(scratch: Path, counts: tuple[int, ...] = (1, 2)) -> None:
    from cluster.local_ray import connected

    source = sources.hdf5(scratch / "paper.h5", SHAPE, "<u2")
    with connected(cpus=2):
        for workers in counts:
            values = vars(convert(source, scratch / "paper-out", workers))
            keep(f"task_seconds-{workers}", values)


def staged(source: Path, out: Path) -> tuple[Path, Plan, float]:
    """A staging folder with its plan, as the driver makes it, and how long hashing took."""
    from converters.prepare import Job, find_files, prepare
    from converters.run import load_plan
    from scray.manifest import digest_file

    root, files = find_files([source])
    began = time.perf_counter()
    inputs = tuple(digest_file(root, name) for name in files)
    hashing = time.perf_counter() - began
    staging = prepare(Job(root, files, "HDF5", choices=Choices(workers=2)), inputs, out / "staging")
    return staging, load_plan(staging), hashing


def convert(source: Path, out: Path, workers: int) -> Run:
    from cluster.executor import TASKS_PER_CPU, RayExecutor
    from converters.mark import read_mark
    from converters.run import execute
    from converters.seal import seal

    shutil.rmtree(out, ignore_errors=True)
    staging, plan, hashing = staged(source, out)
    executor = RayExecutor(cpus=workers, tasks_per_cpu=1 if workers == 1 else TASKS_PER_CPU)
    began = time.perf_counter()
    execute(staging, executor)
    performed = time.perf_counter()
    marks = [(task, read_mark(staging, task.id)) for task in plan.tasks]
    tasks = [(task.kind, task.read_bytes, sum(mark.seconds.values())) for task, mark in marks if mark]
    files = sum(len(mark.files) for _, mark in marks if mark)
    sealing = time.perf_counter()
    seal(staging)
    sealed = time.perf_counter() - sealing
    shutil.rmtree(out)
    return Run(workers, hashing, performed - began, sealed, files, tasks)


if __name__ == "__main__":
    bench(Path(sys.argv[1]), tuple(map(int, sys.argv[2:])))
