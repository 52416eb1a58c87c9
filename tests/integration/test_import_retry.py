"""Imports that failed: their source and what was fetched stay for a while, so that they can be gone on with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from cluster import syncing
from cluster.conversion import Conversion
from cluster.desk import Desk
from scray.queue import Queue
from scray.sources.intake import PLAN
from tests.api_server import serving
from tests.integration.test_reaping import desk_in

WISH = {
    "user_email": "a@example.org", "dataset_name": "d", "sensor": "TIFF", "convert": False, "source_type": "url",
    "source_config": {"url": "https://example.org/x.tif?token=secret"},
}  # fmt: skip


def test_a_failed_import_is_queued_again_while_its_source_is_remembered(
    mongo_url: str, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    with serving(mongo_url, database, tmp_path) as api:
        uuid = api.http.post("/api/upload/initiate", json=WISH).json()["dataset_uuid"]
        asked = f"/api/v1/datasets/{uuid}/convert"
        assert api.http.post(asked).status_code == 409, "it waits already"
        failed = {"status": "sync error", "error_code": "source-denied", "error_message": "No.", "attempt": 3}
        database.visstoredatas.update_one({"uuid": uuid}, {"$set": failed})
        sealed = api.row(uuid)["source_sealed"]
        assert api.http.post(asked).json() == {"success": True, "status": "sync queued", "dataset_uuid": uuid}
        row = api.row(uuid)
        assert (row["source_sealed"], row["error_code"], row["attempt"], row["convert"]) == (sealed, "", 0, False)
        claim = Queue(database).claim("driver")
        assert claim is not None
        assert claim.uuid == uuid
        database.visstoredatas.update_one({"uuid": uuid}, {"$set": {**failed, "lease": None, "source_sealed": None}})
        refused = api.http.post(asked)
        assert (refused.status_code, "import it anew" in refused.json()["detail"]) == (409, True)


@pytest.fixture
def desk(database: Database[dict[str, Any]], tmp_path: Path) -> Desk:
    return desk_in(tmp_path, database)


def failed(desk: Desk) -> Path:
    """The folder of an import that ends with an error for good, before anything is asked of anybody."""
    desk.queue.add({"uuid": "d", "status": "sync queued", "source_type": "url", "source_sealed": "sealed"})
    folder = syncing.folder(desk.storage, "d")
    folder.mkdir(parents=True)
    (folder / PLAN).write_text("damaged")
    claim = desk.queue.claim("driver")
    assert claim is not None
    conversion = Conversion(claim, desk)
    conversion.start()
    conversion.thread.join(30)
    assert desk.queue.dataset("d").status_text == "sync error"
    return folder


def test_what_a_failed_import_has_stays_for_as_long_as_a_session(
    desk: Desk, database: Database[dict[str, Any]]
) -> None:
    folder = failed(desk)
    syncing.reap(desk)
    assert folder.exists()
    assert (desk.catalog.get("d") or {})["source_sealed"] == "sealed"
    late = desk.queue.now() - timedelta(seconds=desk.settings.session_seconds + 60)
    database.visstoredatas.update_one({"uuid": "d"}, {"$set": {"updated_at": late}})
    syncing.reap(desk)
    assert not folder.exists()
    assert (desk.catalog.get("d") or {})["source_sealed"] is None


def test_nothing_stays_of_one_that_is_cancelled(desk: Desk) -> None:
    folder = failed(desk)
    desk.queue.refetch("d")
    assert desk.queue.request_cancel("d")
    syncing.reap(desk)
    assert not folder.exists()
    assert (desk.catalog.get("d") or {})["source_sealed"] is None
