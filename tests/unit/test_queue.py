"""The queue in memory keeps the promises of a queue; and the tools of other tests."""

from __future__ import annotations

import pytest

from scray.change import Change
from scray.errors import Conflict
from scray.queue import TRIES, Queue
from scray.rows import Document
from scray.testing import FakeClock, MemoryQueue, MemoryRows
from tests.queue_contract import LEASE, QueueContract, Stage


class MemoryStage(Stage):
    def __init__(self) -> None:
        self.memory = MemoryQueue(lease_seconds=LEASE)
        self.queue = self.memory

    def wait(self, seconds: float) -> None:
        self.memory.clock.advance(seconds)

    def put(self, document: Document) -> None:
        self.memory.memory.insert(document)

    def row(self, uuid: str) -> Document:
        row = self.memory.memory.read(uuid)
        assert row is not None
        return row

    def remove(self, uuid: str) -> None:
        self.memory.memory.remove(uuid)


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    def stage(self) -> Stage:
        return MemoryStage()


class Contested(MemoryRows):
    """Somebody else is always a little faster, for the first few changes."""

    def __init__(self, faster: int) -> None:
        super().__init__(FakeClock())
        self.faster = faster

    def swap(self, old: Document, fields: Change) -> bool:
        if self.faster:
            self.faster -= 1
            super().swap(old, {"revision": f"other {self.faster}"})
        return super().swap(old, fields)


def test_a_change_is_decided_again_when_another_came_first() -> None:
    queue = Queue(Contested(TRIES - 1))
    queue.add({"uuid": "d"})
    assert queue.request_cancel("d")


def test_endless_haste_is_an_error() -> None:
    queue = Queue(Contested(1000))
    queue.add({"uuid": "d"})
    with pytest.raises(Conflict, match="Too many changes"):
        queue.request_cancel("d")


def test_a_lost_race_takes_the_next() -> None:
    queue = Queue(Contested(1))
    for uuid in ("a", "b"):
        queue.add({"uuid": uuid, "status": "conversion queued"})
    claim = queue.claim("driver")
    assert claim is not None
    assert claim.uuid == "b"


def test_a_lost_adoption_is_nobodys() -> None:
    rows = Contested(0)
    queue = Queue(rows)
    queue.add({"uuid": "d", "status": "conversion queued"})
    assert queue.claim("driver")
    rows.faster = 1
    assert queue.adopt("driver") == []


def test_every_change_of_status_is_one_line_of_the_audit_log() -> None:
    queue = MemoryQueue()
    queue.add({"uuid": "d", "status": "conversion queued"})
    claim = queue.claim("driver")
    assert claim is not None
    assert queue.renew(claim)
    assert queue.finish(claim)
    assert not queue.finish(claim)
    steps = [(line["from"], line["to"], line["claim"]) for line in queue.memory.audit["d"]]
    mine = claim.token[:8]
    assert steps == [("conversion queued", "converting", mine), ("converting", "done", mine)]
