"""Sending a file: one form, streamed to disk while it is hashed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.arrival import Arrival, check_size
from api.backend import Backend
from api.enrolment import Enrolment
from api.fields import NAMES, UploadFields
from api.forms import FILE_FIELD, Form
from api.state import BackendOf
from scray.errors import DiskFull, TimedOut
from scray.spans import CHUNK_BYTES
from scray.storage import free_bytes

IDLE_SECONDS = 300.0
BATCH_BYTES = 1 << 20
DRAINED_BYTES = 16 << 20  # so much of a refused body is still read, for senders that only then look up
FORM_BYTES = 65_536 * 16  # what the fields around the file may add to a body
RESERVE_BYTES = 64 << 20  # left free for the database and the logs
SECONDS_PER_MEGABYTE = 2
MEGABYTE = 1 << 20

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
async def upload(request: Request, backend: BackendOf) -> Accepted:
    """Send one file. Fields may come before or after the file part."""
    body = _Body(request)
    request.state.hang_up = body.is_long
    if body.length is not None:
        check_room(body.length, backend)
    arrival = Arrival(backend, body.length)
    try:
        form = Form(request.headers.get("content-type", ""), NAMES, arrival)
        arrival.fields = form.fields
        async for batch in body.batches():
            await run_in_threadpool(form.feed, batch)
        form.finish()
        enrolment = await run_in_threadpool(arrival.finish)
    except BaseException as error:
        await asyncio.shield(run_in_threadpool(arrival.abandon, error))
        raise
    return _accepted(enrolment, arrival.size)


def check_room(length: int, backend: Backend) -> None:
    """Refuse before the first byte what is too large (BodyTooLarge) or does not fit on the disk (DiskFull)."""
    check_size(length - FORM_BYTES, backend)
    free = free_bytes(backend.storage.upload)
    if length + RESERVE_BYTES > free:
        raise DiskFull(f"The disk cannot hold this upload: {length} bytes are sent, {free} bytes are free.")


class _Body:
    """The body of a request, as it comes."""

    def __init__(self, request: Request) -> None:
        self.length = _content_length(request)
        self._pieces = request.stream()
        self._received = 0

    def is_long(self) -> bool:
        """Whether more is still to come than is worth reading when it is refused anyhow."""
        return self.length is None or self.length - self._received > DRAINED_BYTES

    async def batches(self) -> AsyncIterator[bytes]:
        """Pieces of about a mebibyte. Raises TimedOut when the sender falls silent."""
        held: list[bytes] = []
        size = 0
        while piece := await self._next():
            held.append(piece)
            size += len(piece)
            if size >= BATCH_BYTES:
                yield b"".join(held)
                held, size = [], 0
        yield b"".join(held)

    async def _next(self) -> bytes:
        """The next piece, empty at the end."""
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                async for piece in self._pieces:
                    self._received += len(piece)
                    if piece:
                        return piece
                return b""
        except TimeoutError as error:
            raise TimedOut(f"Nothing came for {IDLE_SECONDS:.0f} seconds; the upload was given up.") from error


def _content_length(request: Request) -> int | None:
    """What the server has already made sure is a number."""
    text = request.headers.get("content-length")
    return None if text is None else int(text)


def _accepted(enrolment: Enrolment, size: int) -> Accepted:
    standard = size <= CHUNK_BYTES
    least = 60 if standard else 300
    return Accepted(
        job_id=enrolment.job_id,
        message=f"Upload of '{enrolment.path}' accepted",
        estimated_duration=max(least, SECONDS_PER_MEGABYTE * size // MEGABYTE),
        upload_type="standard" if standard else "chunked",
        dataset_uuid=enrolment.uuid,
        path=enrolment.path,
        size_bytes=size,
    )
