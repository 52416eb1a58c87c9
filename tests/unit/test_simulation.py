"""Ten thousand lives of a queue and its drivers, on a clock set by hand: whatever dies when, no promise is
broken.

A life: a few datasets and drivers, each driver with its own wrong clock. Drivers decide by
`reconcile.decide`; they freeze, die and come back; files come late; users cancel; errors strike. Then it
grows calm, and everything must end.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from scray.dataset import Dataset, Progress
from scray.errors import BadInput, StorageError, WorkerLost
from scray.queue import Claim
from scray.reconcile import Expire, Forget, Leave, Renew, Snapshot, Stop, Take, Work, decide
from scray.retry import MAX_ATTEMPTS
from scray.status import Status
from scray.testing import MemoryQueue

LIVES = 10_000
LEASE = 60.0
BUSY_STEPS, CALM_STEPS = 16, 300
ENDS = {Status.DONE, Status.CONVERSION_FAILED, Status.CANCELLED}
PROGRESS = Progress(stage="convert")


@dataclass
class Truth:
    """What really happened to a dataset, told by nobody but the simulation."""

    bricks: int
    files: int = 0  # that have arrived
    open: list[str] = field(default_factory=list)
    finished: dict[int, set[int]] = field(default_factory=dict)  # bricks on disk, by the files they were made from
    fruitless: int = 0  # claims in a row that failed without a new brick
    broken: bool = False  # a permanent error was reported
    published: int = -1  # the files of the dataset that readers see
    runs_ended: set[str] = field(default_factory=set)  # tokens whose finish the queue accepted


@dataclass
class Held:
    claim: Claim
    work: Work
    files: int
    advanced: bool = False


class Driver:
    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.random = world, name, world.random
        self.offset, self.rate = self.random.uniform(-1e6, 1e6), self.random.uniform(0.6, 1.2)
        self.held: dict[str, Held] = {}
        self.snapshot = Snapshot((), self.random.choice((1, 2, 4)), LEASE, 0.5)
        self.frozen_until = 0.0
        self.alive = True

    @property
    def now(self) -> float:
        return self.offset + self.rate * self.world.seconds

    def die(self) -> None:
        self.alive = False
        self.held = {}

    def rise(self) -> None:
        self.alive = True
        for claim in self.world.queue.adopt(self.name):
            self.take(claim, self.now)

    def tick(self) -> None:
        works = tuple(held.work for held in self.held.values())
        self.snapshot = replace(self.snapshot, works=works)
        for action in decide(self.snapshot, self.now):
            self.perform(action)

    def toil(self) -> None:
        for held in list(self.held.values()):
            if self.random.random() < 0.6:
                self.labour(held)

    def perform(self, action: object) -> None:
        match action:
            case Renew(uuid):
                held = self.held[uuid]
                asked = self.now
                if self.world.call("renew", held, lambda: self.world.queue.renew(held.claim)):
                    wanted = self.world.queue.cancel_wanted(held.claim)
                    held.work = replace(held.work, renewed_at=asked, tried_at=asked, cancel_wanted=wanted)
                else:
                    held.work = replace(held.work, lost=True)
            case Stop(uuid, order):
                self.stop(self.held[uuid], order)
            case Forget(uuid):
                del self.held[uuid]
            case Take(count):
                self.claim(count)
            case Expire():
                self.snapshot = replace(self.snapshot, expired_at=self.now)
                self.world.expire()
            case Leave():
                self.snapshot = replace(self.snapshot, draining=False)

    def stop(self, held: Held, order: str) -> None:
        queue = self.world.queue
        if order == "cancel":
            self.world.call("cancelled", held, lambda: queue.cancelled(held.claim))
        elif order == "drain":
            self.world.call("release", held, lambda: queue.release(held.claim))
        held.work = replace(held.work, ended=True)

    def claim(self, count: int) -> None:
        self.snapshot = replace(self.snapshot, claimed_at=self.now)
        for _ in range(count):
            asked = self.now
            claim = self.world.queue.claim(self.name)
            if claim is None:
                return
            assert claim.dataset.lease is not None
            self.world.claimed(claim)
            self.take(claim, asked)

    def take(self, claim: Claim, asked: float) -> None:
        self.held[claim.uuid] = Held(claim, Work(claim.uuid, asked), self.world.truth[claim.uuid].files)

    def labour(self, held: Held) -> None:
        """What the tasks of a dataset did since the last look; they know nothing of leases."""
        if held.work.ended or held.work.lost:
            return
        luck = self.random.random()
        truth, queue, claim = self.world.truth[held.claim.uuid], self.world.queue, held.claim
        done = truth.finished.setdefault(held.files, set())
        if luck < self.world.trouble:
            self.fail(held, self.random.choice((StorageError(), StorageError(), WorkerLost(), BadInput())))
        elif len(done) < truth.bricks:
            done.add(len(done))
            if self.world.call("progress", held, lambda: queue.progress(claim, PROGRESS, advanced=True)):
                truth.fruitless, held.advanced = 0, True
        elif luck < 0.8:
            self.publish(held, truth)

    def publish(self, held: Held, truth: Truth) -> None:
        queue, claim = self.world.queue, held.claim
        if not self.world.call("begin_publish", held, lambda: queue.begin_publish(claim)):
            return
        if self.random.random() < self.world.trouble:  # stopped between the two
            self.die()
            return
        truth.published = held.files
        if self.world.call("finish", held, lambda: queue.finish(claim)):
            assert claim.token not in truth.runs_ended, "one run finished twice"
            truth.runs_ended.add(claim.token)
            truth.fruitless = 0
        held.work = replace(held.work, ended=True)

    def fail(self, held: Held, error: Exception) -> None:
        truth = self.world.truth[held.claim.uuid]
        fruitless = isinstance(error, StorageError) and not held.advanced
        truth.fruitless += fruitless
        status = self.world.call("fail", held, lambda: self.world.queue.fail(held.claim, error))
        truth.fruitless -= fruitless and not status
        truth.broken = truth.broken or (isinstance(error, BadInput) and bool(status))
        if status is Status.CONVERSION_FAILED:
            assert isinstance(error, BadInput) or truth.fruitless >= MAX_ATTEMPTS, "failed without a reason"
        held.work = replace(held.work, ended=True)


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.queue = MemoryQueue(lease_seconds=LEASE, random=self.random)
        self.start = self.queue.now()
        self.trouble = self.random.choice((0.0, 0.1, 0.3))
        self.truth: dict[str, Truth] = {}
        self.seen: Counter[str] = Counter()
        for number in range(self.random.choice((1, 1, 2, 3))):
            self.add(f"d{number}")
        self.drivers = [Driver(self, f"driver-{number}") for number in range(self.random.choice((1, 2, 3)))]

    @property
    def seconds(self) -> float:
        return (self.queue.now() - self.start).total_seconds()

    def row(self, uuid: str) -> dict[str, Any]:
        row = self.queue.memory.read(uuid)
        assert row is not None
        return row

    # --- promises, checked at every change ---

    def call(self, name: str, held: Held, act: Callable[[], Any]) -> Any:
        """An owner's change: with an old token it must be refused and leave everything as it was."""
        before = self.row(held.claim.uuid)
        result = act()
        if (before["lease"] or {}).get("token") != held.claim.token:
            self.seen[f"late {name}"] += 1
            assert not result, f"a late owner's {name} was accepted"
            assert self.row(held.claim.uuid) == before, f"a late owner's {name} changed something"
        else:
            self.seen[name] += 1
        self.check(held.claim.uuid)
        return result

    def claimed(self, claim: Claim) -> None:
        self.seen["claim"] += 1
        truth = self.truth[claim.uuid]
        assert not truth.open, "claimed while files were coming"
        owners = [h for d in self.drivers for h in d.held.values() if h.claim.uuid == claim.uuid]
        assert claim.token not in {held.claim.token for held in owners}
        lease = self.row(claim.uuid)["lease"]
        assert lease["token"] == claim.token, "somebody else owns what was claimed"

    def expire(self) -> None:
        before = {uuid: self.row(uuid) for uuid in self.truth}
        for uuid in self.queue.expire():
            self.seen["expired"] += 1
            assert before[uuid]["lease"]["expires_at"] <= self.queue.now(), "a lease was taken before its end"
            assert self.row(uuid)["status"] != Status.CONVERSION_FAILED, "a lost driver failed a dataset"

    def check(self, uuid: str) -> None:
        row, truth = self.row(uuid), self.truth[uuid]
        running = row["status"] == Status.CONVERTING
        assert running == (row["lease"] is not None), "working and being owned are one"
        assert row["attempt"] <= truth.fruitless, "an attempt that was none was counted"
        if row["status"] == Status.DONE:
            assert truth.published == truth.files, "done, but not with the files that came"
            assert not truth.open

    # --- what happens to it ---

    def add(self, uuid: str) -> None:
        self.truth[uuid] = Truth(self.random.choice((1, 3, 5)), open=["first"])
        self.queue.add({"uuid": uuid, "status": "uploading", "open_uploads": ["first"], "user": "ann"})

    def user(self) -> None:
        """Somebody uploads, cancels, or asks for another conversion."""
        uuid, truth = self.random.choice(list(self.truth.items()))
        luck = self.random.random()
        if truth.open and luck < 0.7:
            self.close(uuid)
        elif luck < 0.4 and truth.files < 3:
            name = f"file {self.random.random()}"
            self.queue.upload_opened(uuid, name)
            truth.open.append(name)
            self.seen["late file" if self.row(uuid)["requeue"] else "file"] += 1
        elif luck > 0.9:
            if self.queue.request_cancel(uuid):
                self.seen["cancel"] += 1
            if self.row(uuid)["status"] == Status.CANCELLED:
                truth.open = []

    def close(self, uuid: str) -> None:
        truth = self.truth[uuid]
        name = truth.open.pop()
        if self.queue.upload_closed(uuid, name, settle_seconds=self.random.choice((0, 5))):
            truth.files += 1
            if self.row(uuid)["attempt"] == 0:
                truth.fruitless = 0
        self.check(uuid)

    def fate(self) -> None:
        """Something happens to a driver."""
        driver = self.random.choice(self.drivers)
        luck = self.random.random()
        if not driver.alive:
            driver.rise()
            self.seen["risen"] += 1
        elif luck < 0.3:
            driver.die()
            self.seen["died"] += 1
        elif luck < 0.7:
            driver.frozen_until = self.seconds + self.random.uniform(0.5, 4) * LEASE
            self.seen["frozen"] += 1
        elif luck < 0.8:
            driver.snapshot = replace(driver.snapshot, draining=True)
            self.seen["drained"] += 1

    def step(self, calm: bool) -> None:
        self.queue.clock.advance(self.random.choice((1.0, 10.0, 30.0)))
        if not calm:
            self.random.choice((self.user, self.user, self.fate))()
        for driver in self.drivers:
            if driver.alive and driver.frozen_until <= self.seconds:
                driver.tick()
            if driver.alive:  # tasks go on while their driver is frozen
                driver.toil()
        for uuid, truth in self.truth.items():
            if truth.open and self.row(uuid)["status"] == Status.CANCELLED:
                truth.open = []  # its uploads were dropped with it

    def live(self) -> None:
        for _ in range(BUSY_STEPS):
            self.step(calm=False)
        self.trouble = 0.0
        for uuid, truth in self.truth.items():
            while truth.open:
                self.close(uuid)
        for driver in self.drivers[1:]:
            driver.die()
        if not self.drivers[0].alive:
            self.drivers[0].rise()
        self.drivers[0].frozen_until = 0.0
        for _ in range(CALM_STEPS):
            if all(Dataset.read(self.row(uuid)).status in ENDS for uuid in self.truth):
                break
            self.step(calm=True)
        for uuid in self.truth:
            self.end(uuid)

    def end(self, uuid: str) -> None:
        row, truth = self.row(uuid), self.truth[uuid]
        self.check(uuid)
        assert row["status"] in ENDS, f"it never ended: {row}"
        assert row["lease"] is None
        self.seen[row["status"]] += 1
        if row["status"] == Status.CONVERSION_FAILED:
            assert truth.broken or truth.fruitless >= MAX_ATTEMPTS
            assert row["error_code"]


@pytest.mark.slow
def test_ten_thousand_lives() -> None:
    """SCRAY_SEED=N repeats one of them."""
    seen: Counter[str] = Counter()
    only = os.environ.get("SCRAY_SEED")
    for seed in [int(only)] if only else range(LIVES):
        world = World(seed)
        try:
            world.live()
        except Exception as error:
            raise AssertionError(f"life {seed} broke a promise (repeat it with SCRAY_SEED={seed}): {error}") from error
        seen += world.seen
    if only:
        return
    late = {"late renew", "late progress", "late fail", "late begin_publish"}
    events = {
        "claim",
        "expired",
        "died",
        "risen",
        "frozen",
        "drained",
        "cancel",
        "late file",
        "finish",
        "fail",
        "release",
    }
    assert {name: seen[name] for name in late | events | {*map(str, ENDS)} if seen[name] < 20} == {}
