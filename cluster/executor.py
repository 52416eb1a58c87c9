"""The Ray executor of a plan: a bounded number of tasks in flight, each with its declared memory; stragglers twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cluster.flights import Died, Flights, cluster_cpus, largest_node_bytes, say_died
from cluster.patience import LEAST_SECONDS, Patience
from cluster.tasks import perform_task
from converters.mark import Mark
from converters.task import Task
from scray.errors import NeverFits

TASKS_PER_CPU = 3


class RayExecutor:
    """Runs tasks of a plan on the Ray cluster this process is connected to. One thread."""

    def __init__(
        self,
        *,
        label: str = "plan",
        cpus: int | None = None,
        patience_seconds: float = LEAST_SECONDS,
        on_death: Died = say_died,
    ) -> None:
        self.label = label
        self.cpus = cpus or cluster_cpus()
        self.window = TASKS_PER_CPU * self.cpus
        self.patience = Patience(patience_seconds)
        self.began: dict[str, tuple[float, int]] = {}  # when each task was submitted, and what it reads
        self.memory_bytes = largest_node_bytes()
        self.flights = Flights[str](on_death)

    def submit(self, staging: Path, task: Task) -> None:
        """Hand one task to Ray. NeverFits when no node is as large as the memory it declares."""
        if task.memory_bytes > self.memory_bytes:
            raise NeverFits(
                f"{task.id} needs {task.memory_bytes:,} bytes of memory; the largest node offers "
                f"{self.memory_bytes:,}. Lower SCRAY_TASK_MEMORY or add a larger node."
            )
        remote: Any = perform_task.options(memory=task.memory_bytes, name=f"{self.label}:{task.id}")
        self.began[task.id] = (time.monotonic(), task.read_bytes)
        self.flights.launch(task.id, lambda: remote.remote(str(staging), task.id))

    def wait(self) -> list[tuple[str, Mark | BaseException]]:
        """What has ended meanwhile; empty when nothing did within half a second. Dead workers were tried again."""
        ended = self.flights.wait()
        for name, _ in ended:
            began, _ = self.began.pop(name)
            self.patience.learn(time.monotonic() - began)
        self._hurry()
        return ended

    def _hurry(self) -> None:
        """Where CPUs have nothing else to do, run what takes too long a second time."""
        for flight in self.flights.alone():
            if len(self.flights.under_way) >= self.cpus:
                return
            if flight.seconds > self.patience.limit_seconds(self.began[flight.key][1]):
                self.flights.launch_second(flight)

    def close(self) -> None:
        """Stop what is still under way."""
        self.flights.cancel()
