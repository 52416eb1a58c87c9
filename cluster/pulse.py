"""Which workers stand still: each touches the file of its task every few seconds; who does not for long is given up.

Times are those of whoever looks, and only changes count: no clock has to agree with another one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BEAT_SECONDS = 5.0
BEATS = 8  # at least so many beats are missed by then, and so often somebody looks


def beat_seconds(silence_seconds: float) -> float:
    """How often to touch a file that may not be silent for longer than that."""
    return min(BEAT_SECONDS, silence_seconds / BEATS)


@contextmanager
def beating(path: Path, seconds: float) -> Iterator[None]:
    """Touch a file every so many seconds, from a thread that stands still when the process does."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(seconds):
            with suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()  # nobody waits for a touch that hangs


class Pulse:
    """Looks at the files of tasks now and then. `last` tells when one was touched (any number), None for no file."""

    def __init__(self, last: Callable[[str], int | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._last, self._clock = last, clock
        self._seen: dict[str, tuple[int, float]] = {}  # when it was touched, and since when that is known
        self._looked = float("-inf")

    def silent(self, tasks: Iterable[str], silence_seconds: float) -> set[str]:
        """Those of these tasks that have begun, and were not heard of for so long."""
        now = self._clock()
        if now - self._looked < silence_seconds / BEATS:
            return set()
        self._looked = now
        before, self._seen = self._seen, {}
        for task in tasks:
            if (touched := self._last(task)) is not None:
                known = before.get(task)
                self._seen[task] = known if known and known[0] == touched else (touched, now)
        return {task for task, (_, since) in self._seen.items() if now - since >= silence_seconds}
