"""Several datasets in flight: small ones are packed, a huge one is spread, and no CPU is idle while anything waits.

A cluster that takes tasks in the order in which they come, as Ray does; a task takes one beat.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest

from cluster.sharing import Sharing

CPUS, TASKS_PER_CPU = 8, 3
MOST = CPUS * TASKS_PER_CPU
HUGE = 2000


@dataclass(eq=False)
class Dataset:
    left: int  # tasks not handed over yet
    row: bool = False  # each task waits for the one before, like hash, plan, merge and seal
    open: int = 0
    began: int = 0
    ended: int | None = None


@dataclass
class Cluster:
    """Beats until everything has ended; `busy` are the CPUs at work at each beat."""

    sharing: Sharing = field(default_factory=Sharing)
    datasets: list[Dataset] = field(default_factory=list)
    waiting: deque[Dataset] = field(default_factory=deque)
    busy: list[int] = field(default_factory=list)
    most_open: int = 0

    def add(self, *datasets: Dataset) -> None:
        for dataset in datasets:
            dataset.began = len(self.busy)
            self.datasets.append(dataset)
            self.sharing.join(dataset)

    def beat(self) -> None:
        for dataset in self.datasets:
            window = 1 if dataset.row else self.sharing.window(dataset, MOST)
            while dataset.left and dataset.open < window:
                dataset.left -= 1
                dataset.open += 1
                self.waiting.append(dataset)
        self.most_open = max(self.most_open, len(self.waiting))
        running = [self.waiting.popleft() for _ in range(min(CPUS, len(self.waiting)))]
        self.busy.append(len(running))
        for dataset in running:
            dataset.open -= 1
        for dataset in [one for one in self.datasets if not one.left and not one.open]:
            dataset.ended = len(self.busy)
            self.datasets.remove(dataset)
            self.sharing.leave(dataset)

    def finish(self) -> None:
        while self.datasets:
            self.beat()


def test_a_huge_one_alone_is_spread_over_all_cpus() -> None:
    cluster = Cluster()
    cluster.add(Dataset(HUGE))
    cluster.finish()
    assert cluster.busy == [CPUS] * (HUGE // CPUS)


def test_small_ones_are_packed() -> None:
    cluster = Cluster()
    cluster.add(*(Dataset(4, row=True) for _ in range(2 * CPUS)))
    cluster.finish()
    assert cluster.busy == [CPUS] * 8


@pytest.mark.parametrize("huge", [1, 5, 50])
def test_a_small_one_passes_huge_ones_by(huge: int) -> None:
    """Every step of it waits for the tasks that are under way, a few a CPU, however many and large the others are."""
    cluster = Cluster()
    cluster.add(*(Dataset(HUGE) for _ in range(huge)))
    for _ in range(20):
        cluster.beat()
    small = Dataset(4, row=True)
    cluster.add(small)
    while small.ended is None:
        cluster.beat()
    deepest = 2 * MOST + huge  # fair shares are rounded up
    assert cluster.most_open <= deepest
    assert small.ended - small.began <= 4 * (deepest // CPUS + 1)


def test_what_small_ones_leave_a_huge_one_takes() -> None:
    """A hundred datasets that have one task each at a time, and a huge one: every CPU is at work all the time."""
    cluster = Cluster()
    cluster.add(Dataset(HUGE), *(Dataset(3, row=True) for _ in range(CPUS - 2)))
    for _ in range(HUGE // CPUS):
        cluster.beat()
    assert set(cluster.busy) == {CPUS}


def test_a_thousand_mixtures_keep_every_cpu_busy_while_there_are_tasks() -> None:
    for seed in range(1000):
        random, cluster = Random(seed), Cluster()
        for _ in range(random.randint(1, 6)):
            cluster.add(*(Dataset(random.choice((1, 5, 200)), row=random.random() < 0.3) for _ in range(4)))
            for _ in range(random.randint(0, 30)):
                cluster.beat()
                held_back = any(not one.row and one.left for one in cluster.datasets)
                assert cluster.busy[-1] == CPUS or not held_back, f"seed {seed}"
        cluster.finish()
        assert cluster.sharing.window(Dataset(1), MOST) == MOST, "whoever ended has left"


def test_who_is_forgotten_has_left() -> None:
    sharing = Sharing()
    sharing.join(Dataset(1, open=20))
    assert sharing.window(Dataset(1), MOST) == MOST
