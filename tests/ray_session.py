"""One whole stack on loopback, and one plain Ray, for all tests of a session that need them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import psutil

from cluster.children import MARK
from cluster.head import free_ports
from cluster.stack import running
from cluster.state import State


def until(condition: Callable[[], bool], seconds: float = 60, what: str = "it") -> None:
    """Wait for a state, looking often."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} seconds"
        time.sleep(0.05)


def kill_driver(stack: State) -> None:
    """The actor's process, by its name under Ray."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == stack.id and "ray::Driver" in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)
                return
        except psutil.Error:
            continue
    raise AssertionError("there is no driver")


def signal_worker(stack: State, label: str, number: signal.Signals) -> psutil.Process:
    """Send a signal to the worker that has a task whose name begins so; the worker."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == stack.id and f"ray::{label}" in " ".join(process.cmdline()):
                process.send_signal(number)
                return process
    raise AssertionError(f"nobody works on {label}")


@contextmanager
def stack_in(folder: Path, **settings: str) -> Iterator[State]:
    """A ready stack whose data are in `folder`; `settings` are environment variables of it."""
    settings = {"SCRAY_API_PORT": str(free_ports(1)[0]), **settings}  # another one may be starting beside it
    with patch.dict(os.environ, settings), running(folder) as state:
        yield state
