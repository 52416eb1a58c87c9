"""Idempotency keys: which upload a key has made, so that a request sent again is not carried out again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from scray.database import SAFE, Document, server_time, steady

KEYS = "upload_keys"


class Keys:
    """Promise: of all requests with one key, one at a time holds it. Every call may raise DatabaseError."""

    def __init__(self, database: Database[Document], keep_seconds: float) -> None:
        self._database = database
        self._keys = database.get_collection(KEYS, write_concern=SAFE)
        self._keep = timedelta(seconds=keep_seconds)

    @steady
    def claim(self, key: str, job_id: str) -> tuple[str, float]:
        """The job that holds the key, ours if nobody did before, and for how many seconds it has."""
        now = server_time(self._database)
        try:
            self._keys.insert_one({"_id": key, "job_id": job_id, "at": now})
        except DuplicateKeyError:
            found: dict[str, Any] = self._keys.find_one({"_id": key}) or {"job_id": job_id, "at": now}
            return found["job_id"], (now - found["at"]).total_seconds()
        return job_id, 0.0

    @steady
    def replace(self, key: str, before: str, job_id: str) -> bool:
        """Take the key from a job that came to nothing. False: somebody else was quicker."""
        values = {"job_id": job_id, "at": server_time(self._database)}
        return self._keys.update_one({"_id": key, "job_id": before}, {"$set": values}).modified_count == 1

    @steady
    def forget_old(self) -> None:
        self._keys.delete_many({"at": {"$lt": server_time(self._database) - self._keep}})
