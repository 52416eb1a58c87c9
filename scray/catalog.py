"""Everything asked of the database besides the queue: datasets, driver heartbeats, history of runs.

The catalog never writes `status`; that is the queue's alone. Every question may raise DatabaseError; each may be
asked twice, and is when the connection breaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.collection import Collection as Rows
from pymongo.database import Database

from scray.arrivals import Arrival
from scray.database import COUNTERS, DATASETS, DRIVERS, RUNS, UPLOADS, Document, aware, safe_rows, server_time, steady
from scray.dataset import OWNERS
from scray.errors import Ambiguous, NotFound
from scray.manifest import FileDigest
from scray.status import Status
from scray.uploads import STORED

TEAMS, PROFILES = "teams", "user_profile"  # the portal's; only read
FIRST_ID = 100_000  # the ids of older datasets lie below
LISTED_FILES = 1000  # `files` of a dataset is for display and stays bounded; `uploads` has every file
DEFAULT_PERIOD_SECONDS = 5.0
MISSED_PERIODS = 3  # a driver that let so many heartbeats pass is not there
SECRETS = ("accesskey", "secretkey", "lease", "google_access_token", "google_refresh_token", "source_sealed", "copier")


class Catalog:
    """Asks and tells the database about datasets, drivers and runs. Any number of processes may."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._datasets = safe_rows(database, DATASETS)
        self._runs = safe_rows(database, RUNS)
        self._counters = safe_rows(database, COUNTERS)
        self._drivers: Rows[Document] = database[DRIVERS]  # a heartbeat may get lost

    @steady
    def ensure_indexes(self) -> None:
        """Create the indexes the questions below need; those of the queue are the queue's."""
        for field in ("slug", "id", "name"):
            self._datasets.create_index(field)
        for owner in OWNERS:
            self._datasets.create_index([(owner, ASCENDING), ("updated_at", DESCENDING)])
        self._runs.create_index([("dataset_uuid", ASCENDING), ("at", DESCENDING)])

    @steady
    def ping(self) -> None:
        self._database.client.admin.command("ping")

    def close(self) -> None:
        """End the connections of this process to the database."""
        self._database.client.close()

    # --- datasets ----------------------------------------------------------------------------------

    @steady
    def new_dataset(self, values: Mapping[str, Any]) -> Document:
        """The document of a new dataset, complete but for what the queue adds.

        `values` has at least uuid, name, user_email and sensor. Nothing is stored: `Queue.add` does that.
        """
        now = server_time(self._database)
        owner = values["user_email"]
        number = self._next_id()
        return {
            "convert": True,
            "is_public": False,
            "is_public_downloadable": False,
            "folder_uuid": None,
            "team_uuid": None,
            "tags": [],
            "description": "",
            "preferred_dashboard": "openvisus",
            "shared_with": [],
            "source_type": "local",
            "conversion_parameters": {},
            "data_conversion_needed": True,
            **values,
            "id": number,
            "slug": self._free_slug(owner, values["name"], now.year, number),
            "user": owner,
            "user_id": owner,
            "files": [],
            "file_count": 0,
            "total_size_bytes": 0,
            "bytes_uploaded": 0,
            "created_at": now,
            "updated_at": now,
        }

    def _next_id(self) -> int:
        """One more than the last. Some servers answer nothing to several who make the counter at once, so it is made
        before it is counted up.
        """
        if (counter := self._count()) is None:
            self._counters.update_one({"_id": DATASETS}, {"$setOnInsert": {"value": 0}}, upsert=True)
            counter = self._count()
        assert counter is not None
        return FIRST_ID + int(counter["value"])

    def _count(self) -> Document | None:
        return self._counters.find_one_and_update(
            {"_id": DATASETS}, {"$inc": {"value": 1}}, return_document=ReturnDocument.AFTER
        )

    def _free_slug(self, owner: str, name: str, year: int, number: int) -> str:
        words = "-".join(name.lower().split())
        slug = f"{owner.partition('@')[0]}-{words}-{year}"
        return f"{slug}-{number}" if self._datasets.find_one({"slug": slug}, {"_id": 1}) else slug

    @steady
    def get(self, uuid: str) -> Document | None:
        return self._datasets.find_one({"uuid": uuid})

    @steady
    def find(self, identifier: str, user: str | None = None) -> Document:
        """The dataset with this uuid, else id, else slug, else name; among several, the caller's own.

        Raises NotFound, and Ambiguous when the best kind of match fits more than one.
        """
        for key in _keys(identifier):
            found = self._own(key, user) or list(self._datasets.find(key).limit(2))
            if len(found) > 1:
                raise Ambiguous(f"{identifier!r} fits more than one dataset; use its UUID.")
            if found:
                return found[0]
        raise NotFound(f"Dataset not found: {identifier}")

    def _own(self, key: Document, user: str | None) -> list[Document]:
        return list(self._datasets.find({**key, **owned_by(user)}).limit(2)) if user else []

    @steady
    def belongs(self, document: Mapping[str, Any], user: str) -> bool:
        """Whether a dataset is this user's, shared with them, or their team's, by its UUID or, as of old, its name."""
        shared = document.get("shared_with")
        if user in [document.get(owner) for owner in OWNERS] or (isinstance(shared, list) and user in shared):
            return True
        team = document.get("team_uuid")
        named = [{name: team, list_: user} for name in ("uuid", "team_name") for list_ in ("emails", "owner")]
        teams, profiles = self._database[TEAMS], self._database[PROFILES]
        member = bool(team) and teams.find_one({"$or": named}) is not None
        return member or (bool(team) and profiles.find_one({"email": user, "team_id": team}) is not None)

    @steady
    def reached_by(self, user: str) -> Document:
        """The condition that a dataset is this user's, shared with them, or their team's: the same as `belongs`."""
        teams = self._database[TEAMS].find({"$or": [{"emails": user}, {"owner": user}]}, {"uuid": 1, "team_name": 1})
        profiles = self._database[PROFILES].find({"email": user}, {"team_id": 1})
        names = [row.get(name) for row in teams for name in ("uuid", "team_name")]
        known = [name for name in (*names, *(row.get("team_id") for row in profiles)) if name]
        return {"$or": [*owned_by(user)["$or"], {"shared_with": user}, {"team_uuid": {"$in": known}}]}

    @steady
    def datasets(self, condition: Mapping[str, Any], *, limit: int, offset: int = 0) -> tuple[list[Document], int]:
        """Datasets that fit `condition`, the last touched first, and how many there are in all."""
        found = self._datasets.find(condition, dict.fromkeys((*SECRETS, "files", "audit"), 0))
        page = found.sort([("updated_at", DESCENDING), ("_id", DESCENDING)]).skip(offset).limit(limit)
        return list(page), self._datasets.count_documents(condition)

    @steady
    def amend(self, uuid: str, values: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> None:
        """Set fields that no step of the queue depends on, if those that are `known` are still so."""
        if "status" in values:
            raise ValueError("the status is written by the queue alone")
        now = server_time(self._database)
        self._datasets.update_one({"uuid": uuid, **(known or {})}, {"$set": {**values, "updated_at": now}})

    @steady
    def unseal(self, uuid: str) -> None:
        """Forget what was said of the source of an import that is over; the next one may wait already."""
        over = {"uuid": uuid, "status": {"$ne": str(Status.SYNC_QUEUED)}}
        self._datasets.update_one(over, {"$set": {"source_sealed": None, "updated_at": server_time(self._database)}})

    @steady
    def add_file(self, uuid: str, file: Mapping[str, Any]) -> None:
        """Count a file that has arrived, once: `job_id`, `source_path`, `destination_path`, `total_size_bytes`, …"""
        size = file["total_size_bytes"]
        self._datasets.update_one(
            {"uuid": uuid, "files.job_id": {"$ne": file["job_id"]}},
            {
                "$push": {"files": {"$each": [dict(file)], "$slice": LISTED_FILES}},
                "$inc": {"file_count": 1, "total_size_bytes": size, "bytes_uploaded": size},
                "$set": {"updated_at": server_time(self._database)},
            },
        )

    @steady
    def add_files(self, uuid: str, files: Sequence[Mapping[str, Any]]) -> None:
        """Count the files of an import, once."""
        size = sum(file["total_size_bytes"] for file in files)
        self._datasets.update_one(
            {"uuid": uuid, "imported": {"$ne": True}},
            {
                "$push": {"files": {"$each": [dict(file) for file in files[:LISTED_FILES]], "$slice": LISTED_FILES}},
                "$inc": {"file_count": len(files), "total_size_bytes": size, "bytes_uploaded": size},
                "$set": {"updated_at": server_time(self._database), "imported": True},
            },
        )

    @steady
    def withdraw(self, uuid: str, job_id: str) -> bool:
        """Take back a dataset that this upload made and nothing else uses: whether it was."""
        unused = {"uuid": uuid, "job_id": job_id, "file_count": 0, "open_uploads": [job_id]}
        return self._datasets.delete_one(unused).deleted_count == 1

    # --- drivers and runs --------------------------------------------------------------------------

    @steady
    def beat(self, name: str, info: Mapping[str, Any]) -> None:
        """A driver says that it is there; `info` may have `period_seconds`, the time to its next heartbeat."""
        values = {**info, "beat_at": server_time(self._database)}
        self._drivers.update_one({"_id": name}, {"$set": values}, upsert=True)

    @steady
    def drivers(self) -> list[Document]:
        """All drivers ever heard of, by name, each with `age_seconds` of its last heartbeat and `alive`."""
        now = server_time(self._database)
        return [_driver(found, now) for found in self._drivers.find().sort("_id", ASCENDING)]

    @steady
    def record_run(self, uuid: str, values: Mapping[str, Any]) -> None:
        """Append to the history of a dataset."""
        self._runs.insert_one({**values, "dataset_uuid": uuid, "at": server_time(self._database)})

    @steady
    def runs(self, uuid: str, limit: int = 100) -> list[Document]:
        """The history of a dataset, the latest first."""
        found = self._runs.find({"dataset_uuid": uuid}, {"_id": 0})
        return list(found.sort([("at", DESCENDING), ("_id", DESCENDING)]).limit(limit))

    @steady
    def arrivals(self, uuid: str) -> list[Arrival]:
        """What was hashed as one stream while it arrived; files that came in chunks are checked on their own."""
        asked = {"dataset_uuid": uuid, "state": STORED, "chunks": {"$exists": True}}
        return [_arrival(row) for row in self._database[UPLOADS].find(asked)]


def owned_by(user: str) -> Document:
    """The condition that a dataset is this user's, whichever of the old spellings it was stored under."""
    return {"$or": [{owner: user} for owner in OWNERS]}


def _keys(identifier: str) -> list[Document]:
    keys: list[Document] = [{"uuid": text} for text in dict.fromkeys((identifier, identifier.lower()))]
    if identifier.isascii() and identifier.isdigit() and len(identifier) < 19:
        keys.append({"id": int(identifier)})
    return [*keys, {"slug": identifier}, {"name": identifier}]


def _driver(found: Document, now: datetime) -> Document:
    age = max(0.0, (now - aware(found["beat_at"])).total_seconds())
    period = float(found.get("period_seconds", DEFAULT_PERIOD_SECONDS))
    name = found.pop("_id")
    return {"name": name, **found, "age_seconds": age, "alive": age <= MISSED_PERIODS * period}


def _arrival(row: Document) -> Arrival:
    chunks = bytes(row["chunks"])
    digests = tuple(chunks[start : start + 32].hex() for start in range(0, len(chunks), 32))
    return Arrival(FileDigest(row["path"], row["size_bytes"], digests), aware(row["finished_at"]))
