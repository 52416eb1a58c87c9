"""A job as clients see it: a view of a dataset and one of its uploads, computed, never stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from scray.dataset import Dataset
from scray.status import ALIASES, Status, job_status, read_status
from scray.uploads import CANCELLED, FAILED, PLACING, RECEIVING

MEGABYTE = 1_000_000
ALMOST_DONE = 99.9  # until the end is certain
SYNTHETIC_PREFIXES = ("upload_", "job_", "cloud_large_")  # with a dataset's uuid: the job of a whole dataset
MESSAGES: Mapping[str, str] = {
    "queued": "Waiting",
    "uploading": "Receiving the file",
    "processing": "Converting",
    "completed": "Completed",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
DATASET_STATUSES: Mapping[str, tuple[str, ...]] = {
    job: tuple(str(text) for text in (*Status, *ALIASES) if job_status(read_status(text)) == job) for job in MESSAGES
}


def job_view(dataset: Dataset, upload: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The job of one upload, or without one, of the whole dataset.

    The upload counts until its bytes are in place, and when it failed; after that the dataset does. Sizes in
    bytes, `speed_mbps` in 10^6 bytes per second, times ISO 8601 in UTC.
    """
    status = _status(dataset, upload)
    done, total = _bytes(dataset, upload)
    speed = _speed(dataset, upload, status)
    return {
        "job_id": upload["_id"] if upload else dataset.job_id or f"upload_{dataset.uuid}",
        "dataset_uuid": dataset.uuid,
        "dataset_name": dataset.name,
        "dataset_status": dataset.status.value,
        "status": status,
        "progress_percentage": _percent(dataset, status, done, total),
        "bytes_uploaded": done,
        "bytes_total": total,
        "speed_mbps": round(speed / MEGABYTE, 3),
        "eta_seconds": _eta(dataset, status, total - done, speed),
        "current_file": _current_file(dataset, upload, status),
        "message": _message(dataset, status),
        "error": _error(dataset, upload, status),
        "error_code": _error_code(dataset, upload, status),
        "created_at": moment(upload["started_at"] if upload else dataset.created_at),
        "updated_at": moment(_latest(dataset, upload)),
    }


def moment(value: datetime | None) -> str:
    """A time as ISO 8601 in UTC; the epoch stands for an unknown one."""
    value = value or datetime(1970, 1, 1, tzinfo=UTC)
    return (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)).isoformat()


def _status(dataset: Dataset, upload: Mapping[str, Any] | None) -> str:
    state = upload["state"] if upload else ""
    if state in {RECEIVING, PLACING}:
        return "cancelled" if dataset.status == Status.CANCELLED else "uploading"
    return {FAILED: "failed", CANCELLED: "cancelled"}.get(state) or job_status(dataset.status)


def _bytes(dataset: Dataset, upload: Mapping[str, Any] | None) -> tuple[int, int]:
    if upload is None and dataset.status == Status.SYNCING:
        return dataset.progress.done_bytes, max(dataset.progress.done_bytes, dataset.progress.total_bytes)
    if upload is None:
        return dataset.total_size_bytes, dataset.total_size_bytes
    done = int(upload["received_bytes"])
    known = upload.get("size_bytes")
    return done, max(done, int((upload.get("expected_bytes") or 0) if known is None else known))


def _percent(dataset: Dataset, status: str, done: int, total: int) -> float:
    if status == "completed":
        return 100.0
    if status == "processing":
        return round(min(dataset.progress.percent, ALMOST_DONE), 2)
    return round(min(100.0 * done / total, ALMOST_DONE), 2) if total else 0.0


def _speed(dataset: Dataset, upload: Mapping[str, Any] | None, status: str) -> float:
    if status == "processing" or dataset.status == Status.SYNCING:
        return dataset.progress.speed_bytes_per_second
    receiving = upload is not None and status == "uploading"
    return float(upload.get("speed_bytes_per_second", 0.0)) if upload and receiving else 0.0


def _eta(dataset: Dataset, status: str, left_bytes: int, speed: float) -> float | None:
    if status == "processing" or dataset.status == Status.SYNCING:
        return dataset.progress.eta_seconds
    return round(left_bytes / speed, 1) if status == "uploading" and speed > 0 else None


def _current_file(dataset: Dataset, upload: Mapping[str, Any] | None, status: str) -> str:
    if status == "processing" or upload is None:
        return dataset.progress.current_file
    return str(upload["path"])


def _message(dataset: Dataset, status: str) -> str:
    if dataset.status == Status.SYNCING and status == "uploading":
        return f"Importing: {dataset.progress.stage}" if dataset.progress.stage else "Importing"
    if status != "processing":
        return MESSAGES[status]
    if dataset.status == Status.CONVERSION_QUEUED:
        return "Waiting for a worker"
    return f"{MESSAGES[status]}: {dataset.progress.stage}" if dataset.progress.stage else MESSAGES[status]


def _error(dataset: Dataset, upload: Mapping[str, Any] | None, status: str) -> str | None:
    own = upload.get("error_message") if upload else None
    return (own or dataset.error_message or None) if status == "failed" else None


def _error_code(dataset: Dataset, upload: Mapping[str, Any] | None, status: str) -> str | None:
    own = upload.get("error_code") if upload else None
    return (own or dataset.error_code or None) if status == "failed" else None


def _latest(dataset: Dataset, upload: Mapping[str, Any] | None) -> datetime | None:
    times = [dataset.updated_at, upload["updated_at"] if upload else None]
    known = [time if time.tzinfo else time.replace(tzinfo=UTC) for time in times if time]
    return max(known, default=None)
