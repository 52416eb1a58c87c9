"""Sums that are told to the database now and then, for what comes more often than it is worth a write."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

NEVER = float("-inf")


class Sums:
    """Sums by name, since each was last taken. Any thread may add.

    Promise: what was added is taken once. What was not taken when the process dies is lost: only what nothing rests on
    belongs here.
    """

    def __init__(self, period_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period_seconds
        self._clock = clock
        self._lock = Lock()
        self._sums: dict[str, tuple[int, float]] = {}  # and when it was taken last

    def add(self, name: str, amount: int) -> int:
        """The sum with this amount."""
        with self._lock:
            held, taken_at = self._sums.get(name, (0, NEVER))
            self._sums[name] = (held + amount, taken_at)
            return held + amount

    def is_due(self, name: str) -> bool:
        """Whether the sum was never taken, or not within the period."""
        with self._lock:
            return self._clock() - self._sums.get(name, (0, NEVER))[1] >= self._period

    def take(self, name: str) -> int:
        """The sum, which begins anew."""
        now = self._clock()
        with self._lock:
            held, _ = self._sums.pop(name, (0, NEVER))
            self._sums = {one: known for one, known in self._sums.items() if known[0] or now - known[1] < self._period}
            self._sums[name] = (0, now)
            return held

    def held(self) -> list[str]:
        """The names with a sum to take."""
        with self._lock:
            return [name for name, (held, _) in self._sums.items() if held]
