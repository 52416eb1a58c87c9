"""(h) Scale on paper: the real planner, executor loop, seal and driver for 10 TiB on 1,000 workers that are simulated.

Task times come from measured conversions of 8 GiB (task_seconds); the same simulator has to foretell how long those
took. The marks, the plan and the tree that is sealed are real objects; the files of the tree are empty.
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
from statistics import median, quantiles
from types import SimpleNamespace
from typing import Any

from bench.measure import keep
from bench.paper import Cluster, Pace, Weather, longest_chain, mark_of
from bench.task_seconds import SHAPE as SHAPE_8_GIB
from bench.task_seconds import Run
from cluster import embedded
from cluster.publishing import check_complete
from converters.plan import Choices, Plan, make_plan
from converters.promise import promised_files
from converters.run import execute
from converters.seal import seal
from converters.volume import Source, Volume, roles_for
from scray.idx.writer import Written
from scray.manifest import FileDigest
from scray.reconcile import Work
from scray.spans import CHUNK_BYTES

SHAPE_10_TIB = (10240, 23170, 23170)  # uint16
WORKERS = 1000
BANDWIDTH = 25e9  # bytes a second that the storage is stated to read for all of them together
FASTER = 100e9  # storage that workers cannot keep busy
WEATHER = Weather(slow=0.01, times=5.0, lost_every_seconds=60.0)
QUEUED, RUNNING, SECONDS, USERS = 10_000, 200, 45.0, 50
SEEDS = 5


def bench(scratch: Path) -> None:
    replay()
    ten_tib(scratch)
    loop()


# --- a measured run --------------------------------------------------------------------------------


def paces(run: Run) -> dict[str, Pace]:
    return {
        kind: Pace.fit([(size, seconds) for one, size, seconds in run.tasks if one == kind])
        for kind in ("brick", "merge")
    }


def replay() -> None:
    """The simulator, fed the tasks' own times of a run, against the clock of that run."""
    found: dict[str, Any] = {}
    for workers in (1, 2):
        run = Run.load(workers)
        plan = planned(SHAPE_8_GIB, 2)
        assert len(plan.tasks) == len(run.tasks)
        made = [
            simulate(plan, workers, paces(run), Weather(), seed, window=1 if workers == 1 else 0).now
            for seed in range(SEEDS)
        ]
        ratio = median(made) / run.performing_seconds
        found[f"predicted / measured makespan, {workers} workers (want within 0.15 of 1)"] = ratio
        found[f"of every seed, {workers} workers"] = [round(one / run.performing_seconds, 3) for one in made]
        found[f"measured seconds, {workers} workers"] = round(run.performing_seconds, 1)
        found["tasks"] = len(run.tasks)
    keep("plan_scale-replay", found)


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


def ten_tib(scratch: Path) -> None:
    before = _memory_mib()
    began = time.perf_counter()
    plan = planned(SHAPE_10_TIB, WORKERS)
    planning = time.perf_counter() - began
    found: dict[str, Any] = {
        "tasks": len(plan.tasks),
        "seconds of planning": planning,
        "bytes of the plan": len(plan.to_json()),
    }
    clusters = [simulate(plan, WORKERS, paces(Run.load(2)), WEATHER, 0)]
    found |= {
        "bytes passed up by all tasks": clusters[0].passed_up,
        "driver memory for the plan and its execution, MiB": _memory_mib() - before,
    }
    found |= sealing(plan, scratch / "paper-seal")
    sealed = found["seconds of sealing and of the check before publishing"]
    for name, bandwidth in (("", BANDWIDTH), (f", storage of {FASTER / 1e9:.0f} GB/s", FASTER)):
        found |= makespans(plan, bandwidth, sealed, name)
    keep("plan_scale-10TiB", found)


def makespans(plan: Plan, bandwidth: float, sealed: float, name: str) -> dict[str, Any]:
    """Predicted against least possible, with the times of either measured run, of several seeds."""
    size = sum(task.read_bytes for task in plan.tasks)  # what bricks leave to merges included
    ratios, rows, rates = [], [], []
    for pace in (paces(Run.load(1)), paces(Run.load(2))):
        for seed in range(SEEDS):
            began = time.perf_counter()
            cluster = simulate(plan, WORKERS, pace, WEATHER, seed, bandwidth=bandwidth)
            rates.append(len(plan.tasks) / (time.perf_counter() - began))
            least = (cluster.work / WORKERS, size / bandwidth, longest_chain(plan.tasks, pace) + sealed)
            ratios.append((cluster.now + sealed) / max(least))
            rows.append((cluster, least))
    cluster, least = rows[ratios.index(max(ratios))]
    return {
        f"predicted / least possible makespan{name} (want <= 1.15)": max(ratios),
        f"of every run and seed{name}": [round(ratio, 3) for ratio in ratios],
        f"predicted seconds{name}": round(cluster.now + sealed, 1),
        f"least: by work, by storage, by the longest chain{name}": [round(one, 1) for one in least],
        f"second runs{name}": cluster.second_runs,
        f"workers lost{name}": cluster.losses,
        f"tasks handed out and taken back a second, by execute{name}": min(rates),
    }


def sealing(plan: Plan, staging: Path) -> dict[str, Any]:
    """The real seal, and the check before publishing, over a tree of as many files, which are empty on disk."""
    shutil.rmtree(staging, ignore_errors=True)
    names = [grid.path(name) for grid in plan.grids for name in promised_files(plan.header(grid))]
    for folder in {Path(name).parent for name in names}:
        (staging / "tree" / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        with (staging / "tree" / name).open("wb") as file:
            file.truncate(WRITTEN_BYTES)
    (staging / "marks").mkdir()
    (staging / "plan.json").write_bytes(plan.to_json())
    share = -(-len(names) // len(plan.tasks))
    for number, task in enumerate(plan.tasks):
        mine = names[number * share : (number + 1) * share]
        files = tuple(Written(name, WRITTEN_BYTES, "0" * 64) for name in mine)
        replace(mark_of(task), files=files).write(staging)
    before, began = _memory_mib(), time.perf_counter()
    tree = seal(staging)
    sealed = time.perf_counter()
    check_complete(tree, plan)
    ended = time.perf_counter()
    shutil.rmtree(staging)
    return {
        "files": len(names),
        "seconds of sealing and of the check before publishing": ended - began,
        "of which the seal": sealed - began,
        "memory of both, MiB": _memory_mib() - before,
    }


WRITTEN_BYTES = 16 << 20


def _memory_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


# --- the driver's loop -----------------------------------------------------------------------------


def loop() -> None:
    """The real driver over a real database, with everything but the conversions; looks and leases go on meanwhile."""
    with database() as url, tempfile.TemporaryDirectory() as folder:
        os.environ.update(MONGO_URL=url, VISUS_DATASETS=folder, SCRAY_WORKERS=str(WORKERS), SCRAY_LEASE_SECONDS="60")
        driver = _driver()
        looks = _timed_looks(driver.desk.queue)
        _fill(driver)
        while len(driver.held) < RUNNING:
            driver._round()
            driver.state = replace(driver.state, claimed_at=float("-inf"))
        looks.clear()
        random, seconds, claimed, began = Random(1), [], 0, time.perf_counter()
        while time.perf_counter() < began + SECONDS:
            if random.random() < 0.3:
                held = random.choice(list(driver.held.values()))
                driver.desk.queue.finish(held.conversion.claim)
                held.conversion.ended = True
            driver.state = replace(driver.state, claimed_at=float("-inf"))
            before = set(driver.held)
            round_began = time.perf_counter()
            driver._round()
            seconds.append(time.perf_counter() - round_began)
            claimed += len(set(driver.held) - before)
        hundredths = quantiles(seconds, n=100)
        keep(
            "plan_scale-driver",
            {
                "queued": QUEUED,
                "running": len(driver.held),
                "rounds": len(seconds),
                "claims": claimed,
                "p50 of a round, ms": 1000 * hundredths[49],
                "p99 of a round, ms (want < 250)": 1000 * hundredths[98],
                "slowest round, ms": 1000 * max(seconds),
                "rounds a second": len(seconds) / sum(seconds),
                "looks at the queue, beside the rounds": len(looks),
                "seconds a look": median(looks),
            },
        )


def _timed_looks(queue: Any) -> list[float]:
    """How long each look of this queue takes from now on."""
    took, look = [], queue.look

    def timed(running: Any) -> Any:
        began = time.perf_counter()
        line = look(running)
        took.append(time.perf_counter() - began)
        return line

    queue.look = timed
    return took


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
