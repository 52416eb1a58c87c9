"""Datasets: listing them, looking at one, asking for a conversion."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from api.backend import Backend
from api.fields import Parameters
from api.state import BackendOf
from scray.catalog import owned_by
from scray.dataset import Dataset
from scray.errors import Conflict
from scray.jobs import moment
from scray.status import Status

router = APIRouter(prefix="/api/v1/datasets", tags=["datasets"])

# What a client may see of the document. Credentials, leases and fields of other programs are not in it.
SHOWN = (
    "uuid", "name", "slug", "id", "user", "user_id", "user_email", "sensor", "convert", "is_public",
    "is_public_downloadable", "folder_uuid", "team_uuid", "tags", "description", "dimensions",
    "preferred_dashboard", "source_type", "source_path", "files", "file_count", "total_size_bytes",
    "bytes_uploaded", "data_size", "job_id", "status", "status_message", "error_code", "error_message",
    "data_conversion_needed", "conversion_parameters", "conversion", "priority", "attempt", "progress", "metadata",
    "url", "link_only", "import_notes", "publication",
    "created_at", "updated_at", "queued_at", "completed_at",
)  # fmt: skip
SHOWN_IN_LISTS = tuple(field for field in SHOWN if field not in {"files", "metadata"})


class DatasetPage(BaseModel):
    """`count` datasets are on this page, `total` in all."""

    success: bool = True
    datasets: list[dict[str, Any]]
    count: int
    total: int
    limit: int
    offset: int


class DatasetAnswer(BaseModel):
    success: bool = True
    identifier: str
    resolved_uuid: str
    dataset: dict[str, Any]


class DatasetStatus(BaseModel):
    """`progress` is 0 to 100; `job_id` is that of the first upload."""

    success: bool = True
    dataset_uuid: str
    status: str
    progress: float
    message: str
    stage: str
    current_file: str
    speed_bytes_per_second: float
    eta_seconds: float | None
    attempt: int
    error_code: str | None
    error_message: str | None
    job_id: str
    created_at: str
    updated_at: str


class Again(BaseModel):
    """How to convert this time; without parameters, as before."""

    model_config = ConfigDict(extra="forbid")

    conversion_parameters: Parameters | None = None


class Queued(BaseModel):
    success: bool = True
    status: str
    dataset_uuid: str


@router.get("")
def list_datasets(
    backend: BackendOf,
    user_email: str | None = None,
    name: str | None = None,
    slug: str | None = None,
    id: Annotated[int | None, Query(ge=0, lt=1 << 63)] = None,
    team_uuid: str | None = None,
    folder: str | None = None,
    status: str | None = None,
    public_only: bool = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, lt=1 << 31)] = 0,
) -> DatasetPage:
    """Datasets that fit all that is asked for, the last touched first."""
    asked = {"name": name, "slug": slug, "id": id, "team_uuid": team_uuid, "folder_uuid": folder, "status": status}
    condition: dict[str, Any] = {field: value for field, value in asked.items() if value is not None}
    condition |= owned_by(user_email) if user_email else {}
    condition |= {"is_public": {"$in": [True, "true", "True"]}} if public_only else {}
    found, total = backend.catalog.datasets(condition, limit=limit, offset=offset)
    shown = [show(document, SHOWN_IN_LISTS) for document in found]
    return DatasetPage(datasets=shown, count=len(shown), total=total, limit=limit, offset=offset)


@router.get("/{identifier}")
def get_dataset(identifier: str, backend: BackendOf, user_email: str | None = None) -> DatasetAnswer:
    """The dataset with this uuid, else id, else slug, else name; `user_email` prefers one's own."""
    found = backend.catalog.find(identifier, user_email)
    return DatasetAnswer(identifier=identifier, resolved_uuid=found["uuid"], dataset=show(found, SHOWN))


@router.get("/{identifier}/status")
def get_status(identifier: str, backend: BackendOf, user_email: str | None = None) -> DatasetStatus:
    """Where the dataset is on its way."""
    found = Dataset.read(backend.catalog.find(identifier, user_email))
    return status_of(found)


@router.post("/{identifier}/convert")
def convert(identifier: str, backend: BackendOf, user_email: str | None = None, again: Again | None = None) -> Queued:
    """Convert again, or for the first time: what is done, failed or cancelled goes back to the queue; an import that
    failed is gone on with, as long as its source is remembered.

    With `conversion_parameters`, these take the place of all that the dataset had.
    """
    document = backend.catalog.find(identifier, user_email)
    found = Dataset.read(document)
    if found.status is Status.SYNC_ERROR:
        return _refetch(backend, document, again)
    asked = again.model_dump(exclude_none=True) if again else {}
    queued = backend.queue.requeue(found.uuid, {"data_conversion_needed": True, **asked})
    return Queued(status=queued.status.value, dataset_uuid=queued.uuid)


def _refetch(backend: Backend, document: Mapping[str, Any], again: Again | None) -> Queued:
    if not document.get("source_sealed"):
        raise Conflict("What was said of its source is forgotten by now: import it anew.")
    if again and (asked := again.model_dump(exclude_none=True)):
        backend.catalog.amend(document["uuid"], asked)
    queued = backend.queue.refetch(document["uuid"])
    return Queued(status=queued.status.value, dataset_uuid=queued.uuid)


def status_of(dataset: Dataset) -> DatasetStatus:
    progress = dataset.progress
    done = dataset.status.value == "done"
    return DatasetStatus(
        dataset_uuid=dataset.uuid,
        status=dataset.status.value,
        progress=100.0 if done else progress.percent,
        message=dataset.error_message or progress.stage,
        stage=progress.stage,
        current_file=progress.current_file,
        speed_bytes_per_second=progress.speed_bytes_per_second,
        eta_seconds=progress.eta_seconds,
        attempt=dataset.attempt,
        error_code=dataset.error_code or None,
        error_message=dataset.error_message or None,
        job_id=dataset.job_id,
        created_at=moment(dataset.created_at),
        updated_at=moment(dataset.updated_at),
    )


def show(document: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """The part of a document that clients see, safe for JSON; absent fields stay absent."""
    return {field: _plain(document[field]) for field in fields if field in document}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if value - value == 0 else None  # JSON has no infinities
    return value if isinstance(value, str | int | bool | None) else str(value)
