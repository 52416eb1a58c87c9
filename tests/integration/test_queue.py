"""The queue on a database keeps the promises of a queue, also between processes and when the database is
killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import AutoReconnect

from scray.database import DATASETS as COLLECTION
from scray.database import RECONNECTS
from scray.dataset import Dataset, Progress
from scray.errors import Conflict, DatabaseError, NotFound
from scray.queue import Queue
from scray.rows import Document, MongoRows
from scray.status import Status
from tests.integration.conftest import DatabaseServer
from tests.queue_contract import LEASE, QueueContract, Stage

DATASETS = 200
CLAIMERS = 16


def earlier(value: Any, seconds: float) -> Any:
    if isinstance(value, datetime):
        return value - timedelta(seconds=seconds)
    return {key: earlier(item, seconds) for key, item in value.items()} if isinstance(value, dict) else value


class MongoStage(Stage):
    """Time passes by moving all moments in the documents back."""

    def __init__(self, database: Database[Document]) -> None:
        self.rows = database[COLLECTION]
        self.queue = Queue(database, lease_seconds=LEASE)
        self.queue.ensure_indexes()

    def wait(self, seconds: float) -> None:
        for row in self.rows.find():
            moved = {key: earlier(value, seconds) for key, value in row.items() if key != "_id"}
            self.rows.update_one({"_id": row["_id"]}, {"$set": moved})

    def put(self, document: Document) -> None:
        self.rows.insert_one(dict(document))

    def row(self, uuid: str) -> Document:
        row = self.rows.find_one({"uuid": uuid})
        assert row is not None
        return row

    def remove(self, uuid: str) -> None:
        self.rows.delete_one({"uuid": uuid})


class TestQueue(QueueContract):
    @pytest.fixture
    def stage(self, database: Database[Document]) -> Stage:
        return MongoStage(database)


CLAIMER = """
import sys
from pymongo import MongoClient
from scray.queue import Queue
queue = Queue(MongoClient(sys.argv[1])[sys.argv[2]])
print("ready", flush=True)
sys.stdin.readline()
while claim := queue.claim(sys.argv[3]):
    print(claim.uuid, flush=True)
    assert queue.finish(claim, {"claimed_by": sys.argv[3]})
"""


def test_sixteen_processes_claim_each_dataset_once(mongo_url: str, database: Database[Document]) -> None:
    queue = Queue(database)
    queue.ensure_indexes()
    for number in range(DATASETS):
        queue.add({"uuid": f"{number:03}", "status": "conversion queued", "user": f"user {number % 7}"})
    claimers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, mongo_url, database.name, f"claimer {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONPATH": "."},
        )
        for number in range(CLAIMERS)
    ]
    for claimer in claimers:
        assert claimer.stdout is not None
        assert claimer.stdout.readline() == "ready\n"
    outputs: dict[int, str] = {}

    def run(number: int) -> None:
        outputs[number] = claimers[number].communicate("go\n")[0]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CLAIMERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claimed = [uuid for output in outputs.values() for uuid in output.split()]
    # a claimer may leave early when all its candidates went to others; what it left, it left waiting
    while claim := queue.claim("rest"):
        claimed.append(claim.uuid)
        assert queue.finish(claim)
    assert sorted(claimed) == [f"{number:03}" for number in range(DATASETS)]
    assert queue.counts()[Status.DONE] == DATASETS
    assert all(claimer.returncode == 0 for claimer in claimers)
    assert sum(1 for output in outputs.values() if output) > CLAIMERS // 2


@pytest.mark.skipif("MONGO_URL" in os.environ, reason="this database is not ours to kill")
def test_a_killed_database_loses_no_acknowledged_change(tmp_path: Path) -> None:
    server = DatabaseServer(tmp_path / "data")
    acknowledged: dict[str, str] = {}

    def work(name: str) -> None:
        with MongoClient[Document](server.url, serverSelectionTimeoutMS=500) as client:
            queue = Queue(client["test"])
            try:
                for number in range(100_000):
                    uuid = f"{name}-{number}"
                    queue.add({"uuid": uuid, "status": "conversion queued"})
                    acknowledged[uuid] = "conversion queued"
                    if number % 2:
                        queue.request_cancel(uuid)
                        acknowledged[uuid] = "cancelled"
            except DatabaseError:
                return

    with MongoClient[Document](server.url) as client:
        Queue(client["test"]).ensure_indexes()
    workers = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for worker in workers:
        worker.start()
    end = time.monotonic() + 60
    while len(acknowledged) < 200 and time.monotonic() < end:
        time.sleep(0.01)
    server.kill()
    for worker in workers:
        worker.join()
    assert len(acknowledged) >= 200
    server = DatabaseServer(tmp_path / "data")
    with MongoClient[Document](server.url) as client:
        found = {row["uuid"]: row["status"] for row in client["test"][COLLECTION].find()}
    server.stop()
    # the last, unacknowledged change of a dataset may have arrived; no acknowledged one may be missing
    lost = [uuid for uuid, status in acknowledged.items() if found.get(uuid) not in {status, "cancelled"}]
    assert lost == []


class Broken:
    """A collection whose connection breaks after an operation arrived, or before it."""

    def __init__(self, rows: Any, breaks: list[str]) -> None:
        self._rows, self._breaks = rows, breaks
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._rows, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            when = self._breaks.pop(0) if self._breaks else ""
            if when == "before":
                raise AutoReconnect("broke before")
            result = real(*args, **kwargs)
            if when == "after":
                raise AutoReconnect("broke after")
            return result

        return call


@pytest.mark.parametrize("breaks", [["before"], ["after"], ["before", "after"], ["after", "before", "before"]])
def test_a_broken_connection_repeats_nothing(database: Database[Document], breaks: list[str]) -> None:
    rows = MongoRows(database)
    queue = Queue(rows)
    queue.ensure_indexes()
    honest = rows._rows
    rows._rows = Broken(honest, list(breaks))  # type: ignore[assignment]
    queue.add({"uuid": "d", "status": "conversion queued"})
    row = honest.find_one({"uuid": "d"})
    assert row is not None
    rows._rows = Broken(honest, list(breaks))  # type: ignore[assignment]
    assert rows.swap(row, {"status": "cancelled", "revision": "mine"})
    assert not rows.swap(row, {"status": "done", "revision": "other"})
    rows._rows = honest
    with pytest.raises(Conflict):
        queue.add({"uuid": "d"})
    assert queue.dataset("d").status is Status.CANCELLED
    [line] = honest.find_one({"uuid": "d"})["audit"]  # type: ignore[index]
    assert (line["from"], line["to"]) == ("conversion queued", "cancelled")


def live(queue: Queue) -> None:
    """From the claim to the end, as its owner asks for it; whatever fails is asked again, as a driver does."""
    claim = insist(lambda: queue.claim("driver")) or insist(lambda: queue.adopt("driver"))[0]
    assert insist(lambda: queue.renew(claim))
    assert insist(lambda: queue.begin_publish(claim))
    assert insist(lambda: queue.finish(claim)) or insist(lambda: queue.dataset("d")).status is Status.DONE


def insist(ask: Callable[[], Any]) -> Any:
    while True:
        with suppress(DatabaseError):
            return ask()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("length", [1, RECONNECTS + 1])
def test_whichever_call_of_the_database_breaks_a_dataset_ends_once(
    database: Database[Document], when: str, length: int
) -> None:
    """For every n: the n-th call fails, once or until the caller gives up."""
    rows = MongoRows(database)
    honest, queue = rows._rows, Queue(rows, lease_seconds=LEASE)

    def calls_with(breaks: list[str]) -> int:
        rows._rows = honest
        honest.delete_many({})
        queue.add({"uuid": "d", "status": "conversion queued"})
        rows._rows = broken = Broken(honest, breaks)  # type: ignore[assignment]
        live(queue)
        row = honest.find_one({"uuid": "d"})
        assert row is not None
        assert (row["status"], row["lease"]) == ("done", None)
        assert [line["to"] for line in row["audit"]] == ["converting", "done"]
        return int(broken.calls)

    whole = calls_with([])
    assert whole >= 8
    for number in range(whole):
        assert calls_with([""] * number + [when] * length) > whole


def test_a_database_that_stays_away_is_an_error(database: Database[Document]) -> None:
    rows = MongoRows(database)
    rows._rows = Broken(rows._rows, ["before"] * 100)  # type: ignore[assignment]
    with pytest.raises(DatabaseError, match="broke before"):
        Queue(rows).dataset("d")
    with (
        MongoClient[Document]("mongodb://127.0.0.1:1/", serverSelectionTimeoutMS=50) as nowhere,
        pytest.raises(DatabaseError, match="could not be reached"),
    ):
        Queue(nowhere["test"]).now()


def test_a_deleted_dataset_cannot_be_swapped(database: Database[Document]) -> None:
    rows = MongoRows(database)
    assert not rows.swap({"_id": 1, "uuid": "gone", "status": "done"}, {"status": "cancelled", "revision": "x"})
    with pytest.raises(NotFound):
        Queue(rows).dataset("gone")


def test_reading_leaves_the_file_list_in_the_database(database: Database[Document]) -> None:
    queue = Queue(database)
    queue.add({"uuid": "d", "status": "conversion queued", "files": [{"source_path": "a"}] * 3})
    claim = queue.claim("driver")
    assert claim is not None
    assert isinstance(claim.dataset, Dataset)
    assert queue.finish(claim)
    row = database[COLLECTION].find_one({"uuid": "d"})
    assert row is not None
    assert len(row["files"]) == 3


def test_what_can_be_claimed_or_cancelled_rings_at_once(database: Database[Document]) -> None:
    queue, rings = Queue(database), threading.Semaphore(0)

    def follow() -> None:
        with suppress(DatabaseError):  # the connection closes at the end of the session
            queue.follow(lambda: rings.release())

    threading.Thread(target=follow, daemon=True).start()
    assert rings.acquire(timeout=20), "the stream begins"
    queue.add({"uuid": "d", "status": "conversion queued"})
    assert rings.acquire(timeout=20), "a new dataset"
    claim = queue.claim("driver")
    assert claim is not None
    assert queue.progress(claim, Progress(percent=5))
    assert queue.request_cancel("d")
    assert rings.acquire(timeout=20), "a wish to cancel"
    assert queue.cancelled(claim)
    queue.requeue("d")
    assert rings.acquire(timeout=20), "a dataset that waits again"
    assert not rings.acquire(blocking=False), "work that goes on rings for nobody"


def test_a_server_without_change_streams_is_an_error_and_nothing_else() -> None:
    with (
        MongoClient[Document]("mongodb://127.0.0.1:1/", serverSelectionTimeoutMS=50) as nowhere,
        pytest.raises(DatabaseError, match="cannot be followed"),
    ):
        Queue(nowhere["test"]).follow(lambda: None)
