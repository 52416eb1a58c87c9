"""(h) Scale on paper: the real planner, executor loop and driver for 10 TiB on 1,000 workers that are simulated.

Task times come from a measured conversion of 8 GiB; the same simulator has to foretell how long that took.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import quantiles
from types import SimpleNamespace
from typing import Any

from bench import sources
from bench.measure import keep
from bench.paper import Cluster, Pace, Weather, longest_chain
from cluster import embedded
from converters.mark import read_mark
from converters.plan import Choices, Plan, make_plan
from converters.run import execute, load_plan
from converters.task import Task
from converters.volume import Source, Volume, roles_for
from scray.manifest import FileDigest, digest_file
from scray.reconcile import Work
from scray.spans import CHUNK_BYTES

SHAPE_10_TIB = (10240, 23170, 23170)  # uint16
SHAPE_8_GIB = (1024, 2048, 2048)
WORKERS = 1000
BANDWIDTH = 25e9  # bytes a second that the storage is stated to read for all of them together
WEATHER = Weather(slow=0.01, times=5.0, lost_every_seconds=60.0)
QUEUED, RUNNING, ROUNDS, USERS = 10_000, 200, 400, 50
SEEDS = 5


def bench(scratch: Path) -> None:
    run = Measured(scratch)
    keep("plan_scale-replay", run.replay())
    keep("plan_scale-10TiB", ten_tib(run.paces, run.seal_seconds_a_file))
    keep("plan_scale-driver", decisions())


# --- a measured run --------------------------------------------------------------------------------


class Measured:
    """8 GiB on one worker and on two, each with its tasks' own times."""

    def __init__(self, scratch: Path) -> None:
        from cluster.local_ray import connected

        source = sources.hdf5(scratch / "paper.h5", SHAPE_8_GIB, "<u2")
        self.runs: dict[int, tuple[float, float, list[tuple[Task, float]]]] = {}
        with connected(cpus=2):
            for workers in (1, 2):
                self.runs[workers] = self._convert(source, scratch / "paper-out", workers)
        tasks = self.runs[2][2]
        self.paces = {
            kind: Pace.fit([(task.read_bytes, seconds) for task, seconds in tasks if task.kind == kind])
            for kind in ("brick", "merge")
        }

    def _convert(self, source: Path, out: Path, workers: int) -> tuple[float, float, list[tuple[Task, float]]]:
        from cluster.executor import RayExecutor
        from converters.prepare import Job, find_files, prepare
        from converters.seal import seal

        shutil.rmtree(out, ignore_errors=True)
        root, files = find_files([source])
        job = Job(root, files, "HDF5", choices=Choices(workers=2, memory_bytes=320 << 20))
        staging = prepare(job, tuple(digest_file(root, name) for name in files), out / "staging")
        plan = load_plan(staging)
        executor = RayExecutor(cpus=workers)
        executor.window = 1 if workers == 1 else executor.window
        began = time.perf_counter()
        execute(staging, executor)
        performed = time.perf_counter() - began
        marks = [(task, read_mark(staging, task.id)) for task in plan.tasks]
        took = [(task, sum(mark.seconds.values())) for task, mark in marks if mark]
        began = time.perf_counter()
        seal(staging)
        sealed = time.perf_counter() - began
        self.seal_seconds_a_file = sealed / sum(len(mark.files) for _, mark in marks if mark)
        self.plan = plan
        shutil.rmtree(out)
        return performed, sealed, took

    def replay(self) -> dict[str, Any]:
        """The simulator, fed the tasks' own times, against the clock."""
        found: dict[str, Any] = {}
        for workers, (performed, sealed, took) in self.runs.items():
            paces = {
                kind: Pace.fit([(task.read_bytes, seconds) for task, seconds in took if task.kind == kind])
                for kind in ("brick", "merge")
            }
            predicted = simulate(self.plan, workers, paces, Weather(), 0, window=1 if workers == 1 else 0).now
            found[f"predicted / measured makespan, {workers} workers (want within 0.15 of 1)"] = predicted / performed
            found[f"measured seconds, {workers} workers"] = round(performed, 1)
            found[f"seconds of sealing, {workers} workers"] = round(sealed, 2)
            found["tasks"] = len(took)
        return found


# --- ten tebibytes ---------------------------------------------------------------------------------


def simulate(
    plan: Plan,
    workers: int,
    paces: dict[str, Pace],
    weather: Weather,
    seed: int,
    *,
    bandwidth: float = float("inf"),
    window: int = 0,
) -> Cluster:
    """The real `execute` over a staging folder in which nothing is finished."""
    cluster = Cluster(workers, paces, weather, Random(seed), bandwidth=bandwidth, window=window)
    with tempfile.TemporaryDirectory() as folder:
        staging = Path(folder)
        (staging / "plan.json").write_bytes(plan.to_json())
        execute(staging, cluster)
    return cluster


def planned(shape: tuple[int, ...], workers: int) -> Plan:
    """A contiguous volume of uint16 that nobody has to have."""
    axes = tuple(f"a{i}" for i in range(len(shape)))
    volume = Volume("none", (), "data", "data", "", shape, axes, roles_for(shape), "<u2", "<u2", shape, False)
    size = volume.total_bytes
    inputs = (FileDigest("volume.raw", size, ("0" * 64,) * -(-size // CHUNK_BYTES)),)
    return make_plan(Path("/in"), "HDF5", inputs, {}, Source("none", (volume,)), Choices(workers=workers))


def ten_tib(paces: dict[str, Pace], seal_seconds_a_file: float) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    plan = planned(SHAPE_10_TIB, WORKERS)
    planning = time.perf_counter() - began
    size = sum(task.read_bytes for task in plan.tasks)  # what bricks leave to merges included
    ratios, runs, loop = [], [], []
    for seed in range(SEEDS):
        began = time.perf_counter()
        cluster = simulate(plan, WORKERS, paces, WEATHER, seed, bandwidth=BANDWIDTH)
        loop.append(len(plan.tasks) / (time.perf_counter() - began))
        sealing = seal_seconds_a_file * sum(max(1, task.read_bytes >> 25) for task in plan.tasks)
        chain = longest_chain(plan.tasks, paces) + sealing
        least = max(cluster.work / WORKERS, size / BANDWIDTH, chain)
        ratios.append((cluster.now + sealing) / least)
        runs.append((cluster, least, sealing))
    cluster, least, sealing = runs[ratios.index(max(ratios))]
    return {
        "tasks": len(plan.tasks),
        "seconds of planning": planning,
        "bytes of the plan": len(plan.to_json()),
        "bytes passed up by all tasks": cluster.passed_up,
        "driver memory beyond its start, MiB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10,
        "tasks handed out and taken back a second, by execute": min(loop),
        "predicted seconds": cluster.now + sealing,
        "of which sealing": sealing,
        "least possible seconds": least,
        "least: by work, by storage, by the longest chain": [
            round(one, 1)
            for one in (cluster.work / WORKERS, size / BANDWIDTH, longest_chain(plan.tasks, paces) + sealing)
        ],
        "predicted / least possible makespan (want <= 1.15)": max(ratios),
        "the same, of every seed": [round(ratio, 3) for ratio in ratios],
        "second runs": cluster.second_runs,
        "workers lost": cluster.losses,
    }


# --- the driver's loop -----------------------------------------------------------------------------


def decisions() -> dict[str, Any]:
    """The real driver over a real database, with everything but the conversions."""
    with database() as url, tempfile.TemporaryDirectory() as folder:
        os.environ.update(MONGO_URL=url, VISUS_DATASETS=folder, SCRAY_WORKERS=str(WORKERS), SCRAY_LEASE_SECONDS="60")
        driver = _driver()
        _fill(driver)
        while len(driver.held) < RUNNING:
            driver._round()
            driver.state = replace(driver.state, claimed_at=float("-inf"))
        random, seconds, claimed = Random(1), [], 0
        for _ in range(ROUNDS):
            if random.random() < 0.3:
                held = random.choice(list(driver.held.values()))
                driver.desk.queue.finish(held.conversion.claim)
                held.conversion.ended = True
            driver.state = replace(driver.state, claimed_at=float("-inf"))
            before = set(driver.held)
            began = time.perf_counter()
            driver._round()
            seconds.append(time.perf_counter() - began)
            claimed += len(set(driver.held) - before)
        hundredths = quantiles(seconds, n=100)
        return {
            "queued": QUEUED,
            "running": len(driver.held),
            "rounds": ROUNDS,
            "claims": claimed,
            "p50 of a round, ms": 1000 * hundredths[49],
            "p99 of a round, ms (want < 250)": 1000 * hundredths[98],
            "rounds a second": ROUNDS / sum(seconds),
        }


def _driver() -> Any:
    from cluster import actor

    class Paper(actor.Driver):
        """Holds what it claims and converts nothing."""

        def _live(self) -> None: ...

        def _listen(self) -> None: ...

        def _pulse(self) -> dict[str, Any]:
            return self.about()

        def _slots(self) -> int:
            return RUNNING

        def _begin(self, claim: Any, asked: float, *_: Any) -> None:
            idle: Any = SimpleNamespace(claim=claim, ended=False, order=None, stop=lambda _: None)
            self.held[claim.uuid] = actor.Held(idle, Work(claim.uuid, renewed_at=asked))

    return Paper("paper")


def _fill(driver: Any) -> None:
    queue = driver.desk.queue
    queue.ensure_indexes()
    row = queue.add({"uuid": "first", "status": "conversion queued", "user": "user 0"})
    rows = queue.rows._rows
    model = rows.find_one({"uuid": row.uuid})
    copies = (
        {**model, "_id": number, "uuid": f"d{number:05}", "user": f"user {number % USERS}", "priority": 1 + number % 3}
        for number in range(QUEUED + RUNNING - 1)
    )
    rows.insert_many(list(copies))


@contextmanager
def database() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                embedded.command(embedded.find_server(), Path(folder) / "data"), stdout=out, stderr=out
            )
        try:
            while embedded.port_in(log) is None:
                time.sleep(0.05)
            yield embedded.url(embedded.port_in(log) or 0)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    here = Path(__file__).parent / "scratch"
    here.mkdir(exist_ok=True)
    bench(here)
