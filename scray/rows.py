"""Where the queue's documents lie: `visstoredatas`, of MongoDB or what speaks like it, and what any such place does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pymongo import ASCENDING, ReadPreference
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from scray.change import Change
from scray.database import DATASETS, SAFE, steady
from scray.dataset import HIGH, LOW, NORMAL, OWNERS, Dataset
from scray.errors import Conflict, DatabaseError
from scray.status import QUEUED, RUNNING, Status

AUDITED: Final = 256  # so many changes of status a document remembers
LINE: Final = ("uuid", *OWNERS, "priority", "queued_at", "updated_at", "created_at", "not_before")  # what decides turns
LOOK_ROWS: Final = 10_000  # that come in one answer
HEAVY: Final = {"files": 0, "audit": 0}  # fields the queue never asks for

Document = dict[str, Any]


class Rows(ABC):
    """Where the documents lie. A document has a `revision`, another one after each change of the queue."""

    @abstractmethod
    def now(self) -> datetime:
        """The one clock of the queue, aware, UTC."""

    @abstractmethod
    def insert(self, document: Document) -> None:
        """Raises Conflict where the uuid exists."""

    @abstractmethod
    def read(self, uuid: str) -> Document | None: ...

    @abstractmethod
    def swap(self, old: Document, fields: Change) -> bool:
        """Set fields if status, lease token and revision are still those of `old`; whether they were.

        In the same step a change of status is appended to the document's `audit`.
        """

    @abstractmethod
    def waiting(self) -> list[Document]:
        """All documents that wait for an owner, some of them for their time; of each at least the fields of LINE."""

    @abstractmethod
    def queued(self, since: datetime) -> list[Document]:
        """Those of `waiting` that were queued since then, quickly, however many wait."""

    @abstractmethod
    def leased(self, *, cancel: bool = False) -> list[Document]:
        """What somebody works on; with `cancel` only what is to be cancelled."""

    @abstractmethod
    def changes(self, ring: Callable[[], None]) -> None:
        """Call `ring` whenever there may be something to claim or to cancel; returns when that cannot be seen."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """How many documents have each status string."""

    @abstractmethod
    def oldest(self, status: Status) -> datetime | None:
        """The earliest `queued_at`."""


def fence(row: Document) -> str | None:
    """The token of a document's lease."""
    lease = row.get("lease")
    return str(lease["token"]) if isinstance(lease, Mapping) and "token" in lease else None


def audited(old: Document, fields: Change) -> list[Document]:
    """What a change appends to the audit log of its dataset: a line where the status is another one."""
    if fields.get("status", old.get("status")) == old.get("status"):
        return []
    claim = (fence(fields) or fence(old) or "")[:8]
    return [{"at": fields.get("updated_at"), "from": old.get("status"), "to": fields["status"], "claim": claim}]


class MongoRows(Rows):
    """The collection `visstoredatas`, of MongoDB or what speaks like it.

    Changes are acknowledged by the majority and journalled. Reads and changes are repeated when the
    connection breaks: a change that had arrived is recognised by its revision. The time comes from `hello`,
    as `$$NOW` inside a query is not understood by every server.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._rows: Collection[Document] = database[DATASETS].with_options(
            write_concern=SAFE, read_preference=ReadPreference.PRIMARY
        )

    @steady
    def ensure_indexes(self) -> None:
        line = [("status", ASCENDING), ("priority", ASCENDING), ("queued_at", ASCENDING)]
        self._rows.create_index("uuid", unique=True)
        self._rows.create_index(line)

    @steady
    def now(self) -> datetime:
        time: datetime = self._database.command("hello")["localTime"]
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)

    @steady
    def insert(self, document: Document) -> None:
        try:
            self._rows.insert_one(dict(document))
        except DuplicateKeyError as error:
            if self._revision(document["uuid"]) != document["revision"]:
                raise Conflict(f"There is a dataset {document['uuid']} already.") from error

    @steady
    def read(self, uuid: str) -> Document | None:
        return self._rows.find_one({"uuid": uuid}, HEAVY)

    @steady
    def swap(self, old: Document, fields: Change) -> bool:
        expected = {key: old.get(key) for key in ("_id", "status", "revision")}
        if token := fence(old):
            expected["lease.token"] = token
        update: Document = {"$set": fields}
        if lines := audited(old, fields):
            update["$push"] = {"audit": {"$each": lines, "$slice": -AUDITED}}
        done = self._rows.update_one(expected, update)
        return done.modified_count == 1 or self._revision(old["uuid"]) == fields["revision"]

    def _revision(self, uuid: str) -> str | None:
        row = self._rows.find_one({"uuid": uuid}, {"revision": 1})
        return row.get("revision") if row else None

    @steady
    def waiting(self) -> list[Document]:
        """One question, however many users there are, and by an index on every server; some have none for `$or`."""
        queued = [str(status) for status in QUEUED]
        return list(self._rows.find({"status": {"$in": queued}}, LINE, batch_size=LOOK_ROWS))

    @steady
    def queued(self, since: datetime) -> list[Document]:
        """By the whole index, for which each question has to name one status and one priority."""
        places = [(str(status), priority) for status in QUEUED for priority in (HIGH, NORMAL, LOW)]
        asked = [{"status": status, "priority": at, "queued_at": {"$gte": since}} for status, at in places]
        return [row for one in asked for row in self._rows.find(one, LINE, batch_size=LOOK_ROWS)]

    @steady
    def leased(self, *, cancel: bool = False) -> list[Document]:
        running = [str(status) for status in RUNNING]
        wanted: Document = {"cancel": True} if cancel else {}
        return self._find({"status": {"$in": running}, "lease.token": {"$type": "string"}, **wanted}, 0)

    def changes(self, ring: Callable[[], None]) -> None:
        """By a change stream; a server without them, or one that goes away, raises DatabaseError."""
        queued = {"$in": [str(status) for status in QUEUED]}
        urgent = [
            {"operationType": "insert"},
            {"updateDescription.updatedFields.status": queued},
            {"updateDescription.updatedFields.cancel": True},
        ]
        try:
            with self._rows.watch([{"$match": {"$or": urgent}}]) as stream:
                ring()  # for what came before
                for _ in stream:
                    ring()
        except PyMongoError as error:
            raise DatabaseError(f"Changes of the database cannot be followed: {error}") from error

    @steady
    def counts(self) -> dict[str, int]:
        groups: list[Document] = [{"$group": {"_id": "$status", "count": {"$sum": 1}}}]
        rows = self._rows.aggregate(groups)
        return {str(row["_id"]): row["count"] for row in rows}

    @steady
    def oldest(self, status: Status) -> datetime | None:
        rows = self._find({"status": str(status)}, 1, "queued_at")
        return Dataset.read(rows[0]).queued_at if rows else None

    def _find(self, match: Document, limit: int, *order: str) -> list[Document]:
        found = self._rows.find(match, HEAVY, limit=limit)
        return list(found.sort([(key, ASCENDING) for key in order]) if order else found)
