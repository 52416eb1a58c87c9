"""A task that takes too long ends with all it started, and says so. It runs in the worker, in its main thread.

The kernel's timer interrupts what waits or computes in Python; what hangs where no signal reaches Python is ended with
its whole process, some time later.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

from scray.errors import TimedOut

GRACE_SECONDS = 30.0


class _Over(BaseException):
    """The time is over; no `except` of a task takes it for its own."""


@contextmanager
def within(stage: str, seconds: float) -> Iterator[None]:
    """At most so long; then every process that was started below this one is killed, and TimedOut raised."""
    last = threading.Timer(seconds + GRACE_SECONDS, _end_it_all)
    last.daemon = True
    before = signal.signal(signal.SIGALRM, _alarm)
    last.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    except _Over:
        kill_children()
        raise TimedOut(f"The stage '{stage}' took longer than {seconds:g} seconds (SCRAY_TIME_LIMITS).") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        last.cancel()


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise _Over


def kill_children() -> None:
    """Kill what this process has started, and what that has."""
    below = psutil.Process().children(recursive=True)
    for process in below:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(below, timeout=GRACE_SECONDS)


def _end_it_all() -> None:
    kill_children()
    os._exit(1)
