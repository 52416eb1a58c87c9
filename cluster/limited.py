"""A task that takes too long ends with all it started, and says so. It runs in the worker, in its main thread.

The kernel's timer interrupts what waits or computes in Python; what hangs where no signal reaches Python is ended with
its whole process, some time later, and since that can answer nobody any more, it leaves word before.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

from scray.errors import TimedOut

GRACE_SECONDS = 5.0


class _Over(BaseException):
    """The time is over; no `except` of a task takes it for its own."""


@contextmanager
def within(stage: str, seconds: float, leave_word: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """At most so long; then every process that was started below this one is killed, and TimedOut raised.

    Where it cannot be raised, `leave_word` hears what it would say, and the whole process ends.
    """
    says = f"The stage '{stage}' took longer than {seconds:g} seconds (SCRAY_TIME_LIMITS)."
    last = threading.Timer(seconds + GRACE_SECONDS, _end_it_all, (leave_word, says))
    last.daemon = True
    before = signal.signal(signal.SIGALRM, _alarm)
    last.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    except _Over:
        raise TimedOut(says) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        last.cancel()


def _alarm(_number: int, _frame: FrameType | None) -> None:
    """The children first: what is unwound now may wait for them."""
    kill_children()
    raise _Over


def kill_children() -> None:
    """Kill what this process has started, and what that has."""
    below = psutil.Process().children(recursive=True)
    for process in below:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(below, timeout=GRACE_SECONDS)


def _end_it_all(leave_word: Callable[[str], None], says: str) -> None:
    """The storage may be what hangs: the word has its time, too."""
    kill_children()
    word = threading.Thread(target=leave_word, args=(says,), daemon=True)
    word.start()
    word.join(GRACE_SECONDS)
    os._exit(1)
