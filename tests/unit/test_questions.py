"""The eight questions have answers in every situation, and each names what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray.dataset import Dataset
from scray.questions import Answer, Known, Place, answers, span
from scray.status import QUEUED, Status

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PLACES = (Place("/data/upload", True, 1 << 40), Place("/data/converted", True, 1 << 40))
DRIVER: dict[str, Any] = {"name": "driver@a", "alive": True, "age_seconds": 1.0, "datasets": ["u"]}
WELL = Known("", PLACES, (DRIVER,), dict.fromkeys(Status, 0), {}, result="/data/converted/u", now=NOW)
QUESTIONS = [
    "Is the service running?",
    "How many are queued?",
    "Why is mine not converting?",
    "Did it fail, and why?",
    "How do I retry?",
    "Where are the outputs?",
    "Are paths and permissions right?",
    "Is the database reachable?",
]


def dataset(status: Status, **more: Any) -> Dataset:
    return Dataset.read({"uuid": "u", "status": str(status), **more})


def ask(known: Known, number: int) -> Answer:
    return answers(known)[number - 1]


@given(st.sampled_from(Status), st.booleans(), st.booleans(), st.sampled_from(["", "It does not answer."]))
def test_there_are_always_eight_answers(status: Status, alive: bool, resting: bool, database: str) -> None:
    driver = {**DRIVER, "alive": alive, "resting": resting}
    for found in (None, dataset(status)):
        told = answers(replace(WELL, dataset=found, drivers=[driver], database=database))
        assert [one.question for one in told] == QUESTIONS
        assert all(one.says and (one.todo or one.state != "fail") for one in told)


def test_all_is_well() -> None:
    assert {one.state for one in answers(WELL)} == {"ok"}


@pytest.mark.parametrize(
    ("drivers", "state", "word"),
    [
        ([], "fail", "none has ever answered"),
        ([{**DRIVER, "alive": False, "age_seconds": 7200}], "fail", "2 h old"),
        ([{**DRIVER, "resting": True}], "warn", "Drained"),
        ([{**DRIVER, "left_out": ["node-3 sees no storage."]}], "warn", "left out. node-3 sees no storage."),
        ([{**DRIVER, "resting": True}, {**DRIVER, "name": "driver-2"}], "ok", "driver-2"),
    ],
)
def test_1_the_service(drivers: list[dict[str, Any]], state: str, word: str) -> None:
    told = ask(replace(WELL, drivers=drivers), 1)
    assert told.state == state
    assert word in told.says
    assert bool(told.todo) == (state != "ok")


def test_2_the_queue() -> None:
    counts = {Status.CONVERSION_QUEUED: 3, Status.CONVERTING: 2}
    oldest = dict.fromkeys(QUEUED, NOW - timedelta(minutes=5))
    assert ask(replace(WELL, counts=counts, oldest=oldest), 2).says == (
        "3 conversion queued (the oldest for 5 min); 2 in work."
    )


@pytest.mark.parametrize(
    ("found", "more", "state", "word"),
    [
        (dataset(Status.CONVERSION_QUEUED), {"before": 4}, "ok", "4 came before it"),
        (dataset(Status.CONVERSION_QUEUED), {"drivers": []}, "fail", "No driver"),
        (dataset(Status.CONVERSION_QUEUED), {"drivers": [{**DRIVER, "resting": True}]}, "warn", "drained"),
        (
            dataset(Status.CONVERSION_QUEUED, not_before=NOW + timedelta(seconds=40), error_message="A node went."),
            {}, "ok", "another 40 s after an error: A node went.",
        ),
        (dataset(Status.CONVERTING, progress={"stage": "sealing", "percent": 99.0}), {}, "ok", "sealing, 99 %"),
        (dataset(Status.UPLOADING, open_uploads=["a", "b"]), {}, "ok", "2 of its files still come"),
        (dataset(Status.DONE), {}, "ok", "'done'"),
    ],
)  # fmt: skip
def test_3_why_not_mine(found: Dataset, more: dict[str, Any], state: str, word: str) -> None:
    told = ask(replace(WELL, dataset=found, **more), 3)
    assert (told.state, word in told.says) == (state, True), told


def test_4_to_6_failures_retries_and_outputs() -> None:
    bad = dataset(Status.CONVERSION_FAILED, error_code="bad-input", error_message="It is no TIFF.")
    assert ask(replace(WELL, dataset=bad), 4).says == "It is no TIFF. [bad-input]"
    assert "u: It is no TIFF." in ask(replace(WELL, failed=[bad], counts={Status.CONVERSION_FAILED: 9}), 4).says
    assert "scray retry u" in ask(replace(WELL, dataset=bad), 5).says
    assert "Not needed" in ask(replace(WELL, dataset=dataset(Status.CONVERTING)), 5).says
    whole = replace(WELL, dataset=dataset(Status.DONE), outputs=["visus.idx"])
    assert "/data/converted/u/visus.idx" in ask(whole, 6).says
    assert ask(replace(whole, outputs=[]), 6).state == "fail"
    assert ask(replace(whole, dataset=dataset(Status.CONVERTING), outputs=[]), 6).state == "ok"


def test_7_and_8_paths_and_the_database() -> None:
    closed = Place("/data/sync", False, None)
    told = ask(replace(WELL, places=[*PLACES, closed]), 7)
    assert (told.state, "/data/sync" in told.says, "/data/upload" in told.says) == ("fail", True, False)
    assert ask(replace(WELL, places=[Place("/data", True, 5 << 20)]), 7).state == "warn"
    away = replace(WELL, database="The database could not be reached.")
    assert (ask(away, 8).state, ask(away, 1).state, ask(away, 7).state) == ("fail", "fail", "ok")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (120, "2 min"), (7200, "2 h"), (1e6, "12 days")]
)
def test_spans_are_readable(seconds: float, text: str) -> None:
    assert span(seconds) == text
