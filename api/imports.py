"""Imports: data that the service fetches itself, from an address, a bucket, a drive or a folder of its own."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from api.backend import Backend
from api.enrolment import existing, settings_of
from api.fields import Text, UploadFields, read_uuid
from api.once import read_key
from api.state import BackendOf
from scray.errors import BadRequest, Conflict, Forbidden, NotFound, SourceDenied, SourceNotFound
from scray.sources.config import CONFIGS, Config, PathConfig, UrlConfig, read_config
from scray.sources.path import allowed_path
from scray.status import Status

SECONDS = {"url": 180, "google_drive": 600}
USUAL_SECONDS = 300
LARGE = frozenset({"google_drive", "s3"})
FORM_FIELDS = 64
BY_KEY = uuid.UUID("5d2f8c1e-9b1b-4c57-8f0a-6c1c2a7e4d36")  # the namespace of datasets that a key names

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
def initiate(fields: ImportFields, request: Request, backend: BackendOf) -> Initiated:
    """Fetch data from an address (`url`), a bucket (`s3`), Google Drive (`google_drive`) or the server (`path`)."""
    if fields.source_type not in CONFIGS:
        raise BadRequest(f"Unsupported source type: {fields.source_type}. It is one of {', '.join(CONFIGS)}.")
    found = enrol(backend, fields, fields.source_type, _config(fields), "upload", read_key(request))
    return _initiated(found, fields.source_type, "standard")


@router.post("/api/upload/cloud/large")
def initiate_large(fields: ImportFields, request: Request, backend: BackendOf) -> dict[str, str]:
    """The same for large files of a bucket or drive; every answer is text."""
    if fields.source_type not in LARGE & CONFIGS.keys():
        raise BadRequest(f"Unsupported source type for large files: {fields.source_type}.")
    found = enrol(backend, fields, fields.source_type, _config(fields), "cloud_large", read_key(request))
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
    found = await run_in_threadpool(_enrol_path, backend, fields, read_key(request))
    return _initiated(found, "path", "path")


def _enrol_path(backend: Backend, fields: PathFields, key: str) -> dict[str, Any]:
    path = _allowed(backend, fields.file_path)
    if not path.is_file():
        raise BadRequest(f"Path is not a file: {fields.file_path}")
    place = str(fields.path(fields.original_filename or path.name))
    return enrol(backend, fields, "path", PathConfig(path=str(path), name=place), "upload", key)


def _allowed(backend: Backend, path: str) -> Any:
    try:
        return allowed_path(path, backend.settings)
    except SourceNotFound as error:
        raise BadRequest(error.message) from error
    except SourceDenied as error:
        raise Forbidden(error.message) from error


def enrol(
    backend: Backend, fields: UploadFields, kind: str, config: Config, prefix: str, key: str = ""
) -> dict[str, Any]:
    """The dataset of an import, stored before anything is answered; what the request said of its source is sealed.

    Under an idempotency `key` that has made, or joined, this dataset before, nothing more is done. Raises Conflict
    where the dataset exists, or, for files that are to be added to it, is in work.
    """
    if isinstance(config, PathConfig):
        _allowed(backend, config.path)
    perform = _add if fields.add_to_existing else partial(_make, prefix)
    target = _joined(backend, fields) if fields.add_to_existing else _target(fields, key)
    if found := _earlier(backend, fields, target, key):
        return found
    try:
        return perform(backend, fields, target, config, {**_source(backend, kind, config), "import_key": key})
    except Conflict:  # perhaps with the same request, sent twice at once
        if found := _earlier(backend, fields, target, key):
            return found
        raise


def _earlier(backend: Backend, fields: UploadFields, target: str, key: str) -> dict[str, Any] | None:
    """The dataset where the request of this key was carried out already."""
    row = backend.catalog.get(target) if key else None
    by_key = fields.dataset_identifier is None  # then nothing but the key says which dataset it is
    if row is None or not (by_key or row.get("import_key") == key):
        return None
    return _told(row) if fields.add_to_existing else row


def _make(
    prefix: str, backend: Backend, fields: UploadFields, target: str, config: Config, source: dict[str, Any]
) -> dict[str, Any]:
    """A dataset of its own. Raises Conflict where it exists."""
    link = config.url if isinstance(config, UrlConfig) and config.link_only else None
    settings = settings_of(fields) | ({"convert": False, "data_conversion_needed": False} if link else {})
    document = backend.catalog.new_dataset(
        {
            "uuid": target,
            "name": fields.dataset_name,
            "user_email": fields.user_email,
            "sensor": fields.sensor,
            **source,
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


def _add(backend: Backend, fields: UploadFields, target: str, config: Config, source: dict[str, Any]) -> dict[str, Any]:
    """More files for a dataset that is there. Raises NotFound, Conflict."""
    if isinstance(config, UrlConfig) and config.link_only:
        raise Conflict("A link makes a dataset of its own; send link_only=false to fetch the file.")
    settle = backend.settings.settle_seconds if fields.joins else 0.0
    found = backend.queue.import_added(target, settle, {**source, "link_only": False, "imported": False})
    return _told({"uuid": found.uuid, "name": found.name})


def _told(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a dataset that files are added to."""
    return {"uuid": document["uuid"], "name": document["name"], "job_id": f"upload_{document['uuid']}"}


def _joined(backend: Backend, fields: UploadFields) -> str:
    found = existing(backend, fields)
    assert found is not None
    return found.uuid


def _source(backend: Backend, kind: str, config: Config) -> dict[str, Any]:
    sealed = backend.sealer.seal(config.to_seal())
    return {"source_type": kind, "source_path": config.shown, "source_sealed": sealed}


def _target(fields: UploadFields, key: str) -> str:
    """One key of one user is always the same dataset: the database lets only one of that UUID be made."""
    identifier = fields.dataset_identifier
    if identifier is None:
        return str(uuid.uuid5(BY_KEY, f"{key}\0{fields.user_email}") if key else uuid.uuid4())
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
