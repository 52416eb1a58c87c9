"""How long a task may take before it is run a second time beside itself; pure but for its clock.

That is safe: both write the same bytes under names of their own and rename them. The first to end counts, the other
one is cancelled. A worker that stands still, on a disk or a node that does, holds nobody up for longer than this.
"""

from __future__ import annotations

from collections import deque
from statistics import median

LEAST_SECONDS = 30.0  # nothing shorter is worth a second run
TIMES = 4.0  # so much slower than its fellows is a straggler
FELLOWS, LATEST = 5, 100  # so many have to have ended before they are a measure, and so many of them are it
SLOW_RATE = 4 << 20  # bytes a second; before there is a measure, even a slow task is faster


class Patience:
    """Learns from the tasks of one dataset that have ended how long the next may take."""

    def __init__(self, least_seconds: float = LEAST_SECONDS) -> None:
        self.least_seconds = least_seconds
        self._took: deque[float] = deque(maxlen=LATEST)
        self._usual = 0.0

    def learn(self, seconds: float) -> None:
        """A task has ended after so long, waiting for its worker included."""
        self._took.append(seconds)
        self._usual = median(self._took)

    def limit_seconds(self, read_bytes: int) -> float:
        """When a task that reads so many bytes is a straggler."""
        if len(self._took) >= FELLOWS:
            return max(self.least_seconds, TIMES * self._usual)
        return self.least_seconds + read_bytes / SLOW_RATE
