"""Upload sessions: files that come in pieces, over any number of connections and API processes.

A session is the record of its file in `uploads`, without an owner; its received chunks are in `upload_chunks`, one
document per 32 of them: small enough to be written quickly, few enough to be listed quickly. The pieces of a `tus`
session are one growing file; its record keeps the offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from pymongo import ASCENDING, ReturnDocument
from pymongo.database import Database

from scray.catalog import owned_by
from scray.database import DATASETS, SAFE, UPLOADS, Document, server_time, steady
from scray.dataset import Dataset
from scray.errors import NotFound
from scray.spans import Span, root_digest
from scray.sums import Sums
from scray.uploads import CANCELLED, FAILED, PLACING, RECEIVING, STORED

CHUNKS = "upload_chunks"
PAGE_CHUNKS = 32
COUNTED_SECONDS = 1.0  # of a session that goes on, `received_bytes` may be so old: it shows how far it is, no more
PORTION_CHUNKS = 4 * PAGE_CHUNKS  # so many are read back at a time, by all workers together
BY_CHUNKS, BY_OFFSET = "chunks", "tus"
SAME, DIFFERENT = "same", "different"


class Sessions:
    """Asks and tells the database about uploads in pieces; any process may serve any piece.

    Promise: a chunk that was acknowledged is on disk, flushed, with its digest recorded, and is never written
    again; sending it again is harmless. Every call may raise DatabaseError; each may be made twice.
    """

    def __init__(self, database: Database[Document], keep_seconds: float) -> None:
        self.keep = timedelta(seconds=keep_seconds)
        self._database = database
        self._uploads = database.get_collection(UPLOADS, write_concern=SAFE)
        self._chunks = database.get_collection(CHUNKS, write_concern=SAFE)
        self._sums = Sums(COUNTED_SECONDS)
        self._counts, self._hints = database[UPLOADS], database[CHUNKS]  # what may get lost: nothing rests on it

    @steady
    def ensure_indexes(self) -> None:
        self._uploads.create_index([("session", ASCENDING), ("state", ASCENDING), ("expires_at", ASCENDING)])
        self._uploads.create_index([("user", ASCENDING), ("open", ASCENDING)])

    @steady
    def begun(self, kind: str, values: Mapping[str, Any]) -> Document:
        """The fields that make the record of an upload a session."""
        expires = server_time(self._database) + self.keep
        return {**values, "session": kind, "expires_at": expires, "checked": False, "checked_portions": 0, "whole": ""}

    def get(self, upload_id: str, kind: str = BY_CHUNKS) -> Document:
        """Raises NotFound."""
        found = self.find(upload_id, kind)
        if found is None:
            raise NotFound("Upload session not found")
        return found

    @steady
    def find(self, upload_id: str, kind: str) -> Document | None:
        found = self._uploads.find_one({"_id": upload_id})  # by this alone: no other index is looked at
        return found if found and found.get("session") == kind else None

    # --- chunks --------------------------------------------------------------------------------------

    @steady
    def chunk(self, upload_id: str, index: int) -> tuple[str | None, int]:
        """SHA-256, in hex, of a chunk that was acknowledged, else None; and how many bytes of it came at least."""
        names = {f"got.{index}": 1, f"part.{index}": 1}
        found = self._chunks.find_one({"_id": _page_id(upload_id, index)}, names) or {}
        digest = found.get("got", {}).get(str(index))
        return bytes(digest).hex() if digest else None, found.get("part", {}).get(str(index), 0)

    @steady
    def digests(self, upload_id: str, indexes: range) -> dict[int, str]:
        """The digests of those chunks on the pages of these `indexes` that were acknowledged, by index."""
        pages = sorted({_page_id(upload_id, index) for index in indexes})
        return _digests(self._chunks.find({"_id": {"$in": pages}}))

    @steady
    def received(self, record: Mapping[str, Any]) -> dict[int, str]:
        """The digests of all chunks of a session that were acknowledged, by index."""
        return _digests(self._chunks.find(_pages(record["_id"])))

    @steady
    def hint(self, upload_id: str, index: int, size_bytes: int) -> None:
        """So many bytes of a chunk are in the file, though nobody has vouched for them yet."""
        change = {"$set": {f"part.{index}": size_bytes}} if size_bytes else {"$unset": {f"part.{index}": ""}}
        self._hints.update_one({"_id": _page_id(upload_id, index)}, change, upsert=True)

    @steady
    def record_chunk(self, record: Mapping[str, Any], index: int, digest: str, size_bytes: int) -> Document | None:
        """A chunk is on disk and flushed; the session's record after that. None: it has ended meanwhile."""
        upload_id = record["_id"]
        change = {"$set": {f"got.{index}": bytes.fromhex(digest)}, "$unset": {f"part.{index}": ""}}
        self._chunks.update_one({"_id": _page_id(upload_id, index)}, change, upsert=True)
        counted = self._counted(upload_id, size_bytes)
        if counted is None:
            self.forget_chunks(record)
        return counted

    def _counted(self, upload_id: str, size_bytes: int) -> Document | None:
        """The record, unless it has ended; its `received_bytes` are told once a second, and when all are there."""
        came = self._sums.add(upload_id, size_bytes)
        found = None if self._sums.is_due(upload_id) else self._uploads.find_one({"_id": upload_id})
        if found is None or found["received_bytes"] + came >= found["expected_bytes"]:
            found, came = self._count(upload_id, self._sums.take(upload_id)), 0
        if found is None or found["state"] not in {RECEIVING, PLACING, STORED}:
            return None
        return {**found, "received_bytes": found["received_bytes"] + came}

    def _count(self, upload_id: str, size_bytes: int) -> Document | None:
        """One round trip: the server's own clock is in the change. What has ended may be counted too."""
        times = {"updated_at": "$$NOW", "expires_at": {"$add": ["$$NOW", self.keep // timedelta(milliseconds=1)]}}
        size = {"$min": ["$expected_bytes", {"$add": ["$received_bytes", size_bytes]}]}
        change = {"$set": {"received_bytes": size, **times}}
        return self._counts.find_one_and_update({"_id": upload_id}, [change], return_document=ReturnDocument.AFTER)

    @steady
    def tell_counts(self) -> None:
        """What came since the record of a session was told last."""
        for upload_id in self._sums.held():
            self._count(upload_id, self._sums.take(upload_id))

    @steady
    def forget_chunks(self, record: Mapping[str, Any]) -> None:
        self._chunks.delete_many(_pages(record["_id"]))

    # --- the growing file of a tus session ---------------------------------------------------------------

    @steady
    def advance(self, record: Mapping[str, Any], offset: int) -> bool:
        """All bytes before `offset` are on disk and flushed. False: the session has ended."""
        now = server_time(self._database)
        full = offset == record["expected_bytes"]
        values = {"received_bytes": offset, "full": full, "updated_at": now, "expires_at": now + self.keep}
        running = {"_id": record["_id"], "state": RECEIVING, "cancel": False}
        return self._uploads.update_one(running, {"$set": values}).matched_count == 1

    @steady
    def full(self) -> list[Document]:
        """Files that are whole, and were not placed: whoever received the last byte may have died."""
        return list(self._uploads.find({"session": BY_OFFSET, "state": RECEIVING, "full": True, "partial": False}))

    @steady
    def claim(self, part_id: str, upload_id: str) -> bool:
        """A finished partial upload becomes part of this one. False: it is part of another, or over."""
        expires = server_time(self._database) + self.keep
        free = {"_id": part_id, "$or": [{"state": RECEIVING, "joins": None}, {"joins": upload_id}]}
        values = {"joins": upload_id, "open": False, "expires_at": expires}
        return self._uploads.update_one(free, {"$set": values}).matched_count == 1

    @steady
    def in_parts(self) -> list[Document]:
        """Uploads whose parts are still to be put together."""
        parted = {"parts": {"$exists": True, "$ne": []}, "full": False, "cancel": False}
        return list(self._uploads.find({"session": BY_OFFSET, "state": RECEIVING, **parted}))

    # --- the end -----------------------------------------------------------------------------------------

    @steady
    def place(self, record: Mapping[str, Any], owner: str, root: str) -> bool:
        """All bytes are there; `owner` gives the file its place. True for the one who has to do it."""
        now = server_time(self._database)
        size = record["expected_bytes"]
        values = {"owner": owner, "beat_at": now, "updated_at": now, "received_bytes": size, "size_bytes": size}
        running = {"_id": record["_id"], "state": RECEIVING, "cancel": False}
        change = {"$set": {**values, "state": PLACING, "open": True, "root": root}}
        return self._uploads.update_one(running, change).modified_count == 1

    @steady
    def end(self, record: Mapping[str, Any], state: str, code: str, message: str) -> bool:
        """From RECEIVING to FAILED or CANCELLED. False: it has ended otherwise."""
        now = server_time(self._database)
        values = {"state": state, "error_code": code, "error_message": message, "updated_at": now, "finished_at": now}
        ours = {"_id": record["_id"], "state": {"$in": [RECEIVING, state]}}
        return self._uploads.update_one(ours, {"$set": values}).matched_count == 1

    @steady
    def keep_unplaced(self, upload_id: str) -> None:
        """The file could not get its place: its bytes wait for another try."""
        self._uploads.update_one({"_id": upload_id, "state": PLACING}, {"$set": {"state": RECEIVING, "beat_at": None}})

    @steady
    def amend(self, record: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """What a sender says of a file only at its end: `path`, `filename`, `file_hash`."""
        running = {"_id": record["_id"], "state": RECEIVING}
        self._uploads.update_one(running, {"$set": dict(values)})

    @steady
    def reopen(self, upload_id: str) -> None:
        """Chunks that were rejected come again."""
        self._uploads.update_one({"_id": upload_id}, {"$set": {"open": True, "beat_at": None}})

    @steady
    def to_end(self) -> list[Document]:
        """Sessions that were cancelled, or got no byte for too long, or whose end the queue may not know."""
        silent = {"expires_at": {"$lt": server_time(self._database)}}
        over = {"state": RECEIVING, "$or": [{"cancel": True}, silent]}
        untold = {"state": {"$in": [FAILED, CANCELLED]}, "open": True}
        return list(self._uploads.find({"session": {"$in": [BY_CHUNKS, BY_OFFSET]}, "$or": [over, untold]}))

    @steady
    def retired(self) -> list[Document]:
        """Ended sessions whose chunk records nobody needs any more."""
        old = {"expires_at": {"$lt": server_time(self._database)}, "open": False}
        ended = {"$or": [{"state": {"$in": [FAILED, CANCELLED]}}, {"state": STORED, "checked": True}]}
        return list(self._uploads.find({"session": BY_CHUNKS, **old, **ended}).limit(100))

    @steady
    def retire(self, record: Mapping[str, Any]) -> None:
        self.forget_chunks(record)
        self._uploads.update_one({"_id": record["_id"]}, {"$unset": {"expires_at": ""}})

    # --- what is promised to those who still send -----------------------------------------------------------

    @steady
    def wanted_bytes(self) -> int:
        """How many bytes the uploads that are open still need."""
        rows = self._uploads.find({"open": True, "state": RECEIVING}, {"expected_bytes": 1, "received_bytes": 1})
        return sum(max(0, (row.get("expected_bytes") or 0) - row.get("received_bytes", 0)) for row in rows)

    @steady
    def open_of(self, user: str, but: str = "") -> tuple[int, int]:
        """How many files a user is sending, `but` one, and their bytes: those that are here where no more is known."""
        asked = {"user": user, "open": True, "_id": {"$ne": but}}
        rows = list(self._uploads.find(asked, {"expected_bytes": 1, "received_bytes": 1}))
        return len(rows), sum(row.get("expected_bytes") or row.get("received_bytes", 0) for row in rows)

    @steady
    def stored_bytes(self, user: str) -> int:
        """How much a user's datasets have in their upload folders."""
        rows = self._database[DATASETS].find(owned_by(user), {"total_size_bytes": 1})
        return sum(Dataset.read({"uuid": "", **row}).total_size_bytes for row in rows)

    @steady
    def active(self) -> tuple[int, int]:
        """How many sessions are open, and how many of their bytes are here."""
        kinds = {"session": {"$in": [BY_CHUNKS, BY_OFFSET]}, "state": RECEIVING}
        rows = list(self._uploads.find(kinds, {"received_bytes": 1}))
        return len(rows), sum(row["received_bytes"] for row in rows)

    # --- the driver's checks -----------------------------------------------------------------------------

    @steady
    def unchecked(self, uuid: str) -> list[Document]:
        """The stored files of a dataset whose chunks were not read back yet."""
        return list(self._uploads.find({"dataset_uuid": uuid, "session": BY_CHUNKS, "state": STORED, "checked": False}))

    @steady
    def unproved(self, uuid: str, most_bytes: int) -> list[Document]:
        """The stored files of a dataset whose own SHA-256 is not known to be the promised one."""
        asked = {"dataset_uuid": uuid, "session": BY_CHUNKS, "state": STORED, "whole": {"$ne": SAME}}
        promised = {"file_hash": {"$type": "string"}, "expected_bytes": {"$lte": most_bytes}}
        return list(self._uploads.find({**asked, **promised}))

    @steady
    def note(self, upload_id: str, values: Mapping[str, Any]) -> None:
        """What was found out: `checked_portions`, `checked`, `whole`; or said late: `expected_bytes`."""
        self._uploads.update_one({"_id": upload_id}, {"$set": dict(values)})

    @steady
    def reject(self, record: Mapping[str, Any], damaged: Mapping[int, Span]) -> None:
        """These chunks are not on the disk as they came: they are wanted again."""
        for index in damaged:
            self._chunks.update_one({"_id": _page_id(record["_id"], index)}, {"$unset": {f"got.{index}": ""}})
        lost = sum(span.size for span in damaged.values())
        now = server_time(self._database)
        values = {"state": RECEIVING, "checked": False, "expires_at": now + self.keep}
        values |= {"received_bytes": record["expected_bytes"] - lost, "open": False, "beat_at": None}
        self._uploads.update_one({"_id": record["_id"]}, {"$set": values})


def portion_numbers(chunks: int) -> range:
    """The portions in which so many chunks are checked."""
    return range(-(-chunks // PORTION_CHUNKS))


def portion_indexes(portion: int, chunks: int) -> range:
    """The chunks of a portion."""
    return range(portion * PORTION_CHUNKS, min((portion + 1) * PORTION_CHUNKS, chunks))


def chunk_span(record: Mapping[str, Any], index: int) -> Span:
    """The bytes of a chunk."""
    start = index * record["chunk_bytes"]
    return Span(start, min(start + record["chunk_bytes"], record["expected_bytes"]))


def missing(record: Mapping[str, Any], received: Mapping[int, str]) -> Iterator[int]:
    """The chunks that were not acknowledged, in order."""
    return (index for index in range(record["total_chunks"]) if index not in received)


def chunk_root(record: Mapping[str, Any], received: Mapping[int, str]) -> str:
    """The digest of a file whose chunks are all there, from theirs."""
    return root_digest(record["expected_bytes"], [received[index] for index in range(record["total_chunks"])])


def _pages(upload_id: str) -> Document:
    """All pages of a session: what sorts between `id:` and the next character after the colon."""
    return {"_id": {"$gte": f"{upload_id}:", "$lt": f"{upload_id};"}}


def _digests(pages: Iterable[Document]) -> dict[int, str]:
    return {int(index): bytes(value).hex() for page in pages for index, value in page.get("got", {}).items()}


def _page_id(upload_id: str, index: int) -> str:
    return f"{upload_id}:{index // PAGE_CHUNKS}"
