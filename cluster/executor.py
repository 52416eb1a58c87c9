"""The Ray executor of a plan: a bounded number of tasks in flight, each with its declared memory; stragglers twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cluster.flights import Died, Flights, cluster_cpus, largest_node_bytes, say_died
from cluster.patience import LEAST_SECONDS, Patience
from cluster.sharing import SHARING
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
        tasks_per_cpu: int = TASKS_PER_CPU,
        patience_seconds: float = LEAST_SECONDS,
        on_death: Died = say_died,
    ) -> None:
        self.label = label
        self._cpus, self.tasks_per_cpu = cpus, tasks_per_cpu
        self.patience = Patience(self.cpus, patience_seconds)
        self.memory_bytes = largest_node_bytes()
        self.flights = Flights[str](on_death)
        SHARING.join(self.flights)

    @property
    def cpus(self) -> int:
        """As of now: nodes come and go."""
        return self._cpus or cluster_cpus()

    @property
    def window(self) -> int:
        """As of now: other datasets come and go, too."""
        return SHARING.window(self.flights, self.tasks_per_cpu * self.cpus)

    def submit(self, staging: Path, task: Task) -> None:
        """Hand one task to Ray. NeverFits when no node is as large as the memory it declares."""
        if task.memory_bytes > self.memory_bytes:
            raise NeverFits(
                f"{task.id} needs {task.memory_bytes:,} bytes of memory; the largest node offers "
                f"{self.memory_bytes:,}. Lower SCRAY_TASK_MEMORY or add a larger node."
            )
        remote: Any = perform_task.options(memory=task.memory_bytes, name=f"{self.label}:{task.id}")
        self.patience.submit(task, time.monotonic())
        self.flights.launch(task.id, lambda: remote.remote(str(staging), task.id))

    def wait(self) -> list[tuple[str, Mark | BaseException]]:
        """What has ended meanwhile; empty when nothing did within half a second. Dead workers were tried again."""
        ended = self.flights.wait()
        for name, _ in ended:
            self.patience.end(name, time.monotonic())
        self._hurry(self.cpus)
        return ended

    def _hurry(self, cpus: int) -> None:
        """Where CPUs have nothing else to do, run what takes too long a second time."""
        self.patience.resize(cpus, time.monotonic())
        idle = cpus - len(self.flights.under_way)
        if idle <= 0:
            return
        now = time.monotonic()
        late = {name for moment, name in self.patience.limits() if moment <= now}
        late_alone = [flight for flight in self.flights.alone() if flight.key in late]
        for flight in late_alone[:idle]:
            if flight.seconds > self.patience.least_seconds:
                self.flights.launch_second(flight)

    def close(self) -> None:
        """Stop what is still under way."""
        SHARING.leave(self.flights)
        self.flights.cancel()
