"""Imports: data that the service fetches itself, from an address, a bucket, a drive or a folder of its own."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from api.backend import Backend
from api.enrolment import existing, settings_of
from api.fields import Text, UploadFields, read_uuid
from api.state import BackendOf
from scray.errors import BadRequest, Conflict, Forbidden, NotFound, SourceDenied, SourceNotFound
from scray.sources.config import CONFIGS, Config, PathConfig, UrlConfig, read_config
from scray.sources.path import allowed_path
from scray.status import Status

SECONDS = {"url": 180, "google_drive": 600}
USUAL_SECONDS = 300
LARGE = frozenset({"google_drive", "s3"})
FORM_FIELDS = 64

router = APIRouter(tags=["imports"])


class ImportFields(UploadFields):
    """`source_config` depends on `source_type`; the documentation of imports lists its keys."""

    source_type: Annotated[str, Field(max_length=32)]
    source_config: dict[str, Any]


class PathFields(UploadFields):
    """A file of the server, below one of the folders the operator has opened for imports."""

    file_path: Annotated[str, Field(min_length=1, max_length=4096)]
    original_filename: Annotated[Text, Field(max_length=255)] = ""


class Initiated(BaseModel):
    """The dataset exists and waits for its data. `estimated_duration` in seconds."""

    job_id: str
    status: str = "queued"
    message: str
    estimated_duration: int
    upload_type: str
    dataset_uuid: str


def form_schema() -> dict[str, Any]:
    """The form of `upload-path` for the OpenAPI document."""
    content = {"schema": PathFields.model_json_schema()}
    form = {"multipart/form-data": content, "application/x-www-form-urlencoded": content}
    return {"requestBody": {"required": True, "content": form}}


@router.post("/api/upload/initiate")
def initiate(fields: ImportFields, backend: BackendOf) -> Initiated:
    """Fetch data from an address (`url`), a bucket (`s3`), Google Drive (`google_drive`) or the server (`path`)."""
    if fields.source_type not in CONFIGS:
        raise BadRequest(f"Unsupported source type: {fields.source_type}. It is one of {', '.join(CONFIGS)}.")
    found = enrol(backend, fields, fields.source_type, _config(fields), "upload")
    return _initiated(found, fields.source_type, "standard")


@router.post("/api/upload/cloud/large")
def initiate_large(fields: ImportFields, backend: BackendOf) -> dict[str, str]:
    """The same for large files of a bucket or drive; every answer is text."""
    if fields.source_type not in LARGE & CONFIGS.keys():
        raise BadRequest(f"Unsupported source type for large files: {fields.source_type}.")
    found = enrol(backend, fields, fields.source_type, _config(fields), "cloud_large")
    return {
        "job_id": found["job_id"],
        "status": "queued",
        "message": f"Large cloud upload initiated for {fields.dataset_name}",
        "estimated_duration": "depends on the size of the data and the speed of the source",
        "dataset_uuid": found["uuid"],
    }


@router.post("/api/upload/upload-path", openapi_extra=form_schema())
async def upload_path(request: Request, backend: BackendOf) -> Initiated:
    """Take a file that is on the server already: by a hard link where that is possible, else by a verified copy."""
    async with request.form(max_files=0, max_fields=FORM_FIELDS) as form:
        fields = PathFields.read({name: value for name, value in form.items() if isinstance(value, str)})
    found = await run_in_threadpool(_enrol_path, backend, fields)
    return _initiated(found, "path", "path")


def _enrol_path(backend: Backend, fields: PathFields) -> dict[str, Any]:
    path = _allowed(backend, fields.file_path)
    if not path.is_file():
        raise BadRequest(f"Path is not a file: {fields.file_path}")
    place = str(fields.path(fields.original_filename or path.name))
    return enrol(backend, fields, "path", PathConfig(path=str(path), name=place), "upload")


def _allowed(backend: Backend, path: str) -> Any:
    try:
        return allowed_path(path, backend.settings)
    except SourceNotFound as error:
        raise BadRequest(error.message) from error
    except SourceDenied as error:
        raise Forbidden(error.message) from error


def enrol(backend: Backend, fields: UploadFields, kind: str, config: Config, prefix: str) -> dict[str, Any]:
    """The dataset of an import, stored before anything is answered; what the request said of its source is sealed.

    Raises Conflict where the dataset exists, or, for files that are to be added to it, is in work.
    """
    if isinstance(config, PathConfig):
        _allowed(backend, config.path)
    if fields.add_to_existing:
        return _add(backend, fields, kind, config)
    target = _target(fields)
    link = config.url if isinstance(config, UrlConfig) and config.link_only else None
    settings = settings_of(fields) | ({"convert": False, "data_conversion_needed": False} if link else {})
    document = backend.catalog.new_dataset(
        {
            "uuid": target,
            "name": fields.dataset_name,
            "user_email": fields.user_email,
            "sensor": fields.sensor,
            **_source(backend, kind, config),
            "link_only": link is not None,
            "url": link or "",
            "destination_path": str(backend.storage.upload_dir(target)),
            "job_id": f"{prefix}_{target}",
            "status": Status.SYNC_QUEUED,
            **settings,
        }
    )
    backend.queue.add(document)
    return document


def _add(backend: Backend, fields: UploadFields, kind: str, config: Config) -> dict[str, Any]:
    """More files for a dataset that is there. Raises NotFound, Conflict."""
    if isinstance(config, UrlConfig) and config.link_only:
        raise Conflict("A link makes a dataset of its own; send link_only=false to fetch the file.")
    found = existing(backend, fields)
    assert found is not None
    settle = backend.settings.settle_seconds if fields.joins else 0.0
    source = _source(backend, kind, config)
    backend.queue.import_added(found.uuid, settle, {**source, "link_only": False, "imported": False})
    return {"uuid": found.uuid, "name": found.name, "job_id": f"upload_{found.uuid}"}


def _source(backend: Backend, kind: str, config: Config) -> dict[str, Any]:
    sealed = backend.sealer.seal(config.to_seal())
    return {"source_type": kind, "source_path": config.shown, "source_sealed": sealed}


def _target(fields: UploadFields) -> str:
    identifier = fields.dataset_identifier
    if identifier is None:
        return str(uuid.uuid4())
    target = read_uuid(identifier)
    if target is None:
        raise NotFound(f"Dataset not found: {identifier}")
    return target


def _config(fields: ImportFields) -> Config:
    try:
        return read_config(fields.source_type, fields.source_config)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        where = ("body", "source_config")
        raise RequestValidationError([{**one, "loc": (*where, *one["loc"])} for one in found]) from error


def _initiated(document: Mapping[str, Any], kind: str, upload_type: str) -> Initiated:
    return Initiated(
        job_id=document["job_id"],
        message=f"Import from {kind} initiated for '{document['name']}'",
        estimated_duration=SECONDS.get(kind, USUAL_SECONDS),
        upload_type=upload_type,
        dataset_uuid=document["uuid"],
    )
