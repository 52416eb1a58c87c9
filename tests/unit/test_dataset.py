"""Documents of any age are read, and nothing in them can stop the reading."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray.dataset import Dataset, Lease, Progress
from scray.status import Status

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.datetimes()
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from([*Dataset.model_fields, "user_id", "user_email", "files", "other"])


@given(st.dictionaries(names, anything, max_size=12))
def test_no_document_is_unreadable(document: dict[str, Any]) -> None:
    dataset = Dataset.read({"uuid": "d"} | document)
    assert 1 <= dataset.priority <= 3
    assert dataset.settle_seconds >= 0
    assert dataset.created_at is None or dataset.created_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("document", "user"),
    [
        ({"user": "a", "user_id": "b"}, "a"),
        ({"user": None, "user_id": "b"}, "b"),
        ({"user_email": "c"}, "c"),
        ({}, ""),
    ],
)
def test_owners_have_many_names(document: dict[str, Any], user: str) -> None:
    assert Dataset.read({"uuid": "d"} | document).user == user


@pytest.mark.parametrize(
    ("tags", "read"),
    [
        ("ab, cd", ("ab", "cd")),
        (["ab", "cd"], ("ab", "cd")),
        (["a", "b", ",", "c", "d"], ("ab", "cd")),
        (["a", "b"], ("a", "b")),
        ("", ()),
        (7, ()),
        (None, ()),
    ],
)
def test_tags_have_many_shapes(tags: object, read: tuple[str, ...]) -> None:
    assert Dataset.read({"uuid": "d", "tags": tags}).tags == read


@pytest.mark.parametrize(("text", "flag"), [("true", True), ("False", False), (1, True), (None, False), ("1", True)])
def test_flags_came_as_text(text: object, flag: bool) -> None:
    assert Dataset.read({"uuid": "d", "convert": text}).convert is flag


@pytest.mark.parametrize(
    ("moment", "read"),
    [
        (NOON, NOON),
        (NOON.replace(tzinfo=None), NOON),
        (NOON.astimezone(timezone(timedelta(hours=5))), NOON),
        ("2024-05-01T12:00:00", NOON),
        ("yesterday", None),
        (5, None),
    ],
)
def test_times_are_utc(moment: object, read: datetime | None) -> None:
    assert Dataset.read({"uuid": "d", "created_at": moment}).created_at == read


def test_numbers_came_as_text() -> None:
    dataset = Dataset.read({"uuid": "d", "id": "42", "total_size_bytes": "x", "settle_seconds": "?", "priority": "9"})
    assert (dataset.id, dataset.total_size_bytes, dataset.settle_seconds, dataset.priority) == (42, 0, 0.0, 3)


def test_a_lease_is_whole_or_none() -> None:
    lease = {"owner": "driver", "token": "t", "expires_at": NOON}
    assert Dataset.read({"uuid": "d", "lease": lease}).lease == Lease(owner="driver", token="t", expires_at=NOON)
    for part in lease:
        assert Dataset.read({"uuid": "d", "lease": lease | {part: None}}).lease is None


def test_status_and_progress() -> None:
    dataset = Dataset.read({"uuid": "d", "status": "conversion error", "progress": {"percent": 5}})
    assert (dataset.status, dataset.status_text) == (Status.CONVERSION_FAILED, "conversion error")
    assert dataset.progress == Progress(percent=5)
    assert Dataset.read({"uuid": "d", "progress": {"percent": "much"}}).progress == Progress()
    assert Dataset.model_validate(dataset) == dataset
    assert not dataset.running
