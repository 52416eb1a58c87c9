"""Jobs: how an upload and its dataset are getting on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.backend import Backend
from api.state import BackendOf
from scray.catalog import owned_by
from scray.dataset import Dataset
from scray.errors import BadRequest, InvalidField, NotFound
from scray.jobs import DATASET_STATUSES, SYNTHETIC_PREFIXES, job_view

router = APIRouter(tags=["jobs"])
JOB_NOT_FOUND = "Job not found"
UNSEEN_STATUSES = frozenset({"initializing", "verifying", "paused"})  # of the vocabulary, but no job has them


class Job(BaseModel):
    """Sizes in bytes, `speed_mbps` in 10^6 bytes per second, times ISO 8601 in UTC."""

    job_id: str
    dataset_uuid: str
    dataset_name: str
    dataset_status: str
    status: str
    progress_percentage: float
    bytes_uploaded: int
    bytes_total: int
    speed_mbps: float
    eta_seconds: float | None
    current_file: str
    message: str
    error: str | None
    error_code: str | None
    created_at: str
    updated_at: str


class JobPage(BaseModel):
    """`total` counts all jobs that fit, not only this page."""

    jobs: list[Job]
    total: int
    limit: int
    offset: int


class Message(BaseModel):
    message: str


@router.get("/api/upload/status/{job_id}")
def job_status(job_id: str, backend: BackendOf) -> Job:
    """One job: queued, uploading, processing, then completed, failed or cancelled; under the id that was asked for."""
    return Job(**(find_job(backend, job_id) | {"job_id": job_id}))


@router.post("/api/upload/cancel/{job_id}")
def cancel_job(job_id: str, backend: BackendOf) -> Message:
    """Cancel the dataset of this job, with everything that still runs for it."""
    try:
        job = find_job(backend, job_id)
    except NotFound as error:
        raise NotFound("Job not found or already completed") from error
    if not backend.queue.request_cancel(job["dataset_uuid"]):
        raise NotFound("Job not found or already completed")
    backend.uploads.cancel(job["dataset_uuid"])
    return Message(message=f"Job {job_id} cancelled successfully")


@router.get("/api/upload/jobs")
def list_jobs(
    backend: BackendOf,
    user_id: str | None = None,
    status: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, lt=1 << 31)] = 0,
) -> JobPage:
    """The jobs of a user (an e-mail address), finished ones too: one a dataset, the last touched first."""
    if not user_id:
        raise BadRequest("user_id parameter is required")
    condition = {**owned_by(user_id), **_with_status(status)}
    documents, total = backend.catalog.datasets(condition, limit=limit, offset=offset)
    found = [Dataset.read(document) for document in documents]
    backend.sessions.tell_counts()
    arriving = backend.uploads.arriving([dataset.job_id for dataset in found])
    jobs = [Job(**job_view(dataset, arriving.get(dataset.job_id))) for dataset in found]
    return JobPage(jobs=jobs, total=total, limit=limit, offset=offset)


def find_job(backend: Backend, job_id: str) -> dict[str, Any]:
    """The view of a job, by the id of an upload, or `upload_<uuid>` or `job_<uuid>`. Raises NotFound."""
    backend.sessions.tell_counts()
    upload = backend.uploads.find(job_id)
    uuid = upload["dataset_uuid"] if upload else _uuid_in(job_id)
    document = backend.catalog.get(uuid)
    if document is None:
        raise NotFound(JOB_NOT_FOUND)
    return job_view(Dataset.read(document), upload)


def _uuid_in(job_id: str) -> str:
    for prefix in SYNTHETIC_PREFIXES:
        if job_id.startswith(prefix):
            return job_id.removeprefix(prefix)
    raise NotFound(JOB_NOT_FOUND)


def _with_status(status: str | None) -> dict[str, Any]:
    if status is None:
        return {}
    if status not in {*DATASET_STATUSES, *UNSEEN_STATUSES}:
        raise InvalidField(f"There is no job status {status[:40]!r}; it is one of {', '.join(DATASET_STATUSES)}.")
    return {"status": {"$in": list(DATASET_STATUSES.get(status, ()))}}
