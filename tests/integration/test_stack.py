"""The local stack: ready, side by side, restarting what falls, and gone without a trace however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from urllib.request import urlopen

import pytest

from cluster import stack
from cluster.children import MARK, marked, sweep
from cluster.state import Places, State, is_held, read_state
from scray.catalog import Catalog
from scray.database import connect
from scray.settings import Settings
from tests.ray_session import stack_in, until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    with stack_in(tmp_path_factory.mktemp("first") / "data") as state:
        yield state


@pytest.fixture
def mark() -> Iterator[str]:
    """The id of a stack that the test starts; whatever a failing test leaves is ended."""
    stack_id = os.urandom(8).hex()
    yield stack_id
    sweep(stack_id)


def is_ready(state: State) -> bool:
    return stack.succeeds(f"{state.api}/readyz")


def actors(state: State) -> set[int]:
    """The processes in which drivers run."""
    return {process.pid for process in marked(state.id) if process.name().startswith("ray::Driver")}


def beat_age_seconds(state: State) -> float:
    settings = Settings(_env_file=state.settings_file)  # type: ignore[call-arg]
    database = connect(settings.mongo_url, settings.db_name)
    with database.client:
        return min(float(driver["age_seconds"]) for driver in Catalog(database).drivers() if "slots" in driver)


def start(command: list[str], mark: str, **more: str) -> subprocess.Popen[bytes]:
    """A command of the user's in a process group of its own, as a terminal would make it."""
    environment = {**os.environ, MARK: mark, **more}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    )


def test_everything_listens_on_loopback_only(first: State) -> None:
    import psutil

    listening = {
        connection.laddr.ip
        for process in marked(first.id)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_second_stack_on_one_folder_is_refused(first: State) -> None:
    with pytest.raises(stack.StackRuns):
        stack.spawn(Path(first.data), detach=False)
    with pytest.raises(stack.StackRuns):
        stack.Stack(Path(first.data)).run()
    assert is_ready(first)


@pytest.mark.parametrize("name", ["api", "database", "driver"])
def test_what_falls_over_is_started_again_where_it_was(first: State, name: str) -> None:
    places = Places(Path(first.data))
    before = read_state(places)
    assert before is not None
    settings = Settings(_env_file=first.settings_file)  # type: ignore[call-arg]
    database = connect(settings.mongo_url, settings.db_name)
    with database.client:
        Catalog(database).beat("somebody", {"remembers": name})
        os.kill(before.children[name], signal.SIGKILL)
        until(lambda: (read_state(places) or before).children[name] != before.children[name], 30, "the restart")
        until(lambda: is_ready(first), 60, "readiness")
        kept = {driver["name"]: driver.get("remembers") for driver in Catalog(database).drivers()}
    assert kept["somebody"] == name


def test_ray_without_its_raylet_is_started_again(first: State) -> None:
    places = Places(Path(first.data))
    before = read_state(places)
    assert before is not None
    raylet = next(process for process in marked(first.id) if process.name() == "raylet")
    driver = actors(first)
    time.sleep(2 * stack.LOOK_SECONDS)  # it has been seen
    raylet.kill()
    until(lambda: (read_state(places) or before).children["ray"] != before.children["ray"], 60, "the restart")
    until(lambda: any(process.name() == "raylet" for process in marked(first.id)), 60, "a raylet")
    until(lambda: bool(actors(first) - driver), 45, "another driver")  # clients of Ray notice after a minute
    came = time.monotonic()
    until(lambda: beat_age_seconds(first) < time.monotonic() - came, 60, "its heartbeat")
    assert is_ready(first)


def test_two_stacks_do_not_see_each_other(first: State, tmp_path: Path) -> None:
    with stack_in(tmp_path / "data") as second:
        assert is_ready(first)
        assert is_ready(second)
        assert len({first.api, second.api, first.mongo, second.mongo, first.ray, second.ray}) == 6
        assert len(marked(second.id)) >= 5
    assert marked(second.id) == []
    assert is_ready(first)


def test_a_stack_that_is_killed_leaves_nothing_and_starts_again(tmp_path: Path) -> None:
    process, state = stack.spawn(tmp_path, detach=True)
    try:
        process.kill()
        process.wait()
        until(lambda: marked(state.id) == [], 30, "the end of all its processes")
        assert not is_held(Places(tmp_path))
        process, again = stack.spawn(tmp_path, detach=True)
        state = again
        assert is_ready(again)
        assert stack.down(tmp_path)
        assert process.wait(10) == 0
        assert marked(again.id) == []
        assert not stack.down(tmp_path)
        assert not Path(again.temporary).exists()
    finally:
        sweep(state.id)


@pytest.mark.parametrize("seconds", [0.3, 1.5, 4.0, 9.0])
def test_ctrl_c_during_the_start_leaves_no_process(tmp_path: Path, mark: str, seconds: float) -> None:
    process = start([sys.executable, "-m", "cluster.cli", "up", "--data", str(tmp_path / "data")], mark)
    time.sleep(seconds)  # not a wait for a state: any moment will do
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    assert marked(mark) == []
    assert not (tmp_path / "data" / "stack" / "stack.json").exists()


@pytest.mark.parametrize("phase", ["starting", "ready"])
def test_ctrl_c_in_the_demonstration_leaves_no_process(mark: str, phase: str) -> None:
    data = ROOT / ".scray" / "demo"
    process = start(["make", "demo"], mark)
    until(lambda: (state := read_state(Places(data))) is not None and state.id == mark and state.phase == phase, 90)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    until(lambda: marked(mark) == [], 10, "the end of all its processes")


def test_up_prints_one_document_and_stays_until_told(tmp_path: Path, mark: str) -> None:
    command = [sys.executable, "-m", "cluster.cli", "up", "--json", "--data", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, MARK: mark}, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout
        document = json.loads(up.stdout.readline())
        assert {"api", "dashboard", "mongo", "data"} <= document.keys()
        assert Path(document["data"]) == tmp_path
        with urlopen(f"{document['api']}/healthz", timeout=10) as answer:
            assert answer.status == 200
        rmtree(tmp_path / "stack")  # it ends in order, too, where it can write nothing any more
        up.terminate()
        assert up.stdout.read() == ""
        assert up.wait(60) == 0
    assert marked(mark) == []


def test_without_a_database_the_stack_says_what_to_do(tmp_path: Path, mark: str) -> None:
    code = f"""
import pathlib, sys
from cluster import embedded
embedded.REPOSITORY = pathlib.Path({str(tmp_path)!r})
sys.argv = ["scray", "up", "--data", {str(tmp_path)!r}]
from cluster.cli import main
main()
"""
    environment = {**{k: v for k, v in os.environ.items() if k != "MONGO_URL"}, MARK: mark, "PATH": "/usr/bin:/bin"}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MONGO_URL" in done.stderr
    assert "[no-database]" in done.stderr
    assert marked(mark) == []
