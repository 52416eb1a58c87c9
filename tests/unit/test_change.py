"""Changes that do not apply, which no fair race on a queue can bring about at will."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray import change
from scray.dataset import Dataset
from scray.errors import BadInput, Conflict, IllegalTransition, StorageError, WorkerLost
from scray.status import CLAIMS, ENDS, RUNNING, Status, can

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
LEASE = {"owner": "driver", "token": "mine", "expires_at": NOON}


def dataset(status: Status, **fields: Any) -> Dataset:
    return Dataset.read({"uuid": "d", "status": str(status)} | fields)


def test_what_was_claimed_or_delayed_meanwhile_is_not_claimed() -> None:
    for old in (
        dataset(Status.CONVERTING, lease=LEASE),
        dataset(Status.CONVERSION_QUEUED, lease=LEASE),
        dataset(Status.CONVERSION_QUEUED, not_before=NOON + timedelta(seconds=1)),
        dataset(Status.DONE),
    ):
        assert change.claim(old, NOON, "driver", "new", 60) is None


def test_another_owner_adopts_nothing() -> None:
    assert change.adopt(dataset(Status.CONVERTING, lease=LEASE), NOON, "driver-2", "new", 60) is None
    assert change.adopt(dataset(Status.CONVERSION_QUEUED), NOON, "driver", "new", 60) is None


def test_a_running_lease_does_not_expire() -> None:
    old = dataset(Status.CONVERTING, lease=LEASE)
    assert change.expire(old, NOON - timedelta(seconds=1), Random(1)) is None
    assert change.expire(dataset(Status.UPLOADING), NOON, Random(1)) is None


documents = st.fixed_dictionaries(
    {
        "status": st.sampled_from([*Status]).map(str),
        "attempt": st.integers(0, 5),
        "losses": st.integers(0, 50),
        "advanced": st.booleans(),
        "requeue": st.booleans(),
        "cancel": st.booleans(),
        "convert": st.booleans(),
        "needs_check": st.booleans(),
        "open_uploads": st.lists(st.sampled_from("ab"), unique=True),
        "failed_upload": st.sampled_from([{}, {"code": "storage", "message": "lost"}]),
    }
)


@given(documents, st.integers(0, 10), st.sampled_from([BadInput(), StorageError(), WorkerLost()]))
def test_every_change_of_every_dataset_is_legal_and_whole(
    document: dict[str, Any], which: int, error: Exception
) -> None:
    """Whatever the document says: the table is kept, only running datasets are owned, an end has no lease."""
    running = Status(document["status"]) in RUNNING
    old = Dataset.read({"uuid": "d", **document, "lease": LEASE if running else None})
    fields = apply(which, old, error)
    if fields is None:
        return
    now = Dataset.read({"uuid": "d", **document, "lease": LEASE if running else None, **fields})
    assert can(old.status, now.status)
    assert now.lease is None or now.status in RUNNING
    assert now.status not in CLAIMS or now.lease is None
    assert now.status is old.status or now.status not in ENDS or not now.cancel
    assert old.status is not Status.CANCELLED or now.status is not Status.DONE


def apply(which: int, old: Dataset, error: Exception) -> change.Change | None:
    try:
        return (
            lambda: change.claim(old, NOON, "driver", "new", 60),
            lambda: change.finish(old, NOON, "mine", {}),
            lambda: change.fail(old, NOON, "mine", error, Random(1)),
            lambda: change.release(old, NOON, "mine"),
            lambda: change.cancelled(old, NOON, "mine"),
            lambda: change.expire(old, NOON, Random(1)),
            lambda: change.request_cancel(old, NOON),
            lambda: change.requeue(old, NOON, {}),
            lambda: change.upload_opened(old, NOON, "c"),
            lambda: change.upload_closed(old, NOON, "a", 5, error, False),
            lambda: change.import_added(old, NOON, 5, {"source_path": "new"}),
        )[which]()
    except Conflict:
        return None


@pytest.mark.parametrize("status", sorted(set(Status) - change.FIRST))
def test_no_dataset_begins_in_the_middle(status: Status) -> None:
    with pytest.raises(IllegalTransition):
        change.new({"uuid": "d", "status": str(status)}, NOON)
