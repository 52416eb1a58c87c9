"""Every change of a dataset in the queue, as a pure function: (dataset, now, …) -> the fields to set.

None means that the change does not apply: the lease is somebody else's, or there is nothing to do. Both
queues, the one on the database and the one in memory, carry these out by compare-and-set and decide nothing
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from scray.dataset import Dataset, Progress
from scray.errors import Conflict, IllegalTransition, SourceChanged
from scray.retry import Verdict, delay_seconds, exhausted, explain, judge
from scray.status import CLAIMS, CONVERTIBLE, ENDS, FAILURES, QUEUED, RUNNING, Status, check

Change = dict[str, Any]

FIRST: Final = frozenset({Status.SUBMITTED, Status.UPLOADING, *QUEUED})
FREE: Final[Change] = {"lease": None, "publishing": None, "cancel": False, "requeue": False}
BLAMELESS: Final[Change] = {"error_code": "", "error_message": ""}
FRESH: Final[Change] = FREE | BLAMELESS | {
    "priority": 2, "not_before": None, "attempt": 0, "losses": 0, "advanced": False, "progress": {},
    "open_uploads": [], "failed_upload": {}, "needs_check": False, "settle_seconds": 0.0,
}  # fmt: skip
OWN: Final = frozenset({*FRESH, "uuid", "_id", "status", "revision", "queued_at", "updated_at"}) - BLAMELESS.keys()


def new(document: Mapping[str, Any], now: datetime) -> Change:
    """The row of a new dataset; raises IllegalTransition where a dataset cannot begin with its status."""
    status = Status(document.get("status", Status.SUBMITTED))
    if status not in FIRST:
        raise IllegalTransition(f"A new dataset cannot be {status!s}.")
    stamps = {"created_at": now, "updated_at": now, "queued_at": now}
    return FRESH | stamps | dict(document) | {"status": str(status)}


def holds(old: Dataset, token: str) -> bool:
    """Whether this token is the fence of the present claim."""
    return old.lease is not None and old.lease.token == token


# --- the owner of a claim -------------------------------------------------------------------------


def claim(old: Dataset, now: datetime, owner: str, token: str, lease_seconds: float) -> Change | None:
    if old.status not in CLAIMS or old.lease or (old.not_before and old.not_before > now):
        return None
    lease = _lease(now, owner, token, lease_seconds)
    start = {"started_at": now, "advanced": False, "progress": {}, "lease": lease}
    checked = {"needs_check": False} if old.status is Status.UPLOAD_QUEUED else {}
    return _moved(old, CLAIMS[old.status], now, FREE | BLAMELESS | start | checked)


def adopt(old: Dataset, now: datetime, owner: str, token: str, lease_seconds: float) -> Change | None:
    """A restarted owner takes over what it held, under a new token."""
    if old.lease is None or old.lease.owner != owner:
        return None
    return {"lease": _lease(now, owner, token, lease_seconds), "publishing": None}


def renew(old: Dataset, now: datetime, token: str, lease_seconds: float) -> Change | None:
    if old.lease is None or not holds(old, token):
        return None
    return {"lease": _lease(now, old.lease.owner, token, lease_seconds)}


def progress(old: Dataset, now: datetime, token: str, made: Progress, advanced: bool) -> Change | None:
    """`advanced`: a brick, span, range or member was finished that was not before."""
    if not holds(old, token):
        return None
    fruitful = {"advanced": True, "attempt": 0, "losses": 0} if advanced else {}
    return {"progress": made.model_dump(), "updated_at": now} | fruitful


def enter(old: Dataset, now: datetime, token: str, status: Status) -> Change | None:
    """Another kind of work within the same claim: archives are unpacked before what they hold is converted."""
    if status not in RUNNING:
        raise IllegalTransition(f"A dataset in work cannot become {status!s}.")
    if not holds(old, token):
        return None
    return {} if old.status is status else _moved(old, status, now, {})


def begin_publish(old: Dataset, token: str) -> Change | None:
    """From here on it is too late to cancel."""
    return {"publishing": token} if holds(old, token) and not old.cancel else None


def finish(old: Dataset, now: datetime, token: str, fields: Mapping[str, Any]) -> Change | None:
    """The work of the claim is complete; `fields` are the result's own."""
    if taken := OWN & fields.keys():
        raise ValueError(f"the queue alone writes {', '.join(sorted(taken))}")
    if not holds(old, token):
        return None
    if old.cancel:
        return cancelled(old, now, token)
    converting = old.status in {Status.CONVERTING, Status.UNZIPPING}
    if old.open_uploads:
        following = _moved(old, Status.UPLOADING, now, {})
    elif converting and not old.requeue:
        following = _moved(old, Status.DONE, now, {"completed_at": now})
    else:
        following = _received(old, now)
    return dict(fields) | FREE | {"attempt": 0, "losses": 0} | following


def fail(old: Dataset, now: datetime, token: str, error: BaseException, random: Random) -> Change | None:
    """Back to the queue with a delay, or the end, by the policy in retry.py.

    Files that came late mean another run in any case.
    """
    if not holds(old, token):
        return None
    if old.cancel:
        return cancelled(old, now, token)
    verdict = judge(error)
    attempt = old.attempt + (verdict is Verdict.TRANSIENT and not old.advanced)
    losses = old.losses + (verdict is Verdict.WAIT and not old.advanced)
    code, message = explain(error)
    blame = {"error_code": code, "error_message": message, "attempt": attempt, "losses": losses}
    final = verdict is Verdict.PERMANENT or (verdict is Verdict.TRANSIENT and exhausted(attempt))
    if final and (old.status is Status.SYNCING or not old.requeue):
        failed = Status.UPLOAD_ERROR if isinstance(error, SourceChanged) else FAILURES[old.status]
        return _moved(old, failed, now, FREE | blame)
    delay = timedelta(seconds=delay_seconds(attempt + losses, random))
    return FREE | {"not_before": now + delay} | blame | _returned(old, now)


def release(old: Dataset, now: datetime, token: str) -> Change | None:
    """Given back by a driver that drains; nothing is held against the dataset."""
    if not holds(old, token):
        return None
    return cancelled(old, now, token) if old.cancel else FREE | _returned(old, now)


def cancelled(old: Dataset, now: datetime, token: str) -> Change | None:
    return _cancelled(old, now) if holds(old, token) else None


def expire(old: Dataset, now: datetime, random: Random) -> Change | None:
    """The owner was silent for a lease. Whatever the reason, this alone never fails a dataset."""
    if old.lease is None or old.lease.expires_at > now:
        return None
    if old.cancel:
        return _cancelled(old, now)
    losses = old.losses + (not old.advanced)
    delay = timedelta(seconds=0 if old.advanced else delay_seconds(losses, random))
    return FREE | {"losses": losses, "not_before": now + delay} | _returned(old, now)


# --- the user -------------------------------------------------------------------------------------


def request_cancel(old: Dataset, now: datetime) -> Change | None:
    """At once where nobody works on it; otherwise a flag that its owner obeys, unless it is already
    publishing.
    """
    if old.status in ENDS or old.publishing:
        return None
    return {"cancel": True, "updated_at": now} if old.lease else _cancelled(old, now)


def requeue(old: Dataset, now: datetime, fields: Mapping[str, Any]) -> Change:
    """Convert (again); raises Conflict where that is not possible now."""
    if old.status not in CONVERTIBLE:
        raise Conflict(f"A dataset that is {old.status!s} cannot be queued for conversion again.")
    fresh: Change = {"attempt": 0, "losses": 0, "not_before": None, "failed_upload": {}, "convert": True}
    return _moved(old, Status.CONVERSION_QUEUED, now, BLAMELESS | fresh | dict(fields))


def refetch(old: Dataset, now: datetime) -> Change:
    """Import again what could not be imported; raises Conflict for anything else."""
    if old.status is not Status.SYNC_ERROR:
        raise Conflict(f"A dataset that is {old.status!s} cannot be queued for its import again.")
    return _moved(old, Status.SYNC_QUEUED, now, BLAMELESS | {"attempt": 0, "losses": 0, "not_before": None})


def import_added(old: Dataset, now: datetime, settle_seconds: float, fields: Mapping[str, Any]) -> Change:
    """Fetch more files for a dataset that has ended or waits for its conversion; `fields` say from where.

    Raises Conflict while anybody works on it, or files of it are coming.
    """
    if old.lease or old.open_uploads or old.status not in ENDS | {Status.CONVERSION_QUEUED}:
        raise Conflict(f"The dataset is {old.status!s}: import more files into it when that is over.")
    fresh: Change = {"attempt": 0, "losses": 0, "not_before": None, "failed_upload": {}}
    settle = {"settle_seconds": settle_seconds}
    return _moved(old, Status.SYNC_QUEUED, now, BLAMELESS | fresh | settle | dict(fields))


def upload_opened(old: Dataset, now: datetime, upload: str) -> Change | None:
    """A file begins to arrive. While somebody works on the dataset, it asks for another run after this one."""
    if upload in old.open_uploads:
        return None
    opened = {"open_uploads": [*old.open_uploads, upload]}
    if old.lease:
        return opened | {"requeue": True}
    if old.status in {Status.UPLOADING, Status.SYNC_QUEUED}:
        return opened
    return _moved(old, Status.UPLOADING, now, BLAMELESS | {"failed_upload": {}, "attempt": 0, "losses": 0} | opened)


def upload_closed(
    old: Dataset, now: datetime, upload: str, settle_seconds: float, failed: BaseException | None, needs_check: bool
) -> Change | None:
    """A file has arrived, or never will; the last one to end moves the dataset on."""
    if upload not in old.open_uploads:
        return None
    left = [other for other in old.open_uploads if other != upload]
    ended: Change = {"open_uploads": left, "settle_seconds": settle_seconds}
    if failed is not None:
        ended["failed_upload"] = dict(zip(("code", "message"), explain(failed), strict=True))
    elif needs_check:
        ended["needs_check"] = True
    if left or old.lease or old.status is not Status.UPLOADING:
        return ended
    return ended | _received(old.model_copy(update=ended), now)


# --- where to -------------------------------------------------------------------------------------


def _moved(old: Dataset, new: Status, now: datetime, fields: Mapping[str, Any]) -> Change:
    """A dataset that returns to its queue keeps its place there."""
    check(old.status, new)
    place = {"queued_at": now} if new in QUEUED and RUNNING.get(old.status) is not new else {}
    return {"status": str(new), "updated_at": now} | place | dict(fields)


def _received(old: Dataset, now: datetime) -> Change:
    """Where a dataset goes whose uploads have all ended."""
    if old.failed_upload:
        blame = {f"error_{key}": old.failed_upload.get(key, "") for key in ("code", "message")}
        return _moved(old, Status.UPLOAD_ERROR, now, blame)
    if old.needs_check:
        return _moved(old, Status.UPLOAD_QUEUED, now, {"not_before": None})
    if not old.convert:
        return _moved(old, Status.DONE, now, {"completed_at": now})
    settled = now + timedelta(seconds=old.settle_seconds)
    return _moved(old, Status.CONVERSION_QUEUED, now, {"not_before": settled, "attempt": 0, "losses": 0})


def _returned(old: Dataset, now: datetime) -> Change:
    """Where a dataset goes whose claim ended before its work did."""
    unchecked = {"needs_check": True} if old.status is Status.UPLOADING else {}
    if old.status is not Status.SYNCING and old.open_uploads:
        return _moved(old, Status.UPLOADING, now, unchecked)
    if old.status is not Status.SYNCING and old.requeue:
        return unchecked | _received(old.model_copy(update=unchecked), now)
    return _moved(old, RUNNING[old.status], now, unchecked)


def _cancelled(old: Dataset, now: datetime) -> Change:
    return _moved(old, Status.CANCELLED, now, FREE | {"open_uploads": []})


def _lease(now: datetime, owner: str, token: str, lease_seconds: float) -> dict[str, Any]:
    return {"owner": owner, "token": token, "expires_at": now + timedelta(seconds=lease_seconds)}
