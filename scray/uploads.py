"""What is known of each file that is or was sent.

Every question may raise DatabaseError; each may be asked twice, and is when the connection breaks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING
from pymongo.collection import Collection as Rows
from pymongo.database import Database

from scray.database import UPLOADS, Document, safe_rows, server_time, steady
from scray.errors import NotFound
from scray.manifest import FileDigest

RECEIVING, PLACING, STORED, FAILED, CANCELLED = "receiving", "placing", "stored", "failed", "cancelled"


class Uploads:
    """One record per file that is or was sent; the files arrive through `owner`, one API process.

    Promise: a record has one owner; an owner that is silent for a lease loses its records; a late owner
    changes nothing. A record is `open` until the queue knows how the upload ended.
    """

    def __init__(self, database: Database[Document], owner: str) -> None:
        self.owner = owner
        self._database = database
        self._uploads = safe_rows(database, UPLOADS)
        self._quick: Rows[Document] = database[UPLOADS]  # progress and heartbeats may get lost

    @steady
    def ensure_indexes(self) -> None:
        self._uploads.create_index([("dataset_uuid", ASCENDING), ("started_at", ASCENDING)])
        self._uploads.create_index([("open", ASCENDING), ("beat_at", ASCENDING)])

    @steady
    def open(self, job_id: str, values: Mapping[str, Any], *, lasting: bool = False) -> None:
        """Record an upload that begins; a `lasting` one is a session, which no process owns."""
        now = server_time(self._database)
        started = {"state": RECEIVING, "open": True, "owner": self.owner, "received_bytes": 0, "cancel": False}
        times = {"started_at": now, "updated_at": now, "beat_at": None if lasting else now}
        record = {"$setOnInsert": {**values, **started, **times}}
        self._uploads.update_one({"_id": job_id}, record, upsert=True)

    @steady
    def find(self, job_id: str) -> Document | None:
        return self._uploads.find_one({"_id": job_id}, {"chunks": 0})

    def get(self, job_id: str) -> Document:
        """Raises NotFound."""
        found = self.find(job_id)
        if found is None:
            raise NotFound("Job not found")
        return found

    @steady
    def arriving(self, job_ids: Collection[str]) -> dict[str, Document]:
        """Those of these uploads whose bytes are still coming."""
        asked = {"_id": {"$in": list(job_ids)}, "state": RECEIVING}
        return {found["_id"]: found for found in self._uploads.find(asked)}

    @steady
    def stored(self, uuid: str) -> bool:
        """Whether any file of this dataset has arrived."""
        return self._uploads.find_one({"dataset_uuid": uuid, "state": STORED}, {"_id": 1}) is not None

    @steady
    def report(self, job_id: str, received_bytes: int, speed_bytes_per_second: float) -> bool:
        """How far an upload has come. False: it was cancelled, or is no longer ours."""
        running = {"_id": job_id, "owner": self.owner, "state": RECEIVING, "cancel": False}
        values = {"received_bytes": received_bytes, "speed_bytes_per_second": speed_bytes_per_second}
        now = server_time(self._database)
        done = self._quick.update_one(running, {"$set": {**values, "updated_at": now}})
        return done.matched_count == 1

    @steady
    def place(self, job_id: str, file: FileDigest) -> bool:
        """The bytes are all there and flushed; from now on the upload can only succeed or collide.

        False: it was cancelled, or is no longer ours.
        """
        chunks = b"".join(bytes.fromhex(chunk) for chunk in file.chunks)
        size = {"path": file.path, "size_bytes": file.size, "received_bytes": file.size}
        digest = {"root": file.root, "chunks": chunks}
        return self._move(job_id, RECEIVING, PLACING, {**size, **digest}, {"cancel": False})

    @steady
    def end(self, job_id: str, before: str, state: str, values: Mapping[str, Any]) -> bool:
        """From `before` to STORED, FAILED or CANCELLED; it stays open until `settle`. False: not ours any more."""
        return self._move(job_id, before, state, {**values, "finished_at": server_time(self._database)}, {})

    def _move(self, job_id: str, before: str, after: str, values: Document, condition: Document) -> bool:
        """A move that was made already is made."""
        ours = {"_id": job_id, "owner": self.owner, "state": {"$in": [before, after]}, **condition}
        now = server_time(self._database)
        moved = self._uploads.update_one(ours, {"$set": {**values, "state": after, "updated_at": now}})
        return moved.matched_count == 1

    @steady
    def settle(self, job_id: str) -> None:
        """The queue knows."""
        self._uploads.update_one({"_id": job_id}, {"$set": {"open": False}})

    @steady
    def remove(self, job_id: str) -> None:
        self._uploads.delete_one({"_id": job_id})

    @steady
    def cancel(self, uuid: str) -> None:
        """Ask every running upload of a dataset to stop."""
        self._uploads.update_many({"dataset_uuid": uuid, "state": RECEIVING}, {"$set": {"cancel": True}})

    @steady
    def beat(self, active: Collection[str]) -> None:
        """These uploads are still under way here."""
        ours = {"_id": {"$in": list(active)}, "owner": self.owner}
        self._quick.update_many(ours, {"$set": {"beat_at": server_time(self._database)}})

    @steady
    def take_over(self, silent_seconds: float, active: Collection[str]) -> list[Document]:
        """Make our own the open uploads that nobody has spoken for so long; `active` ones are under way here."""
        limit = server_time(self._database) - timedelta(seconds=silent_seconds)
        silent = {"open": True, "beat_at": {"$lt": limit}, "_id": {"$nin": list(active)}}
        return [found for found in self._uploads.find(silent, {"chunks": 0}) if self._take(found, limit)]

    def _take(self, record: Document, limit: datetime) -> bool:
        still = {"_id": record["_id"], "owner": record["owner"], "open": True, "beat_at": {"$lt": limit}}
        ours = {"$set": {"owner": self.owner, "beat_at": server_time(self._database)}}
        return self._uploads.update_one(still, ours).modified_count == 1
