"""The queue in memory keeps the promises of a queue."""

from __future__ import annotations

import pytest

from scray.queue import Document
from scray.testing import MemoryQueue
from tests.queue_contract import LEASE, QueueContract, Stage
from tests.unit.test_storage import dies_at  # noqa: F401


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
