"""The Ray executor on a real Ray: the same bytes as the serial one, dead workers, poison, limits, cancelling."""

from __future__ import annotations

import json
import os
import platform
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest

from cluster.local_ray import connected
from converters.mark import Mark
from converters.plan import Choices, Plan
from converters.prepare import Job, prepare
from converters.run import Serial, execute, load_plan
from converters.seal import seal
from scray.errors import BadInput, NeverFits, PoisonBrick, ReaderCrashed, ScrayError, TimedOut, TooLarge, Unsealed
from scray.limits import SECONDS
from scray.manifest import MANIFEST, digest_file
from scray.storage import Storage

PARTS = 70


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray with two workers of its own; nothing of its secret stays in the environment."""
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    with connected(2):
        import ray

        yield ray
    assert {name: os.environ.get(name) for name in before} == before


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One HDF5 file of many datasets of different shapes: a plan of at least 64 bricks."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(1)
    with h5py.File(folder / "many.h5", "w") as file:
        for i in range(PARTS):
            file[f"d{i:02}"] = rng.integers(0, 999, (3, 10 + i, 12)).astype("<u2")
    return folder


def stage(source: Path, parent: Path, workers: int = 2, memory_bytes: int = 1 << 30) -> Path:
    names = ",".join(f"/d{i:02}" for i in range(PARTS))
    choices = Choices(workers=workers, memory_bytes=memory_bytes)
    job = Job(source, ("many.h5",), "HDF5", {"dataset": names}, choices)
    return prepare(job, (digest_file(source, "many.h5"),), parent)


def contents(tree: Path) -> dict[str, bytes]:
    """Every file of a result but the record of how the run went."""
    return {
        str(path.relative_to(tree)): path.read_bytes()
        for path in tree.rglob("*")
        if path.is_file() and path.name != "run.json"
    }


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    staging = stage(source, tmp_path_factory.mktemp("serial"))
    execute(staging, Serial())
    found = contents(seal(staging))
    assert MANIFEST in found
    return found


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(("workers", "memory_bytes"), [(1, 256 << 20), (2, 512 << 20), (2, 1 << 30)])
def test_ray_gives_the_same_bytes_as_a_loop(
    source: Path, tmp_path: Path, expected: dict[str, bytes], workers: int, memory_bytes: int
) -> None:
    from cluster.executor import RayExecutor

    staging = stage(source, tmp_path, workers, memory_bytes)
    assert len(load_plan(staging).tasks) >= 64
    execute(staging, RayExecutor(cpus=workers))
    assert contents(seal(staging)) == expected


@pytest.mark.usefixtures("ray")
def test_no_more_than_a_window_is_under_way(source: Path, tmp_path: Path) -> None:
    from cluster.executor import TASKS_PER_CPU, RayExecutor

    executor = RayExecutor(cpus=1)
    most = 0
    submit = executor.submit

    def counting(staging: Path, task: Any) -> None:
        nonlocal most
        submit(staging, task)
        most = max(most, len(executor.flights.under_way))

    executor.submit = counting  # type: ignore[method-assign]
    execute(stage(source, tmp_path), executor)
    assert most == executor.window == TASKS_PER_CPU


@pytest.mark.usefixtures("ray")
def test_nodes_that_join_and_leave_while_a_dataset_runs_are_used(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster import flights, nodes
    from cluster.executor import TASKS_PER_CPU, RayExecutor

    living = [{"NodeID": "a", "Alive": True, "Resources": {"CPU": 1.0, "memory": float(1 << 40)}}]
    monkeypatch.setattr(nodes, "LOOK_SECONDS", -1.0)
    monkeypatch.setattr(flights, "NODES", nodes.Nodes(lambda: living))
    executor, seen = RayExecutor(), list[int]()

    def on_mark(_: Mark) -> None:
        seen.append(len(executor.flights.under_way))
        if len(seen) == 10:
            living.append({**living[0], "NodeID": "b"})
        if len(seen) == 40:
            living.pop()

    execute(stage(source, tmp_path), executor, on_mark=on_mark)
    assert max(seen[:10]) < TASKS_PER_CPU
    assert TASKS_PER_CPU < max(seen) < 2 * TASKS_PER_CPU
    assert max(seen[46:]) < TASKS_PER_CPU


def test_calls_that_wait_go_out_as_soon_as_there_is_room_for_more(ray: Any) -> None:
    from cluster.flights import run_all

    drawn, most = list[int](), 1

    def calls() -> Iterator[tuple[int, Any]]:
        for number in range(8):
            drawn.append(number)
            yield number, partial(ray.put, number)

    def window() -> int:
        return most

    after = []
    for number, found in run_all(calls(), window, lambda: None):
        assert found == number
        after.append(len(drawn))
        most = 4
    assert after == [1, 5, 5, 5, 5, 8, 8, 8]


@pytest.mark.usefixtures("ray")
def test_workers_that_are_killed_cost_only_time(source: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    from cluster.executor import RayExecutor

    staging = stage(source, tmp_path)
    seen: list[str] = []
    killed: set[int] = set()

    def on_mark(mark: Mark) -> None:
        seen.append(mark.task)
        if len(seen) in {5, 25, 45}:
            killed.update(kill_busy_workers("doomed"))

    execute(staging, RayExecutor(label="doomed"), on_mark=on_mark)
    assert killed
    assert len(seen) == len(set(seen)) == len(load_plan(staging).tasks)
    assert contents(seal(staging)) == expected


@pytest.mark.usefixtures("ray")
def test_a_straggler_is_overtaken_and_changes_nothing_when_it_goes_on(
    source: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    from cluster.executor import RayExecutor

    staging = stage(source, tmp_path)
    stopped: list[psutil.Process] = []

    def on_mark(_: Mark) -> None:
        if not stopped:
            stopped.extend(stop_busy_worker("slow"))

    execute(staging, RayExecutor(label="slow", patience_seconds=1), on_mark=on_mark)
    assert stopped, "no worker was caught at work"
    assert all(process.status() == psutil.STATUS_STOPPED for process in stopped)
    tree = seal(staging)
    before = times(tree)
    for process in reversed(stopped):
        process.resume()
    psutil.wait_procs(stopped, timeout=30)  # it was told to end while it stood still
    assert contents(tree) == expected
    assert times(tree) == before


def stop_busy_worker(label: str) -> list[psutil.Process]:
    """Stop a worker that runs a task of this label just now, and its children."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if f"ray::{label}:" in " ".join(process.cmdline()):
                tree = [process, *process.children(recursive=True)]
                for one in tree:
                    one.suspend()
                return tree
    return []


def times(tree: Path) -> dict[str, tuple[int, int]]:
    found = {path: path.stat() for path in tree.rglob("*") if path.is_file()}
    return {str(path.relative_to(tree)): (stat.st_ino, stat.st_mtime_ns) for path, stat in found.items()}


def test_what_loses_its_node_again_and_again_is_not_poison(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import NodeDiedError

    from cluster import flights

    starts: list[int] = []
    told: list[tuple[str, int, str]] = []

    def start() -> Any:
        starts.append(1)
        return ray.put(1)

    def lost(_: Any) -> Any:
        gone: Any = NodeDiedError
        return gone("gone") if len(starts) <= flights.ATTEMPTS + 1 else "done"

    monkeypatch.setattr(flights, "_outcome", lost)
    assert flights.call("once", start, lambda: None, lambda *what: told.append(what)) == "done"
    says = "Its node died: gone It is tried again at once."
    assert told == [("once", times, says) for times in range(1, flights.ATTEMPTS + 2)]
    assert len(starts) == flights.ATTEMPTS + 2


def kill_busy_workers(label: str) -> Iterator[int]:
    """Kill the processes of our own Ray that run a task of this label just now; their numbers."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if f"ray::{label}:" in " ".join(process.cmdline()):
                process.kill()
                yield process.pid


def test_what_kills_its_worker_three_times_is_poison(ray: Any, tmp_path: Path) -> None:
    from cluster.flights import ATTEMPTS, run_all

    def deadly(log: str) -> None:
        with Path(log).open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)

    log = tmp_path / "log"
    with pytest.raises(PoisonBrick, match="brick-7"):
        list(run_all([("brick-7", lambda: ray.remote(max_retries=0)(deadly).remote(str(log)))], 1, lambda: None))
    assert log.read_text() == "x" * ATTEMPTS


def test_while_a_call_rests_its_cpu_is_free(ray: Any, tmp_path: Path) -> None:
    from cluster.flights import ATTEMPTS, Flights

    def deadly() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def other() -> bool:
        return True

    told: list[tuple[str, int, float]] = []
    flights = Flights[str](lambda key, times, says: told.append((key, times, float(says.split()[-2]))))
    flights.launch("deadly", lambda: ray.remote(max_retries=0, num_cpus=2)(deadly).remote())
    ended: list[tuple[str, Any]] = []
    free: list[float] = []
    while not ended:
        ended = flights.wait()
        if flights.resting:
            free.append(flights.resting[0].not_before)
            assert ray.get(ray.remote(num_cpus=2)(other).remote())
            assert not flights.under_way
    [(_, error)] = ended
    assert isinstance(error, PoisonBrick)
    assert [(key, times) for key, times, _ in told] == [("deadly", times) for times in range(1, ATTEMPTS)]
    assert len(set(free)) == len(told)
    assert all(seconds >= 0.5 * 2 ** (times - 1) for _, times, seconds in told)


@pytest.mark.parametrize("stage", ["hash", "prepare", "seal"])
def test_the_death_of_any_task_is_told_with_its_place_and_reason(
    ray: Any, tmp_path: Path, beacon: None, stage: str
) -> None:
    from cluster.flights import call
    from cluster.nodes import FOLDER, errand

    def dies_once(log: str) -> str:
        if not Path(log).exists():
            Path(log).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    dies_once.__name__ = f"{stage}_task"
    told: list[tuple[str, int, str]] = []
    start = partial(errand(num_cpus=1)(dies_once).remote, str(tmp_path / "log"))
    assert call(stage, start, lambda: None, lambda *what: told.append(what)) == "done"
    [(name, times, says)] = told
    assert (name, times) == (stage, 1)
    where = f"{platform.node()}, process {(tmp_path / 'log').read_text()}"
    assert says.startswith(f"Its worker on {where} died: The worker died unexpectedly")
    assert re.search(r"It is tried again in \d\.\d seconds\.$", says)
    assert list((tmp_path / "storage" / "converted" / FOLDER).glob("task-*")) == [], "what is over says nothing"


def test_a_reader_that_crashed_is_tried_once_more_after_a_rest_that_holds_no_cpu(
    ray: Any, tmp_path: Path, beacon: None
) -> None:
    from cluster.flights import READER_ATTEMPTS, Flights
    from cluster.nodes import errand

    def perform_task(log: str) -> None:
        with Path(log).open("a") as file:
            file.write("x")
        raise ReaderCrashed("Reading the file ended its process (SIGSEGV).")

    told: list[tuple[str, int, str]] = []
    flights = Flights[str](lambda *what: told.append(what))
    flights.launch("brick", partial(errand(num_cpus=2)(perform_task).remote, str(tmp_path / "log")))
    ended: list[tuple[str, Any]] = []
    rests: list[float] = []
    while not ended:
        ended = flights.wait()
        if flights.resting:
            assert not flights.under_way
            rests.append(flights.resting[0].not_before - time.monotonic())
    assert isinstance(ended[0][1], ReaderCrashed)
    assert (tmp_path / "log").read_text() == "x" * READER_ATTEMPTS
    assert rests[0] > 0
    [(name, times, says)] = told
    assert (name, times) == ("brick", 1)
    assert says.startswith(f"Its reader on {platform.node()}, process ")
    assert " died: Reading the file ended its process (SIGSEGV). It is tried again in " in says


def test_one_death_is_not_poison(ray: Any, tmp_path: Path) -> None:
    from cluster.flights import call

    def dies_once(log: str) -> str:
        if not Path(log).exists():
            Path(log).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    assert (
        call("once", lambda: ray.remote(max_retries=0)(dies_once).remote(str(tmp_path / "log")), lambda: None) == "done"
    )


def test_what_a_task_raises_comes_back_as_it_was_and_once(ray: Any, tmp_path: Path) -> None:
    from cluster.flights import call

    def broken(log: str) -> None:
        with Path(log).open("a") as file:
            file.write("x")
        raise BadInput("The file is broken.")

    with pytest.raises(BadInput, match=r"^The file is broken\.$"):
        call("broken", lambda: ray.remote(max_retries=0)(broken).remote(str(tmp_path / "log")), lambda: None)
    assert (tmp_path / "log").read_text() == "x"


def test_being_told_to_stop_ends_what_is_under_way(ray: Any, tmp_path: Path) -> None:
    from cluster.flights import call

    def endless(log: str) -> None:
        Path(log).write_text(str(os.getpid()))
        time.sleep(600)

    def stop() -> None:
        if (tmp_path / "log").exists() and (tmp_path / "log").read_text():
            raise InterruptedError

    with pytest.raises(InterruptedError):
        call("endless", lambda: ray.remote(max_retries=0)(endless).remote(str(tmp_path / "log")), stop)
    worker = int((tmp_path / "log").read_text())
    until(lambda: not Path(f"/proc/{worker}").exists())


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("ray")
def test_a_task_that_no_node_can_hold_is_refused_with_numbers(source: Path, tmp_path: Path) -> None:
    from cluster.executor import RayExecutor

    staging = stage(source, tmp_path)
    plan: Plan = load_plan(staging)
    with pytest.raises(NeverFits, match="1,125,899,906,842,624"):
        RayExecutor().submit(staging, replace(plan.tasks[0], memory_bytes=1 << 50))


@pytest.mark.usefixtures("ray")
def test_inputs_are_digested_as_one_process_would(tmp_path: Path) -> None:
    from cluster.hashing import digest_inputs

    rng = np.random.default_rng(2)
    sizes = {"a": 0, "b": 1, "sub/c": 104_857_600, "sub/d": 104_857_601, "e": 230_000_000}
    (tmp_path / "sub").mkdir()
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(rng.bytes(size))
    told: list[int] = []
    found = digest_inputs(tmp_path, list(sizes), on_bytes=told.append, stop=lambda: None)
    assert found == tuple(digest_file(tmp_path, name) for name in sizes)
    assert sum(told) == sum(sizes.values())
    assert len(told) > 1


@pytest.mark.usefixtures("ray")
def test_what_one_driver_has_hashed_the_next_one_does_not_hash_again(tmp_path: Path) -> None:
    from cluster.hashing import digest_inputs

    (root := tmp_path / "upload").mkdir()
    for name in "ab":
        (root / name).write_bytes(random.Random(name).randbytes(104_857_601))
    expected = tuple(digest_file(root, name) for name in "ab")
    told: list[int] = []

    def stop() -> None:
        if sum(told):
            raise InterruptedError

    staging = tmp_path / "staging"
    with pytest.raises(InterruptedError):
        digest_inputs(root, ["a", "b"], on_bytes=told.append, stop=stop, parent=staging)
    assert 0 < sum(told) < 2 * 104_857_601, "the first one died on its way"
    before = told.copy()
    told.clear()
    assert digest_inputs(root, ["a", "b"], on_bytes=told.append, stop=lambda: None, parent=staging) == expected
    assert told[0] == sum(before), "that much was known"
    assert sum(told) == 2 * 104_857_601


# --- hostile bricks ------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize(
    ("act", "error"), [("crash", ReaderCrashed), ("hang_with_company", TimedOut), ("bomb", TooLarge)]
)
def test_a_brick_that_goes_bad_ends_its_dataset_alone_and_leaves_no_process(
    ray: Any,
    source: Path,
    tmp_path: Path,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    act: str,
    error: type[ScrayError],
    which: int,
) -> None:
    from cluster.executor import RayExecutor

    monkeypatch.setattr("cluster.executor.perform_task", ray.remote(num_cpus=1, max_retries=0)(perform_badly))
    bad, good = stage(source, tmp_path / "bad"), stage(source, tmp_path / "good")
    (bad / "trap").write_text(json.dumps({load_plan(bad).tasks[which].id: act}))
    with pytest.raises(error):
        execute(bad, RayExecutor(label="bad"))
    execute(good, RayExecutor(label="good"))
    assert contents(seal(good)) == expected
    victims = [int(pid) for name in ("victims", "company") for pid in _lines(bad / name)]
    assert victims
    until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in victims))


def perform_badly(staging: str, task_id: str) -> Mark:
    """What the remote function does, by a child that goes bad where the trap of the staging folder says so."""
    from converters import sandbox

    sandbox.Sandbox.program, sandbox.Sandbox.silence_seconds = "tests.hostile_child", 2.0
    return sandbox.perform(Path(staging), task_id, crash_again=False)


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def beacon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage as a driver has it, where workers can leave word."""
    from cluster.nodes import NODES, Beacon

    storage = Storage(*(tmp_path / "storage" / name for name in ("upload", "converted", "sync", "auth", "tmp", "logs")))
    storage.create()
    monkeypatch.setattr(NODES, "beacon", Beacon.light(storage, "driver"))


# How many arguments the task of each stage takes.
ARGUMENTS = {
    "hash": 2, "unpack": 3, "prepare": 3, "perform": 2, "seal": 1, "begin": 1, "fetch": 3, "check": 2, "send": 3
}  # fmt: skip


def test_every_kind_of_task_has_its_limit(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beacon: None
) -> None:
    from cluster import copying, syncing, tasks
    from cluster.flights import call
    from cluster.nodes import NODES, Errand

    errands = {
        name.removesuffix("_task"): value
        for module in (tasks, syncing, copying)
        for name, value in vars(module).items()
        if isinstance(value, Errand)
    }
    assert errands.keys() == SECONDS.keys() == ARGUMENTS.keys()
    monkeypatch.setattr(NODES, "limits", dict.fromkeys(SECONDS, 1e-6))  # nobody gets as far as to look at the arguments
    for stage, errand in errands.items():
        with pytest.raises(TimedOut, match=f"^The stage '{stage}' took longer than 1e-06 seconds"):
            call(stage, partial(errand.remote, *["nothing"] * ARGUMENTS[stage]), lambda: None)


@pytest.mark.parametrize("deaf", [False, True], ids=["interrupted", "no signal reaches it"])
def test_what_hangs_is_timed_out_with_all_it_started_and_not_tried_again(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beacon: None, deaf: bool
) -> None:
    from cluster.flights import call
    from cluster.nodes import FOLDER, NODES, errand

    def seal_task(log: str, deaf: bool) -> None:
        import signal
        import subprocess
        import time

        if deaf:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        with subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE) as child:
            assert child.stdout
            with Path(log).open("a") as file:
                file.write(f"{child.pid} {child.stdout.readline().decode()}")
            time.sleep(600)

    log = tmp_path / "log"
    monkeypatch.setattr(NODES, "limits", {"seal": 1.0})
    with pytest.raises(TimedOut, match="'seal' took longer than 1 seconds"):
        call("seal", lambda: errand(num_cpus=1)(seal_task).remote(str(log), deaf), lambda: None)
    [pids] = log.read_text().splitlines()
    until(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids.split()))
    assert list((tmp_path / "storage" / "converted" / FOLDER).glob("word-*")) == []


@pytest.mark.parametrize("stage", ["fetch", "send"])
def test_a_worker_that_stands_still_loses_its_task_to_another(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beacon: None, stage: str
) -> None:
    """The silent one is told to end; the others, which take longer than anybody may be silent, are left alone."""
    from cluster.flights import run_all
    from cluster.nodes import FOLDER, NODES, errand

    def task(log: str, freeze: bool) -> str:
        first = not Path(log).exists()
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()} ")
        if freeze and first:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif not freeze:
            time.sleep(4)
        return "done"

    task.__name__ = f"{stage}_task"
    assert NODES.beacon
    monkeypatch.setattr(NODES, "beacon", replace(NODES.beacon, silence_seconds=2.0))
    told: list[tuple[str, int, str]] = []
    tasks = {name: (str(tmp_path / name), name == "frozen") for name in ("frozen", "slow")}
    calls = [(name, partial(errand(num_cpus=0.5)(task).remote, *asked)) for name, asked in tasks.items()]
    found = dict(run_all(calls, 2, lambda: None, lambda *what: told.append(what)))
    assert found == {"frozen": "done", "slow": "done"}
    stopped, again = map(int, (tmp_path / "frozen").read_text().split())
    assert len((tmp_path / "slow").read_text().split()) == 1
    [(name, times, says)] = told
    assert (name, times, again != stopped) == ("frozen", 1, True)
    assert f"process {stopped} died: It gave no sign of life for 2 seconds" in says
    os.kill(stopped, signal.SIGCONT)
    until(lambda: not Path(f"/proc/{stopped}").exists())
    assert list((tmp_path / "storage" / "converted" / FOLDER).glob("task-*")) == []


def test_a_node_that_cannot_seal_off_readers_is_left_out(
    ray: Any, monkeypatch: pytest.MonkeyPatch, beacon: None
) -> None:
    from cluster.flights import call
    from cluster.nodes import NODES, errand

    def prepare_task() -> None:
        raise Unsealed("The kernel has no Landlock.")

    monkeypatch.setattr(NODES, "_out", {})
    with pytest.raises(Unsealed, match=r"^\S+ cannot seal off readers: The kernel has no Landlock\.$") as caught:
        call("plan", errand(num_cpus=1)(prepare_task).remote, lambda: None)
    [here] = ray.nodes()
    assert caught.value.node == here["NodeID"], "the only node: nobody else could do it"
    assert NODES.left_out() == {here["NodeID"]: caught.value.message}


def test_a_task_over_its_time_limit_ends_with_its_child_and_is_timed_out(
    ray: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.executor import RayExecutor
    from cluster.nodes import NODES

    staging = stage(source, tmp_path)
    monkeypatch.setattr(NODES, "limits", {**NODES.limits, "perform": 0.05})  # not even enough to start a child
    with pytest.raises(TimedOut, match=r"'perform' took longer than 0.05 seconds"):
        execute(staging, RayExecutor(cpus=2))
    monkeypatch.undo()
    execute(staging, RayExecutor(cpus=2))
    assert (seal(staging) / MANIFEST).is_file()
