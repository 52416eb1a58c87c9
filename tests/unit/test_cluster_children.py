import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cluster.children import MARK, TETHER, Child, marked, sweep

SLEEP = "import time; time.sleep(600)"


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def stack_id() -> Iterator[str]:
    mark = os.urandom(8).hex()
    yield mark
    sweep(mark)


def child(stack_id: str, log: Path, code: str = SLEEP) -> Child:
    return Child("child", lambda: [sys.executable, "-c", code], {**os.environ, MARK: stack_id}, log)


def test_a_child_starts_writes_its_log_and_stops(stack_id: str, tmp_path: Path) -> None:
    one = child(stack_id, tmp_path / "log", "print('hello', flush=True)\n" + SLEEP)
    one.start()
    until(lambda: "hello" in one.last_words())
    assert one.running
    assert [process.pid for process in marked(stack_id)] == [one.pid]
    one.stop()
    assert marked(stack_id) == []


def test_starts_are_counted_in_a_window(stack_id: str, tmp_path: Path) -> None:
    one = child(stack_id, tmp_path / "log", "pass")
    for _ in range(3):
        one.start()
        until(lambda: not one.running)
    assert one.restarts_within(600) == 3
    assert one.restarts_within(-1) == 0


def test_a_child_is_in_a_session_of_its_own(stack_id: str, tmp_path: Path) -> None:
    one = child(stack_id, tmp_path / "log")
    one.start()
    until(lambda: os.getsid(one.pid or 0) == one.pid)
    one.stop()


def test_a_child_dies_with_its_parent(stack_id: str) -> None:
    code = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-S", {str(TETHER)!r}, str(os.getpid()), sys.executable, "-c", {SLEEP!r}])
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, MARK: stack_id})
    until(lambda: [sys.executable, "-c", SLEEP] in [process.cmdline() for process in marked(stack_id)])
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: marked(stack_id) == [])


def test_a_sweep_ends_what_ignores_the_first_signal_and_nothing_else(stack_id: str, tmp_path: Path) -> None:
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('set', flush=True)\n{SLEEP}"
    one, other = child(stack_id, tmp_path / "one", stubborn), child("somebody else", tmp_path / "other")
    one.start()
    other.start()
    try:
        until(lambda: "set" in one.last_words())
        assert sweep(stack_id, grace_seconds=0.2) == 1
        until(lambda: not one.running)
        assert other.running
        assert sweep(stack_id) == 0
    finally:
        other.stop()


def test_a_zombie_is_not_counted(stack_id: str, tmp_path: Path) -> None:
    one = child(stack_id, tmp_path / "log", "pass")
    one.start()
    until(lambda: psutil.Process(one.pid).status() == psutil.STATUS_ZOMBIE)
    assert marked(stack_id) == []
    one.stop()
