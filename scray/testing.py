"""For tests: the queue in memory, and a clock that is set by hand."""

from __future__ import annotations

import copy
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

from scray.change import Change
from scray.dataset import Dataset
from scray.errors import Conflict
from scray.queue import Queue
from scray.rows import Document, Rows, audited, fence
from scray.status import QUEUED, Status


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, start: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> None:
        self.time = start

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class MemoryRows(Rows):
    """Documents in this process. A stored document is never changed, only replaced, so reading needs no deep
    copy.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._rows: dict[str, Document] = {}
        self.audit: defaultdict[str, list[Document]] = defaultdict(list)  # not in the documents, which stay small
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self._clock.now()

    def insert(self, document: Document) -> None:
        with self._lock:
            if document["uuid"] in self._rows:
                raise Conflict(f"There is a dataset {document['uuid']} already.")
            self._rows[document["uuid"]] = copy.deepcopy(document)

    def read(self, uuid: str) -> Document | None:
        row = self._rows.get(uuid)
        return dict(row) if row is not None else None

    def swap(self, old: Document, fields: Change) -> bool:
        with self._lock:
            present = self._rows.get(old["uuid"])
            if present is None or _guard(present) != _guard(old):
                return False
            self._rows[old["uuid"]] = present | fields
            self.audit[old["uuid"]] += audited(old, fields)
            return True

    def remove(self, uuid: str) -> None:
        """What deleting a dataset does, whoever works on it."""
        with self._lock:
            del self._rows[uuid]

    def waiting(self) -> list[Document]:
        return [row for row in self._all() if row["status"] in QUEUED]

    def queued(self, since: datetime) -> list[Document]:
        return [row for row in self.waiting() if row["queued_at"] >= since]

    def leased(self, *, cancel: bool = False) -> list[Document]:
        return [row for row in self._all() if fence(row) and (row.get("cancel") or not cancel)]

    def changes(self, ring: Callable[[], None]) -> None:
        """Nobody is told: who has this queue looks for himself."""

    def counts(self) -> dict[str, int]:
        return Counter(row["status"] for row in self._all())

    def oldest(self, status: Status) -> datetime | None:
        found = [Dataset.read(row).queued_at for row in self._all() if row["status"] == status]
        return min((moment for moment in found if moment), default=None)

    def _all(self) -> list[Document]:
        with self._lock:
            return list(self._rows.values())


def _guard(row: Document) -> tuple[object, ...]:
    return row["status"], row.get("revision"), fence(row)


class MemoryQueue(Queue):
    """The queue without a database: the same decisions over documents in this process."""

    def __init__(
        self, clock: FakeClock | None = None, *, lease_seconds: float = 60.0, random: Random | None = None
    ) -> None:
        self.clock = clock or FakeClock()
        self.memory = MemoryRows(self.clock)
        super().__init__(self.memory, lease_seconds=lease_seconds, random=random)
