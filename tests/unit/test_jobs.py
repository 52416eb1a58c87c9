"""What a client sees of a job, in every state of dataset and upload."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray.dataset import Dataset
from scray.jobs import DATASET_STATUSES, job_view, moment
from scray.status import ALIASES, Status, job_status
from scray.uploads import CANCELLED, FAILED, PLACING, RECEIVING, STORED

THEN = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)


def dataset(status: str, **values: Any) -> Dataset:
    return Dataset.read({"uuid": "u", "name": "n", "status": status, "created_at": THEN, **values})


def upload(state: str, **values: Any) -> dict[str, Any]:
    basic = {"_id": "j", "state": state, "path": "a/x", "received_bytes": 5, "expected_bytes": 20}
    return {**basic, "started_at": THEN, "updated_at": THEN, **values}


@pytest.mark.parametrize("status", list(Status))
def test_a_stored_upload_shows_what_its_dataset_does(status: Status) -> None:
    for record in (None, upload(STORED)):
        assert job_view(dataset(status), record)["status"] == job_status(status)


@pytest.mark.parametrize(
    ("state", "status", "shown"),
    [
        (RECEIVING, Status.UPLOADING, "uploading"),
        (PLACING, Status.CONVERTING, "uploading"),
        (RECEIVING, Status.CANCELLED, "cancelled"),
        (FAILED, Status.DONE, "failed"),
        (CANCELLED, Status.UPLOADING, "cancelled"),
        (STORED, Status.DONE, "completed"),
    ],
)
def test_an_upload_that_is_under_way_or_failed_counts_itself(state: str, status: Status, shown: str) -> None:
    assert job_view(dataset(status), upload(state))["status"] == shown


@given(
    status=st.sampled_from([*Status, *ALIASES]),
    state=st.none() | st.sampled_from([RECEIVING, PLACING, STORED, FAILED, CANCELLED]),
    received=st.integers(0, 1 << 50),
    expected=st.none() | st.integers(0, 1 << 50),
    percent=st.floats(0, 100),
)
def test_a_view_keeps_its_ranges(
    status: str, state: str | None, received: int, expected: int | None, percent: float
) -> None:
    record = upload(state, received_bytes=received, expected_bytes=expected) if state else None
    view = job_view(dataset(status, progress={"percent": percent}), record)
    assert 0 <= view["progress_percentage"] <= 100
    assert (view["progress_percentage"] == 100) == (view["status"] == "completed")
    assert 0 <= view["bytes_uploaded"] <= view["bytes_total"]
    assert view["status"] in DATASET_STATUSES
    assert view["eta_seconds"] is None or view["eta_seconds"] >= 0
    assert (view["error"] is None) or view["status"] == "failed"


def test_speed_and_time_left_of_an_upload() -> None:
    view = job_view(dataset("uploading"), upload(RECEIVING, speed_bytes_per_second=2.5))
    assert (view["progress_percentage"], view["eta_seconds"], view["current_file"]) == (25, 6, "a/x")
    assert view["speed_mbps"] == pytest.approx(0, abs=1e-4)
    assert view["message"] == "Receiving the file"


def test_errors_of_the_upload_come_before_those_of_the_dataset() -> None:
    failed = dataset("conversion failed", error_code="bad-input", error_message="No TIFF.")
    assert job_view(failed)["error"] == "No TIFF."
    own = upload(FAILED, error_code="upload-broken", error_message="Broke off.")
    view = job_view(failed, own)
    assert (view["error_code"], view["error"]) == ("upload-broken", "Broke off.")


def test_every_status_string_is_listed_once() -> None:
    listed = [text for texts in DATASET_STATUSES.values() for text in texts]
    assert sorted(listed) == sorted([*(str(status) for status in Status), *ALIASES])


def test_times_are_iso_in_utc() -> None:
    assert moment(THEN) == moment(THEN.replace(tzinfo=None)) == "2024-05-06T07:08:00+00:00"
    assert moment(None).startswith("1970-01-01")
    later = upload(STORED, updated_at=datetime(2025, 1, 1))
    assert job_view(dataset("done", updated_at=THEN), later)["updated_at"].startswith("2025")


def test_an_import_shows_how_far_it_is() -> None:
    progress = {"stage": "fetching", "done_bytes": 25, "total_bytes": 100, "speed_bytes_per_second": 5e6,
                "eta_seconds": 15.0, "current_file": "a/x.tif"}  # fmt: skip
    shown = job_view(dataset(Status.SYNCING, progress=progress))
    assert (shown["status"], shown["message"]) == ("uploading", "Importing: fetching")
    assert (shown["bytes_uploaded"], shown["bytes_total"], shown["progress_percentage"]) == (25, 100, 25.0)
    assert (shown["speed_mbps"], shown["eta_seconds"], shown["current_file"]) == (5.0, 15.0, "a/x.tif")
    assert job_view(dataset(Status.SYNC_QUEUED))["status"] == "queued"
