"""A cluster on paper: the real `execute` carries out a real plan on workers that only exist as times on a heap."""

from __future__ import annotations

import heapq
import pickle
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cluster.patience import Patience
from converters.mark import Mark
from converters.task import Task
from scray.idx.writer import Written


@dataclass(frozen=True)
class Pace:
    """What tasks of one kind took in a measured run: seconds a byte, and how each differed from that."""

    seconds_a_byte: float
    spread: Sequence[float]

    @classmethod
    def fit(cls, measured: Sequence[tuple[int, float]]) -> Pace:
        """From (bytes, seconds) of tasks of about one size."""
        rate = sum(seconds for _, seconds in measured) / max(1, sum(size for size, _ in measured))
        return cls(rate, [seconds / max(rate * size, 1e-9) for size, seconds in measured])

    def seconds(self, size: int) -> float:
        return self.seconds_a_byte * size


@dataclass(frozen=True)
class Weather:
    """What goes wrong: so many tasks are so much slower, and a worker is lost every so often."""

    slow: float = 0.0
    times: float = 1.0
    lost_every_seconds: float = float("inf")
    restart_seconds: float = 10.0


@dataclass
class Cluster:
    """An executor of a plan; `now` is when the last task has ended, `work` the seconds of all of them, once each."""

    workers: int
    paces: Mapping[str, Pace]
    weather: Weather
    random: Random
    bandwidth: float = float("inf")  # bytes a second that the storage gives to all of them together
    window: int = 0
    now: float = 0.0
    work: float = 0.0
    passed_up: int = 0
    second_runs: int = 0
    losses: int = 0
    _ends: list[tuple[float, int, str]] = field(default_factory=list)
    _flying: dict[int, tuple[float, float]] = field(default_factory=dict)  # by run: its end, its bytes a second
    _runs: dict[str, list[int]] = field(default_factory=dict)
    _waiting: deque[str] = field(default_factory=deque)
    _tasks: dict[str, Task] = field(default_factory=dict)
    _number: int = 0
    _own: float = 0.0
    _demand: float = 0.0
    _next_loss: float = 0.0

    def __post_init__(self) -> None:
        from cluster.executor import TASKS_PER_CPU  # imports Ray, which is told its secret before that

        self.window = self.window or TASKS_PER_CPU * self.workers
        self.patience = Patience(self.workers)
        self.free = self.workers
        self._next_loss = self.weather.lost_every_seconds

    def submit(self, staging: Path, task: Task) -> None:  # noqa: ARG002
        self._tasks[task.id] = task
        self.patience.submit(task, self.now)
        self.work += self.paces[task.kind].seconds(task.read_bytes)
        self._waiting.append(task.id)
        self._fill()

    def _fill(self) -> None:
        while self.free and self._waiting:
            self._start(self._waiting.popleft())

    def _start(self, name: str, after_seconds: float = 0.0) -> None:
        task = self._tasks[name]
        pace = self.paces[task.kind]
        seconds = after_seconds + pace.seconds(task.read_bytes) * self.random.choice(pace.spread)
        if self.random.random() < self.weather.slow:
            seconds *= self.weather.times
        self.free -= 1
        self._number += 1
        self._runs.setdefault(name, []).append(self._number)
        self._flying[self._number] = (self._own + seconds, task.read_bytes / seconds)
        self._demand += task.read_bytes / seconds
        heapq.heappush(self._ends, (self._own + seconds, self._number, name))

    # --- time: every task has its own seconds, which pass more slowly where the storage is too slow for all ---

    @property
    def _slower(self) -> float:
        return max(1.0, self._demand / self.bandwidth)

    def _at(self, own: float) -> float:
        """When the tasks' own time will be so far, if nothing else happens before."""
        return self.now + (own - self._own) * self._slower

    def _pass(self, until: float) -> None:
        self._own += (until - self.now) / self._slower
        self.now = until

    def _land(self, number: int) -> None:
        """One run is over."""
        _, demand = self._flying.pop(number)
        self._demand -= demand
        self.free += 1

    def wait(self) -> list[tuple[str, Mark | BaseException]]:
        """The next event on paper: a task ends, or a worker is lost and its task begins again."""
        while self._ends[0][1] not in self._flying:
            heapq.heappop(self._ends)
        end = self._at(self._ends[0][0])
        if self._next_loss < end:
            self._lose()
            return []
        if self._hurry(end):
            return []
        _, _, name = heapq.heappop(self._ends)
        self._pass(end)
        for run in self._runs.pop(name):  # the slower one is cancelled
            self._land(run)
        self.patience.end(name, self.now)
        mark = mark_of(self._tasks.pop(name))
        self.passed_up += len(pickle.dumps(mark))
        self._fill()
        return [(name, mark)]

    def _lose(self) -> None:
        """A random worker; when it is back, its task begins again."""
        self._pass(self._next_loss)
        self._next_loss += self.weather.lost_every_seconds
        name = self.random.choice(list(self._runs))
        self.losses += 1
        self._land(self._runs[name].pop())
        self._start(name, self.weather.restart_seconds)

    def _hurry(self, end: float) -> bool:
        """As the Ray executor does: where workers idle, what takes too long runs a second time."""
        if not self.free or self._waiting:
            return False
        late, name = min((one for one in self.patience.limits() if len(self._runs[one[1]]) == 1), default=(end, ""))
        if late >= end:
            return False
        self._pass(max(self.now, late))
        self.second_runs += 1
        self._start(name)
        return True

    def close(self) -> None:
        """Nothing to stop."""


def mark_of(task: Task) -> Mark:
    """As large as a real one: a file of 32 MiB has one digest, a brick has a residual, and stages have their times."""
    files = max(1, task.read_bytes >> 25)
    written = tuple(Written(f"0a1b2c3d/00/00/{n:04x}.bin", (1 << 24) + n, f"{n:064x}") for n in range(files))
    kept = (Written(f"residual/{task.id}.raw", 1 << 25, f"{files:064x}"),) if task.kind == "brick" else ()
    extremes: dict[str, tuple[float, ...]] = {"data": (0.0,)}
    seconds = {stage: 1.0 + number for number, stage in enumerate(("read", "extremes", "write", "verify", "residual"))}
    return Mark(task.id, written, kept, extremes, extremes, task.read_bytes, task.read_bytes, seconds, verified=True)


def longest_chain(tasks: Sequence[Task], paces: Mapping[str, Pace]) -> float:
    """Seconds of the longest row of tasks that wait for each other."""
    ends: dict[str, float] = {}
    for task in tasks:  # a plan lists a task after those it needs
        before = max((ends[name] for name in task.after), default=0.0)
        ends[task.id] = before + paces[task.kind].seconds(task.read_bytes)
    return max(ends.values())
