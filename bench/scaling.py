"""(b) Two workers against one on a warm Ray, next to what two spinning processes reach just before and after.

The median of three rounds: the disk of a shared machine has pauses that are nobody's fault.
"""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import time
from pathlib import Path

from bench import sources
from bench.measure import keep

SHAPE = (512, 2048, 2048)  # uint16: 4 GiB
ROUNDS = 3
SPIN_SECONDS = 3.0


def bench(scratch: Path) -> None:
    from cluster.local_ray import connected

    sources.touch_memory(10 << 30)
    source = sources.hdf5(scratch / "scaling.h5", SHAPE, "<u2")
    rows = []
    with connected(cpus=2):
        _warm()
        for _ in range(ROUNDS):
            one = _convert(source, scratch / "scaling-out", 1)
            before = spinners()
            two = _convert(source, scratch / "scaling-out", 2)
            after = spinners()
            rows.append((one / two, (before + after) / 2, one, two))
    ratios = [speedup / spin for speedup, spin, _, _ in rows]
    keep(
        "scaling",
        {
            "speed-up / that of spinning processes (want >= 0.85)": statistics.median(ratios),
            "speed-up": [round(r[0], 2) for r in rows],
            "spinning processes": [round(r[1], 2) for r in rows],
            "seconds with 1 and 2 workers": [(round(r[2], 1), round(r[3], 1)) for r in rows],
        },
    )


def _warm() -> None:
    """Two workers that have imported everything, as after the first dataset."""
    import ray

    @ray.remote(num_cpus=1)
    def ready() -> int:
        import converters.run  # noqa: F401

        time.sleep(1)
        return 1

    ray.get([ready.remote() for _ in range(2)])


def _convert(source: Path, out: Path, workers: int) -> float:
    """Seconds from the first task to the published result."""
    from cluster.executor import TASKS_PER_CPU, RayExecutor
    from converters.plan import Choices
    from converters.prepare import Job, find_files, prepare
    from converters.run import execute
    from converters.seal import seal
    from scray.manifest import digest_file
    from scray.storage import publish_tree

    shutil.rmtree(out, ignore_errors=True)
    root, files = find_files([source])
    job = Job(root, files, "HDF5", choices=Choices(workers=2))
    staging = prepare(job, tuple(digest_file(root, f) for f in files), out / "staging")
    executor = RayExecutor(cpus=workers, tasks_per_cpu=1 if workers == 1 else TASKS_PER_CPU)
    began = time.perf_counter()
    execute(staging, executor)
    publish_tree(seal(staging), out / "result")
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    return seconds


def spinners() -> float:
    """What two busy processes get done, against one."""
    return _spin(2) / _spin(1)


def _spin(processes: int) -> float:
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(_count, [0.1] * processes)
        return float(sum(pool.map(_count, [SPIN_SECONDS] * processes, chunksize=1)))


def _count(seconds: float) -> int:
    end, rounds = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        sum(range(10_000))
        rounds += 1
    return rounds
