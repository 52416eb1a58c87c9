"""The status table: closed, complete, and without dead ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray.errors import IllegalTransition
from scray.status import (
    ALIASES,
    CLAIMS,
    ENDS,
    FAILURES,
    MEANING,
    RUNNING,
    TRANSITIONS,
    Status,
    can,
    check,
    job_status,
    read_status,
    stage,
    table,
)

JOB_WORDS = {"queued", "uploading", "processing", "completed", "failed", "cancelled"}


def test_every_status_is_in_every_table() -> None:
    assert set(TRANSITIONS) == set(MEANING) == set(Status)
    assert {job_status(status) for status in Status} == JOB_WORDS
    assert {stage(status) for status in ENDS} == {"end"}


def test_claims_failures_and_returns_are_legal() -> None:
    assert all(can(waiting, running) for waiting, running in CLAIMS.items())
    assert all(can(running, failed) for running, failed in FAILURES.items())
    assert all(can(running, waiting) or running is Status.UPLOADING for running, waiting in RUNNING.items())
    assert can(Status.UPLOADING, Status.UPLOAD_QUEUED)


def test_every_status_is_reached_and_left() -> None:
    reached = {new for following in TRANSITIONS.values() for new in following}
    assert reached | {Status.SUBMITTED} == set(Status)
    assert all(TRANSITIONS.values())


@pytest.mark.parametrize("status", Status)
def test_everything_can_come_to_a_good_end(status: Status) -> None:
    seen = {status}
    while more := {new for old in seen for new in TRANSITIONS[old]} - seen:
        seen |= more
    assert Status.DONE in seen


def test_a_forbidden_change_is_an_error() -> None:
    check(Status.CONVERTING, Status.DONE)
    check(Status.DONE, Status.DONE)
    with pytest.raises(IllegalTransition, match="that is done cannot become converting"):
        check(Status.DONE, Status.CONVERTING)


@given(st.text() | st.none() | st.integers() | st.sampled_from([*Status, *ALIASES]))
def test_any_string_is_read(text: object) -> None:
    assert read_status(text) in Status
    assert text not in set(Status) or read_status(text) == text


def test_other_spellings() -> None:
    assert read_status(" Conversion Error") is Status.CONVERSION_FAILED
    assert read_status("never heard of") is Status.SUBMITTED


def test_the_table_names_everything() -> None:
    text = table()
    assert all(f"`{word}`" in text for word in [*Status, *ALIASES])
