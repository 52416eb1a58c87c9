"""A fair queue: whoever is next is so by one rule, nobody starves, and nobody's many keep out another's one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from random import Random

import pytest

from scray.errors import StorageError
from scray.order import AGEING_SECONDS
from scray.queue import Claim
from scray.testing import MemoryQueue

HOUR = 3600.0
LEASE = 1e9  # these drivers do not die


class Service:
    """One driver with so many slots, over a queue in memory."""

    def __init__(self, slots: int, seed: int = 0) -> None:
        self.random, self.slots = Random(seed), slots
        self.queue = MemoryQueue(lease_seconds=LEASE, random=self.random)
        self.held: dict[str, Claim] = {}
        self.claimed: list[str] = []
        self.number = 0

    @property
    def running(self) -> Counter[str]:
        return Counter(claim.dataset.user for claim in self.held.values())

    def add(self, user: str, priority: int = 2) -> str:
        self.number += 1
        uuid = f"{user}-{self.number:05}"
        self.queue.add({"uuid": uuid, "status": "conversion queued", "user": user, "priority": priority})
        return uuid

    def fill(self) -> None:
        """Take what fits; at each claim nothing that waits may have been more due."""
        line = self.queue.look(self.running)
        for claim in islice(self.queue.take(line, "driver", self.running), self.slots - len(self.held)):
            assert self.due(claim.uuid) <= min(self.due(uuid) for uuid in (claim.uuid, *self.waiting()))
            self.held[claim.uuid] = claim
            self.claimed.append(claim.uuid)

    def waiting(self) -> Iterator[str]:
        now = self.queue.now()
        for row in self.queue.memory.waiting():
            if row["not_before"] is None or row["not_before"] <= now:
                yield row["uuid"]

    def due(self, uuid: str) -> tuple[int, int, float]:
        """The rule, said once more: priority less hours waited, what the user has in work, how long it waits."""
        row = self.queue.memory.read(uuid)
        assert row is not None
        waited = (self.queue.now() - row["queued_at"]).total_seconds()
        return max(1, row["priority"] - int(waited // AGEING_SECONDS)), self.running[row["user"]], -waited

    def finish(self, uuid: str) -> None:
        assert self.queue.finish(self.held.pop(uuid))

    def fail(self, uuid: str) -> None:
        self.queue.fail(self.held.pop(uuid), StorageError())


@pytest.mark.slow
def test_three_hundred_queues_keep_the_rule() -> None:
    """Users of different zeal, all priorities, failures with their pauses; the rule is checked at every claim."""
    claims = 0
    for seed in range(300):
        service = Service(slots=1 + seed % 7, seed=seed)
        random = service.random
        for _ in range(40):
            for _ in range(random.choice((0, 1, 5))):
                service.add(random.choice(("ann", "ann", "ann", "bob", "eve")), random.choice((1, 2, 3)))
            service.fill()
            for uuid in [one for one in service.held if random.random() < 0.5]:
                service.fail(uuid) if random.random() < 0.2 else service.finish(uuid)
            service.queue.clock.advance(random.choice((1, 60, HOUR / 2)))
        claims += len(service.claimed)
    assert claims >= 10_000


def test_a_thousand_of_one_user_do_not_hold_up_the_one_of_another() -> None:
    service = Service(slots=4)
    for _ in range(1000):
        service.add("ann")
    service.fill()
    service.queue.clock.advance(60)
    only = service.add("bob")
    service.finish(service.claimed[0])
    service.fill()
    assert service.claimed[-1] == only


def test_slots_are_shared_by_users_however_many_each_has_waiting() -> None:
    service = Service(slots=6)
    for count, user in ((500, "ann"), (50, "bob"), (5, "eve")):
        for _ in range(count):
            service.add(user)
    service.fill()
    assert service.running == {"ann": 2, "bob": 2, "eve": 2}


def test_low_priority_does_not_starve() -> None:
    """The high ones come as fast as they are done, for ever: after two hours the low one is the first of them all."""
    service = Service(slots=1)
    low = service.add("ann", priority=3)
    for _ in range(200):
        service.add("ann", priority=1)
        service.fill()
        if low in service.claimed:
            break
        service.finish(service.claimed[-1])
        service.queue.clock.advance(60)
    assert service.claimed.index(low) * 60 == 2 * AGEING_SECONDS


def test_what_fails_again_and_again_pauses_and_slows_nobody() -> None:
    service = Service(slots=1)
    bad = service.add("ann", priority=1)
    for _ in range(30):
        service.add("bob", priority=3)
    pauses: list[float] = []
    last = None
    while service.queue.counts()["conversion queued"]:  # type: ignore[index]
        service.fill()
        for uuid in list(service.held):
            if uuid == bad:
                pauses += [(service.queue.now() - last).total_seconds()] if last else []
                last = service.queue.now()
                service.fail(uuid)
            else:
                service.finish(uuid)
        service.queue.clock.advance(1)
    assert sum(uuid != bad for uuid in service.claimed) == 30
    assert pauses == sorted(pauses)
    assert len(pauses) >= 2
