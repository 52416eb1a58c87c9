"""Who copies which result to the bucket: a right with a token and a time, in the document of the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pymongo import ReturnDocument
from pymongo.database import Database

from scray.database import DATASETS, SAFE, Document, server_time, steady

WAITING, COPYING, PUBLISHED, FAILED = "waiting", "copying", "published", "failed"
AGAIN = {"publication": {"state": WAITING}, "copier": None}  # a new result takes the right from everybody


class Copies:
    """*A copy has at most one owner; an owner that is silent loses it; a late owner changes nothing.*"""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._datasets = database[DATASETS].with_options(write_concern=SAFE)

    @steady
    def claim(self, token: str, seconds: float) -> Document | None:
        """A dataset whose result waits to be copied, or whose copier was silent; it is `token`'s for so long."""
        now = server_time(self._database)
        waits = {"status": "done", "publication.state": {"$in": [WAITING, COPYING]}}
        free = {"$or": [{"copier": None}, {"copier.until": {"$lte": now}}]}
        ours = {"copier": {"token": token, "until": now + timedelta(seconds=seconds)}, "publication.state": COPYING}
        return self._datasets.find_one_and_update(
            {**waits, **free}, {"$set": ours}, projection={"files": 0}, return_document=ReturnDocument.AFTER
        )

    @steady
    def tell(self, uuid: str, token: str, publication: Mapping[str, Any], seconds: float) -> bool:
        """How a copy is getting on; nobody else takes it for so long. False: it is not `token`'s any more."""
        until = server_time(self._database) + timedelta(seconds=seconds)
        told = {"publication": dict(publication), "copier.until": until}
        return self._datasets.update_one({"uuid": uuid, "copier.token": token}, {"$set": told}).matched_count == 1
