"""Sending a file: one form, streamed to disk while it is hashed."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.about import SECONDS_PER_MEGABYTE
from api.arrival import Arrival
from api.body import Body
from api.fields import NAMES, UploadFields
from api.forms import FILE_FIELD, Form
from api.once import earlier, read_key
from api.room import FORM_BYTES, check_room
from api.state import BackendOf
from scray.spans import CHUNK_BYTES

MEGABYTE = 1 << 20
QUOTES = "aiohttp/"  # its forms quote file names, as no other client does

router = APIRouter(tags=["uploads"])


class Accepted(BaseModel):
    """The file is stored and its dataset on the way. `estimated_duration` in seconds."""

    job_id: str
    status: str = "queued"
    message: str
    estimated_duration: int
    upload_type: str
    dataset_uuid: str
    path: str
    size_bytes: int


def form_schema() -> dict[str, Any]:
    """The form for the OpenAPI document; the body itself is read by `Form`, piece by piece."""
    schema = UploadFields.model_json_schema()
    file = {"type": "string", "format": "binary", "description": "The file."}
    properties = {FILE_FIELD: file, **schema["properties"]}
    form = {"type": "object", "properties": properties, "required": [FILE_FIELD, *schema["required"]]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


@router.post("/api/upload/upload", openapi_extra=form_schema())
@router.post("/api/upload/local/upload", openapi_extra=form_schema())
async def upload(request: Request, response: Response, backend: BackendOf) -> Accepted:
    """Send one file. Fields may come before or after the file part."""
    body = Body(request)
    key = read_key(request)
    if body.length is not None:
        await run_in_threadpool(check_room, body.length, backend, FORM_BYTES)
    arrival = Arrival(backend, body.length)
    if (found := await run_in_threadpool(earlier, backend, key, arrival.job_id)) is not None:
        if body.is_long():
            response.headers["Connection"] = "close"
        return _accepted(found["_id"], found["dataset_uuid"], found["path"], found["size_bytes"])
    try:
        quoted = QUOTES in request.headers.get("user-agent", "")
        form = Form(request.headers.get("content-type", ""), NAMES, arrival, quoted=quoted)
        arrival.fields = form.fields
        await body.pour(form.feed)
        form.finish()
        enrolment = await run_in_threadpool(arrival.finish)
    except BaseException as error:
        await asyncio.shield(run_in_threadpool(arrival.abandon, error))
        raise
    return _accepted(enrolment.job_id, enrolment.uuid, enrolment.path, arrival.size)


def _accepted(job_id: str, uuid: str, path: str, size: int) -> Accepted:
    standard = size <= CHUNK_BYTES
    least = 60 if standard else 300
    return Accepted(
        job_id=job_id,
        message=f"Upload of '{path}' accepted",
        estimated_duration=max(least, SECONDS_PER_MEGABYTE * size // MEGABYTE),
        upload_type="standard" if standard else "chunked",
        dataset_uuid=uuid,
        path=path,
        size_bytes=size,
    )
