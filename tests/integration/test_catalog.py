"""The catalog's questions, asked of a real database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo.database import Database
from pymongo.errors import AutoReconnect, InvalidOperation, ServerSelectionTimeoutError

from scray.catalog import Catalog, owned_by
from scray.database import connect, steady
from scray.errors import Ambiguous, DatabaseError, NotFound
from scray.manifest import FileDigest
from scray.orders import Orders
from scray.queue import Queue
from scray.spans import CHUNK_BYTES
from scray.uploads import FAILED, PLACING, RECEIVING, STORED, Uploads
from tests.api_server import until
from tests.integration.conftest import DatabaseServer

Mongo = Database[dict[str, Any]]
ADA, BOB = "ada@example.org", "bob@example.org"


@pytest.fixture
def catalog(mongo_url: str, database: Mongo) -> Iterator[Catalog]:
    found = Catalog(connect(mongo_url, database.name))
    found.ensure_indexes()
    with closing(found):
        yield found


@pytest.fixture
def uploads(database: Mongo) -> Uploads:
    found = Uploads(database, "api-1")
    found.ensure_indexes()
    return found


def add(catalog: Catalog, database: Mongo, name: str = "scan", user: str = ADA, **values: Any) -> dict[str, Any]:
    fields = {"uuid": str(uuid4()), "name": name, "user_email": user, "sensor": "TIFF", **values}
    document = catalog.new_dataset(fields)
    Queue(database).add(document)
    return document


# --- datasets ------------------------------------------------------------------------------------


def test_a_new_dataset_has_what_portals_read(catalog: Catalog, database: Mongo) -> None:
    document = add(catalog, database, "My  Scan", tags=["a"])
    assert "status" not in document
    assert (document["user"], document["user_id"], document["user_email"]) == (ADA, ADA, ADA)
    assert document["slug"] == f"ada-my-scan-{document['created_at'].year}"
    assert (document["files"], document["total_size_bytes"], document["tags"]) == ([], 0, ["a"])
    stored = catalog.get(document["uuid"])
    assert stored is not None
    assert stored["status"] == "submitted"
    assert catalog.get("other") is None


def test_the_first_datasets_of_all_may_come_at_once(catalog: Catalog, database: Mongo) -> None:
    """Each has an id of its own, whoever makes the counter."""
    values = {"uuid": str(uuid4()), "name": "scan", "user_email": ADA, "sensor": "TIFF"}
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            database.counters.drop()
            found = list(pool.map(lambda _: catalog.new_dataset(values)["id"], range(8)))
            assert sorted(found) == list(range(100_001, 100_009))


def test_found_by_uuid_id_slug_name_in_that_order(catalog: Catalog, database: Mongo) -> None:
    first = add(catalog, database)
    traps = [add(catalog, database, name) for name in (first["uuid"], str(first["id"]), first["slug"])]
    for identifier in (first["uuid"], first["uuid"].upper(), str(first["id"]), first["slug"], "scan"):
        assert catalog.find(identifier)["uuid"] == first["uuid"]
    assert len({one["slug"] for one in [first, *traps]}) == len({one["id"] for one in [first, *traps]}) == 4
    for nothing in ("", "²", "9" * 30, "other"):
        with pytest.raises(NotFound, match="Dataset not found"):
            catalog.find(nothing)


def test_ones_own_dataset_is_preferred(catalog: Catalog, database: Mongo) -> None:
    mine, _ = add(catalog, database), add(catalog, database, user=BOB)
    with pytest.raises(Ambiguous):
        catalog.find("scan")
    assert catalog.find("scan", ADA)["uuid"] == mine["uuid"]
    with pytest.raises(Ambiguous):
        catalog.find("scan", "eve@example.org")


def test_pages_of_datasets(catalog: Catalog, database: Mongo) -> None:
    uuids = [add(catalog, database, secretkey="s", files=[])["uuid"] for _ in range(5)]
    add(catalog, database, user=BOB)
    page, total = catalog.datasets(owned_by(ADA), limit=2, offset=1)
    assert ([one["uuid"] for one in page], total) == (uuids[::-1][1:3], 5)
    assert not {"secretkey", "files", "lease"} & page[0].keys()
    database.visstoredatas.insert_one({"uuid": "old", "user_id": "eve@example.org"})
    assert catalog.datasets(owned_by("eve@example.org"), limit=9)[1] == 1


def test_amend_never_touches_the_status(catalog: Catalog, database: Mongo) -> None:
    uuid = add(catalog, database)["uuid"]
    catalog.amend(uuid, {"description": "d"})
    assert catalog.find(uuid)["description"] == "d"
    with pytest.raises(ValueError, match="queue"):
        catalog.amend(uuid, {"status": "done"})


def test_a_file_is_counted_once(catalog: Catalog, database: Mongo) -> None:
    uuid = add(catalog, database)["uuid"]
    for job in ("a", "b", "a"):
        catalog.add_file(uuid, {"job_id": job, "total_size_bytes": 10})
    found = catalog.find(uuid)
    assert (found["file_count"], found["total_size_bytes"], len(found["files"])) == (2, 20, 2)


def test_only_an_unused_dataset_is_withdrawn(catalog: Catalog, database: Mongo) -> None:
    uuid = add(catalog, database, job_id="a", status="uploading", open_uploads=["a"])["uuid"]
    assert not catalog.withdraw(uuid, "b")
    Queue(database).upload_opened(uuid, "b")
    assert not catalog.withdraw(uuid, "a")
    Queue(database).upload_closed(uuid, "b")
    assert catalog.withdraw(uuid, "a")
    assert catalog.get(uuid) is None


# --- drivers and runs ----------------------------------------------------------------------------


def test_drivers_are_alive_while_they_beat(catalog: Catalog) -> None:
    catalog.ping()
    assert catalog.drivers() == []
    catalog.beat("driver-2", {"period_seconds": 0.2, "version": "1"})
    catalog.beat("driver", {})
    assert [(one["name"], one["alive"]) for one in catalog.drivers()] == [("driver", True), ("driver-2", True)]
    until(lambda: not catalog.drivers()[1]["alive"], what="its silence being noticed")
    assert catalog.drivers()[1]["age_seconds"] > 0.6
    catalog.beat("driver-2", {"version": "2"})
    assert (catalog.drivers()[1]["alive"], catalog.drivers()[1]["version"]) == (True, "2")


def test_a_drained_driver_stays_drained_until_it_may_go_on(catalog: Catalog, database: Mongo) -> None:
    orders = Orders(database)
    orders.drain(["driver"])
    assert not orders.drained("driver"), "nobody has heard of it"
    assert catalog.drivers() == []
    catalog.beat("driver", {})
    orders.drain(["driver"])
    catalog.beat("driver", {"version": "2"})
    assert orders.drained("driver")
    assert not orders.drained("driver-2")
    orders.resume(["driver"])
    assert not orders.drained("driver")


def test_runs_are_history(catalog: Catalog) -> None:
    for number in range(3):
        catalog.record_run("u", {"attempt": number})
    assert [run["attempt"] for run in catalog.runs("u", 2)] == [2, 1]
    assert catalog.runs("other") == []


# --- uploads -------------------------------------------------------------------------------------


def test_an_upload_from_beginning_to_end(uploads: Uploads, catalog: Catalog, database: Mongo) -> None:
    uploads.open("j", {"dataset_uuid": "u", "path": "x"})
    uploads.open("j", {"dataset_uuid": "u", "path": "x"})
    assert uploads.report("j", 5, 2.5)
    assert uploads.arriving(["j", "k"])["j"]["received_bytes"] == 5
    size = CHUNK_BYTES + 1
    digest = FileDigest("y", size, ("ab" * 32, "cd" * 32))
    assert uploads.place("j", digest)
    assert uploads.place("j", digest), "said twice"
    assert not uploads.report("j", 6, 2.5)
    assert not uploads.stored("u")
    assert uploads.end("j", PLACING, STORED, {})
    assert uploads.end("j", PLACING, STORED, {}), "said twice"
    assert not uploads.end("j", RECEIVING, FAILED, {})
    assert uploads.stored("u")
    [arrival] = catalog.arrivals("u")
    assert arrival.file == digest
    assert abs(arrival.at.timestamp() - time.time()) < 300
    assert catalog.arrivals("other") == []
    assert uploads.get("j")["open"]
    uploads.settle("j")
    assert not uploads.get("j")["open"]
    assert [one["_id"] for one in database.uploads.find({"dataset_uuid": "u"})] == ["j"]
    uploads.remove("j")
    with pytest.raises(NotFound, match="Job not found"):
        uploads.get("j")


def test_a_cancelled_upload_goes_no_further(uploads: Uploads) -> None:
    uploads.open("j", {"dataset_uuid": "u"})
    uploads.cancel("u")
    assert not uploads.report("j", 5, 0)
    assert not uploads.place("j", FileDigest("y", 1, ("ab" * 32,)))
    assert uploads.end("j", RECEIVING, FAILED, {})


def test_silence_costs_the_ownership(uploads: Uploads, database: Mongo) -> None:
    other = Uploads(database, "api-2")
    for job in ("a", "b"):
        uploads.open(job, {"dataset_uuid": "u"})
    assert other.take_over(30, set()) == []
    taken = until(lambda: other.take_over(0.3, {"b"}), what="the silence being noticed")
    assert [one["_id"] for one in taken] == ["a"]
    assert (uploads.report("a", 5, 0), uploads.report("b", 5, 0)) == (False, True)
    assert not uploads.end("a", RECEIVING, FAILED, {})
    assert other.end("a", RECEIVING, FAILED, {})


# --- a database that goes away -------------------------------------------------------------------


def test_a_broken_connection_is_tried_again_a_few_times() -> None:
    calls: list[type[Exception]] = [AutoReconnect, AutoReconnect]

    @steady
    def ask() -> str:
        if calls:
            raise calls.pop()
        return "answer"

    assert ask() == "answer"
    for error in (ServerSelectionTimeoutError, InvalidOperation):
        calls.append(error)
        with pytest.raises(DatabaseError, match="could not be reached"):
            ask()
    calls.extend([AutoReconnect] * 4)
    with pytest.raises(DatabaseError):
        ask()


def test_without_a_database_the_catalog_says_so(tmp_path: Path) -> None:
    server = DatabaseServer(tmp_path / "database")
    with closing(Catalog(connect(server.url, "test"))) as catalog:
        catalog.ping()
        server.kill()
        with pytest.raises(DatabaseError):
            catalog.drivers()
