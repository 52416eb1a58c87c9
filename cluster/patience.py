"""How long a task may take before it is run a second time beside itself; pure, times are its caller's.

That is safe: both write the same bytes under names of their own and rename them. The first to end counts, the other
one is cancelled. A worker that stands still, on a disk or a node that does, holds nobody up for longer than this.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from statistics import median

from converters.task import Kind, Task

LEAST_SECONDS = 5.0  # nothing shorter is worth a second run
TIMES = 1.5  # so much slower than its fellows is a straggler
FELLOWS, LATEST = 5, 100  # so many of its kind have to have ended before they are a measure, and so many of them are it
SLOW_RATE = 4 << 20  # bytes a second; before there is a measure, even a slow task is faster
UNKNOWN_TIMES = 6.0  # nothing shorter than so many times the least, before there is a measure


class Patience:
    """Learns from the tasks of one dataset that have ended how long those under way may take.

    Nobody tells when a task begins, but on `cpus` workers the first that were submitted run and the others wait.
    """

    def __init__(self, cpus: int, least_seconds: float = LEAST_SECONDS) -> None:
        self.cpus, self.least_seconds = cpus, least_seconds
        self._tasks: dict[str, Task] = {}
        self._running: dict[str, float] = {}  # since when
        self._waiting: dict[str, None] = {}
        self._took: defaultdict[Kind, deque[float]] = defaultdict(lambda: deque(maxlen=LATEST))  # seconds a byte
        self._usual: dict[Kind, float] = {}

    def submit(self, task: Task, now: float) -> None:
        self._tasks[task.id] = task
        self._waiting[task.id] = None
        self._move_up(now)

    def resize(self, cpus: int, now: float) -> None:
        """So many workers there are by now."""
        self.cpus = cpus
        self._move_up(now)

    def end(self, name: str, now: float) -> None:
        """A task has ended, well or not."""
        task = self._tasks.pop(name)
        self._waiting.pop(name, None)
        if name in self._running:
            took = self._took[task.kind]
            took.append((now - self._running.pop(name)) / _size(task))
            self._usual[task.kind] = median(took)
        self._move_up(now)

    def _move_up(self, now: float) -> None:
        while self._waiting and len(self._running) < self.cpus:
            name = next(iter(self._waiting))
            del self._waiting[name]
            self._running[name] = now

    def limits(self) -> Iterator[tuple[float, str]]:
        """From when on each of those that run is a straggler."""
        for name, began in self._running.items():
            yield began + self._limit_seconds(self._tasks[name]), name

    def _limit_seconds(self, task: Task) -> float:
        if len(self._took[task.kind]) >= FELLOWS:
            return max(self.least_seconds, TIMES * self._usual[task.kind] * _size(task))
        return UNKNOWN_TIMES * self.least_seconds + task.read_bytes / SLOW_RATE


def _size(task: Task) -> int:
    return max(1, task.read_bytes)
