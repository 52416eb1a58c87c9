"""The queue: `visstoredatas` itself. The only file that writes `status`.

A dataset has at most one owner; an owner that is silent for a lease loses it; a late owner changes nothing.

What a change is, stands in change.py; here it is carried out: the document is read, the pure function says
which fields to set, and one `update_one` by `_id` sets them if status, lease token and revision are still
what was read.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from pymongo.database import Database

from scray import change
from scray.change import Change
from scray.dataset import Dataset, Progress
from scray.errors import Conflict, NotFound
from scray.order import Waiting, in_turn
from scray.rows import Document, MongoRows, Rows, fence
from scray.status import Status, read_status

TRIES: Final = 50  # compare-and-set rounds until somebody else's haste is an error
AHEAD: Final = 1000  # so many of those that wait a look remembers
CROWD: Final = 16  # who lost a race for a dataset goes on with any of so many

Decide = Callable[[Dataset, datetime], Change | None]
Line = dict[str, Waiting]


@dataclass(frozen=True)
class Claim:
    """The right to work on a dataset. `token` is the fence: with an old one, nothing can be changed any more."""

    uuid: str
    token: str
    owner: str
    status: Status
    attempt: int
    lease_seconds: float
    dataset: Dataset


class Queue:
    """*A dataset has at most one owner; an owner that is silent for a lease loses it; a late owner changes
    nothing.*

    All times are the server's. Calls of an owner return False or None where its lease is lost. Every call may
    raise DatabaseError; calls for one dataset raise NotFound where there is none.
    """

    def __init__(
        self, rows: Rows | Database[Document], *, lease_seconds: float = 60.0, random: Random | None = None
    ) -> None:
        self.rows = rows if isinstance(rows, Rows) else MongoRows(rows)
        self.lease_seconds = lease_seconds
        self._random = random or Random()

    def ensure_indexes(self) -> None:
        """Create the indexes of the queue's own questions."""
        if isinstance(self.rows, MongoRows):
            self.rows.ensure_indexes()

    def now(self) -> datetime:
        return self.rows.now()

    def dataset(self, uuid: str) -> Dataset:
        return Dataset.read(self._read(uuid))

    # --- owners ---

    def claim(self, owner: str, *, owners_running: Mapping[str, int] | None = None) -> Claim | None:
        """The next dataset that waits, or None. In strict order for one owner, roughly so for several at
        once.
        """
        return next(self.take(self.look(owners_running), owner, owners_running), None)

    def look(self, owners_running: Mapping[str, int] | None = None) -> Line:
        """The first of those that wait now, by uuid. With ten thousand of them this may take a second."""
        return self._line(self.rows.waiting(), self.now(), owners_running)

    def news(self, seconds: float, owners_running: Mapping[str, int] | None = None) -> Line:
        """Those that were queued in the last so many seconds: this is quick, however many wait."""
        now = self.now()
        return self._line(self.rows.queued(now - timedelta(seconds=seconds)), now, owners_running)

    def _line(self, rows: list[Document], now: datetime, owners_running: Mapping[str, int] | None) -> Line:
        found = (Waiting.read(row) for row in rows if isinstance(row.get("uuid"), str))
        waiting = [one for one in found if one.not_before <= now]
        return {one.uuid: one for one in in_turn(waiting, now, owners_running)[:AHEAD]}

    def take(self, line: Line, owner: str, owners_running: Mapping[str, int] | None = None) -> Iterator[Claim]:
        """One dataset after another of a line, each claimed when it is asked for; what was tried leaves the line.

        Others may have been faster since somebody looked: then it is the next one's turn.
        """
        turns, missed = in_turn(line.values(), self.now(), owners_running), 0
        turns.reverse()
        while turns and missed < TRIES:
            uuid, token = turns.pop().uuid, secrets.token_hex(16)
            del line[uuid]
            row, now = self.rows.read(uuid), self.now()
            fields = change.claim(Dataset.read(row), now, owner, token, self.lease_seconds) if row else None
            taken = self._swap(row, fields) if row and fields else None
            if taken:
                yield self._claim(taken, owner, token)
                continue
            missed += 1
            if fields:  # others are at it: get out of each other's way
                turns[-CROWD:] = self._random.sample(turns[-CROWD:], len(turns[-CROWD:]))

    def adopt(self, owner: str) -> list[Claim]:
        """What this owner held before it was restarted, under new tokens, at once."""
        held = [row["uuid"] for row in self.rows.leased() if row["lease"].get("owner") == owner]
        return [claim for uuid in held if (claim := self._adopt(uuid, owner))]

    def _adopt(self, uuid: str, owner: str) -> Claim | None:
        now, token = self.now(), secrets.token_hex(16)
        taken = self._once(uuid, lambda old: change.adopt(old, now, owner, token, self.lease_seconds))
        return self._claim(taken, owner, token) if taken else None

    def renew(self, claim: Claim) -> bool:
        return self._owned(claim, lambda old, now: change.renew(old, now, claim.token, claim.lease_seconds)) is not None

    def progress(self, claim: Claim, made: Progress, *, advanced: bool = False) -> bool:
        """`advanced`: something was finished that was not before; the dataset has no failed attempts any
        more.
        """
        return self._owned(claim, lambda old, now: change.progress(old, now, claim.token, made, advanced)) is not None

    def enter(self, claim: Claim, status: Status) -> bool:
        """Go on to another kind of work: converting, or unzipping before it."""
        return self._owned(claim, lambda old, now: change.enter(old, now, claim.token, status)) is not None

    def begin_publish(self, claim: Claim) -> bool:
        """False also where the dataset was cancelled; once True, it is too late for that."""
        return self._owned(claim, lambda old, _: change.begin_publish(old, claim.token)) is not None

    def finish(self, claim: Claim, fields: Mapping[str, Any] | None = None) -> bool:
        """The work is done. Files that came meanwhile send the dataset round again."""
        return self._owned(claim, lambda old, now: change.finish(old, now, claim.token, fields or {})) is not None

    def fail(self, claim: Claim, error: BaseException) -> Status | None:
        """The work failed; the status it has now: queued again, with a delay, or the end, by retry.py."""
        done = self._owned(claim, lambda old, now: change.fail(old, now, claim.token, error, self._random))
        return Status(done["status"]) if done else None

    def release(self, claim: Claim) -> bool:
        """Give it back unharmed."""
        return self._owned(claim, lambda old, now: change.release(old, now, claim.token)) is not None

    def cancelled(self, claim: Claim) -> bool:
        """The owner has stopped its work as it was asked to."""
        return self._owned(claim, lambda old, now: change.cancelled(old, now, claim.token)) is not None

    def cancel_wanted(self, claim: Claim) -> bool:
        row = self.rows.read(claim.uuid)
        return row is not None and change.holds(old := Dataset.read(row), claim.token) and old.cancel

    def cancels(self) -> set[str]:
        """The tokens of the claims that are to be cancelled."""
        return {token for row in self.rows.leased(cancel=True) if (token := fence(row))}

    def follow(self, ring: Callable[[], None]) -> None:
        """Call `ring` whenever there may be something to claim or to cancel, for as long as that can be seen.

        It makes waiting shorter and nothing else: what it misses, looking again finds. Raises DatabaseError.
        """
        self.rows.changes(ring)

    def expire(self) -> list[str]:
        """Take back what silent owners hold; the uuids. Anybody may call it, at any time."""
        now = self.now()
        late = [row["uuid"] for row in self.rows.leased() if change.expire(Dataset.read(row), now, self._random)]
        return [uuid for uuid in late if self._once(uuid, lambda old: change.expire(old, now, self._random))]

    # --- users ---

    def add(self, document: Mapping[str, Any]) -> Dataset:
        """Insert a new dataset in its first status (`submitted` unless it says another); Conflict where it
        exists.
        """
        row = change.new(document, self.now()) | {"revision": secrets.token_hex(8)}
        self.rows.insert(row)
        return Dataset.read(row)

    def request_cancel(self, uuid: str) -> bool:
        """Whether it is, or soon will be, cancelled; False where it has ended or is being published."""
        return self._change(uuid, change.request_cancel) is not None

    def requeue(self, uuid: str, fields: Mapping[str, Any] | None = None) -> Dataset:
        """Convert a dataset that has ended (again), with other `conversion_parameters` or priority in
        `fields`.

        Raises Conflict while it is in work or waits.
        """
        self._change(uuid, lambda old, now: change.requeue(old, now, fields or {}))
        return self.dataset(uuid)

    def refetch(self, uuid: str) -> Dataset:
        """Import a dataset again whose import failed; what was fetched stays. Raises Conflict for any other."""
        self._change(uuid, change.refetch)
        return self.dataset(uuid)

    def import_added(self, uuid: str, settle_seconds: float, fields: Mapping[str, Any]) -> Dataset:
        """Fetch more files for a dataset, from the source in `fields`. Raises Conflict while it is in work."""
        self._change(uuid, lambda old, now: change.import_added(old, now, settle_seconds, fields))
        return self.dataset(uuid)

    def upload_opened(self, uuid: str, upload: str) -> bool:
        """An upload (its id) begins; saying it again changes nothing."""
        return self._change(uuid, lambda old, now: change.upload_opened(old, now, upload)) is not None

    def upload_closed(
        self,
        uuid: str,
        upload: str,
        *,
        settle_seconds: float = 0.0,
        failed: BaseException | None = None,
        needs_check: bool = False,
    ) -> bool:
        """An upload ended: well, with an error, or well but still to be checked. The last one moves the
        dataset on.

        False where it was not open: it was closed before, or the dataset was cancelled.
        """
        closed = self._change(
            uuid,
            lambda old, now: change.upload_closed(old, now, upload, settle_seconds, failed, needs_check),
        )
        return closed is not None

    def counts(self) -> dict[Status, int]:
        found = dict.fromkeys(Status, 0)
        for text, count in self.rows.counts().items():
            found[read_status(text)] += count
        return found

    def oldest(self, status: Status) -> datetime | None:
        """Since when the first in this status waits."""
        return self.rows.oldest(status)

    # --- compare and set ---

    def _claim(self, row: Document, owner: str, token: str) -> Claim:
        dataset = Dataset.read(row)
        return Claim(dataset.uuid, token, owner, dataset.status, dataset.attempt, self.lease_seconds, dataset)

    def _read(self, uuid: str) -> Document:
        row = self.rows.read(uuid)
        if row is None:
            raise NotFound(f"There is no dataset {uuid}.")
        return row

    def _owned(self, claim: Claim, decide: Decide) -> Document | None:
        """An owner whose dataset was deleted has lost it, like any other."""
        try:
            return self._change(claim.uuid, decide)
        except NotFound:
            return None

    def _change(self, uuid: str, decide: Decide) -> Document | None:
        """Decide and set, again while others change the document in between; the new row, or None: does not
        apply.
        """
        for _ in range(TRIES):
            row = self._read(uuid)
            fields = decide(Dataset.read(row), self.now())
            if fields is None:
                return None
            if done := self._swap(row, fields):
                return done
        raise Conflict(f"Too many changes of dataset {uuid} at once.")

    def _once(self, uuid: str, decide: Callable[[Dataset], Change | None]) -> Document | None:
        """Like `_change`, but whoever is faster wins."""
        row = self.rows.read(uuid)
        fields = decide(Dataset.read(row)) if row else None
        return self._swap(row, fields) if row and fields else None

    def _swap(self, row: Document, fields: Change) -> Document | None:
        fields = {**fields, "revision": secrets.token_hex(8)}
        return row | fields if self.rows.swap(row, fields) else None
