"""Large files, sent in chunks: in any order, in parallel, over any connection; nothing that was acknowledged again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.about import DAY_SECONDS, SOURCES
from api.backend import Backend
from api.body import Body
from api.chunks import Acknowledged, ChunkArrival, find_chunk
from api.forms import Form
from api.jobs import Message
from api.multipart import Bytes
from api.once import read_key
from api.sessions import NewSession, begin, cancel, complete, read_hash
from api.state import BackendOf
from scray.database import Document
from scray.errors import InvalidField, TimedOut
from scray.sessions import chunk_span, missing
from scray.spans import CHUNK_BYTES

MEBIBYTE = 1 << 20
TEBIBYTE = 1 << 40
CHUNK_FIELD = "chunk"
BROKEN = (ClientDisconnect, TimedOut, asyncio.CancelledError)
CHUNK_NAMES = frozenset({"chunk_hash", "upload_id", "chunk_number"})

BYTES = {"requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}

router = APIRouter(tags=["large files"])


class Begun(BaseModel):
    """`verification` is what proves the file in the end: its own `sha256`, or `chunk-root`: those of its chunks."""

    upload_id: str
    chunk_size: int
    total_chunks: int
    message: str
    job_id: str
    dataset_uuid: str
    verification: str


class ChunkStored(BaseModel):
    message: str
    uploaded_chunks: int
    total_chunks: int


class SessionStatus(BaseModel):
    upload_id: str
    uploaded_chunks: list[int]
    total_chunks: int
    is_complete: bool
    progress_percentage: float
    job_id: str
    dataset_uuid: str


class Resume(BaseModel):
    """`state` is receiving, placing, stored; or failed or cancelled, when nothing more can be sent."""

    state: str
    upload_id: str
    missing_chunks: list[int]
    total_chunks: int
    can_resume: bool
    chunk_size: int
    file_size: int


class ChunkHere(BaseModel):
    """Whether a chunk was acknowledged; and if not, behind which of its bytes a `PUT` may go on (`offset`)."""

    received: bool
    received_bytes: int


class Completed(BaseModel):
    """The file has its place; its chunks are compared with what is on the disk before it is converted."""

    message: str
    file_path: str
    file_size: int
    job_submitted: bool = True
    job_id: str
    dataset_uuid: str
    verification: str


class LargeLimits(BaseModel):
    """Sizes in bytes, and the same in binary mega- and terabytes."""

    max_file_size_bytes: int
    max_file_size_tb: float
    chunk_size_bytes: int
    chunk_size_mb: int
    resumable_upload_timeout_days: float
    supported_source_types: list[str]
    recommended_for_files_larger_than_mb: int


class Ending(BaseModel):
    """What may be said of a file only at its end: its SHA-256 in hex, if it was not known at the beginning; and another
    name, if the dataset has a file of its own under the first one.
    """

    file_hash: Annotated[str, AfterValidator(read_hash)] | None = None
    filename: Annotated[str, Field(min_length=1, max_length=1024)] | None = None


class EndingOf(Ending):
    upload_id: str


def chunk_schema(*required: str) -> dict[str, Any]:
    """The form of a chunk for the OpenAPI document; the body itself is read piece by piece."""
    properties: dict[str, Any] = {name: {"type": "string"} for name in required}
    properties[CHUNK_FIELD] = {"type": "string", "format": "binary", "description": "The bytes."}
    form = {"type": "object", "properties": properties, "required": [*required, CHUNK_FIELD]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


@router.get("/api/upload/large/limits")
def large_limits(backend: BackendOf) -> LargeLimits:
    """How much may be sent in chunks."""
    most = backend.settings.max_bytes
    return LargeLimits(
        max_file_size_bytes=most,
        max_file_size_tb=most / TEBIBYTE,
        chunk_size_bytes=CHUNK_BYTES,
        chunk_size_mb=CHUNK_BYTES // MEBIBYTE,
        resumable_upload_timeout_days=backend.settings.session_seconds / DAY_SECONDS,
        supported_source_types=list(SOURCES),
        recommended_for_files_larger_than_mb=CHUNK_BYTES // MEBIBYTE,
    )


@router.get("/health/large-files")
def large_health(backend: BackendOf) -> dict[str, Any]:
    """How many files are being sent in chunks, and how much of them is here."""
    active, held = backend.sessions.active()
    return {
        "status": "healthy",
        "timestamp": datetime.now(UTC).isoformat(),
        "active_uploads": active,
        "temp_directory_size_mb": round(held / MEBIBYTE, 2),
        "max_file_size_tb": backend.settings.max_bytes / TEBIBYTE,
        "chunk_size_mb": CHUNK_BYTES // MEBIBYTE,
    }


@router.post("/api/upload/large/initiate")
def initiate(asked: NewSession, request: Request, backend: BackendOf) -> Begun:
    """Begin to send a file in chunks; the dataset is there when this is answered."""
    if asked.file_hash is None and asked.file_size <= backend.settings.whole_hash_max_bytes:
        raise InvalidField("file_hash: the SHA-256 of the whole file is needed.")
    return _begun(begin(backend, asked, read_key(request)), asked.filename)


@router.post("/api/upload/initiate-chunked")
def initiate_chunked(asked: NewSession, request: Request, backend: BackendOf) -> Begun:
    """The same, without a digest of the whole file if it is not known."""
    return _begun(begin(backend, asked, read_key(request)), asked.filename)


@router.post("/api/upload/large/chunk/{upload_id}/{chunk_index}", openapi_extra=chunk_schema("chunk_hash"))
async def send_chunk(upload_id: str, chunk_index: int, request: Request, backend: BackendOf) -> ChunkStored:
    """Send one chunk (`chunk`) with its SHA-256 in hex (`chunk_hash`); sending it again is harmless."""
    body = Body(request)
    chunk = await run_in_threadpool(ChunkArrival, backend, upload_id, chunk_index)
    try:
        form = _form(request, chunk)
        await body.pour(form.feed)
        form.finish()
        if (promised := form.fields.get("chunk_hash")) is None:
            raise InvalidField("The field 'chunk_hash' is missing: send the SHA-256 of the chunk in hex.")
        return _stored(await run_in_threadpool(chunk.finish, promised))
    finally:
        chunk.release()


@router.put("/api/upload/large/chunk/{upload_id}/{chunk_index}", openapi_extra=BYTES)
async def put_chunk(
    upload_id: str,
    chunk_index: int,
    request: Request,
    backend: BackendOf,
    chunk_hash: str | None = None,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> ChunkStored:
    """Send one chunk as the whole body, which is quicker; its digest in `Content-Digest` or as `chunk_hash`.

    A chunk that broke off goes on at `offset`; `chunk_hash` is always that of the whole chunk.
    """
    body = Body(request)
    chunk = await run_in_threadpool(ChunkArrival, backend, upload_id, chunk_index, offset)
    try:
        await body.pour(chunk.write)
        return _stored(await run_in_threadpool(chunk.finish, chunk_hash))
    except BROKEN:
        await asyncio.shield(run_in_threadpool(chunk.leave_hint))
        raise
    finally:
        chunk.release()


@router.get("/api/upload/large/chunk/{upload_id}/{chunk_index}")
def look_at_chunk(upload_id: str, chunk_index: int, backend: BackendOf) -> ChunkHere:
    """How much of one chunk is here."""
    record = backend.sessions.get(upload_id)
    digest, size = backend.sessions.chunk(upload_id, find_chunk(record, chunk_index))
    whole = chunk_span(record, chunk_index).size
    return ChunkHere(received=digest is not None, received_bytes=whole if digest else size)


@router.post("/api/upload/chunk", openapi_extra=chunk_schema("upload_id", "chunk_number"))
async def send_numbered_chunk(request: Request, backend: BackendOf) -> ChunkStored:
    """Send one chunk; `upload_id` and `chunk_number` (from 1) come before it in the form."""
    body = Body(request)
    named = _NamedChunk(backend)
    try:
        form = _form(request, named)
        named.fields = form.fields
        await body.pour(form.feed)
        form.finish()
        return _stored(await run_in_threadpool(named.finish))
    finally:
        named.release()


@router.get("/api/upload/large/status/{upload_id}")
def session_status(upload_id: str, backend: BackendOf) -> SessionStatus:
    """Which chunks are here."""
    record = backend.sessions.get(upload_id)
    received = sorted(backend.sessions.received(record))
    total = record["total_chunks"]
    return SessionStatus(
        upload_id=upload_id,
        uploaded_chunks=received,
        total_chunks=total,
        is_complete=len(received) == total,
        progress_percentage=round(100 * len(received) / total, 2) if total else 100.0,
        job_id=upload_id,
        dataset_uuid=record["dataset_uuid"],
    )


@router.get("/api/upload/large/resume/{upload_id}")
def resume(upload_id: str, backend: BackendOf) -> Resume:
    """Which chunks are still to be sent."""
    record = backend.sessions.get(upload_id)
    lacking = list(missing(record, backend.sessions.received(record)))
    return Resume(
        state=record["state"],
        upload_id=upload_id,
        missing_chunks=lacking,
        total_chunks=record["total_chunks"],
        can_resume=bool(lacking),
        chunk_size=record["chunk_bytes"],
        file_size=record["expected_bytes"],
    )


@router.post("/api/upload/large/complete/{upload_id}")
def complete_large(upload_id: str, backend: BackendOf, said: Ending | None = None) -> Completed:
    """All chunks were sent: the dataset goes on its way. Said again, it answers the same."""
    said = said or Ending()
    record = complete(backend, backend.sessions.get(upload_id), said.file_hash, said.filename)
    return Completed(
        message=f"Upload completed successfully: {record['filename']}",
        file_path=record["path"],
        file_size=record["expected_bytes"],
        job_id=upload_id,
        dataset_uuid=record["dataset_uuid"],
        verification=_verification(record),
    )


@router.post("/api/upload/complete-chunked")
def complete_chunked(asked: EndingOf, backend: BackendOf) -> Completed:
    """The same, with the session's id in the body."""
    return complete_large(asked.upload_id, backend, asked)


@router.delete("/api/upload/large/cancel/{upload_id}")
def cancel_large(upload_id: str, backend: BackendOf) -> Message:
    """Give the upload up and free its space."""
    cancel(backend, backend.sessions.get(upload_id))
    return Message(message=f"Upload {upload_id} cancelled and cleaned up")


class _NamedChunk:
    """A chunk whose session and number come in the form."""

    def __init__(self, backend: Backend) -> None:
        self.fields: dict[str, str] = {}
        self._backend = backend
        self._chunk: ChunkArrival | None = None

    def open(self, filename: str) -> None:  # noqa: ARG002  # the name of the part says nothing
        upload_id, number = self.fields.get("upload_id"), self.fields.get("chunk_number", "")
        if upload_id is None or not (number.isascii() and number.isdigit() and len(number) < 10):
            raise InvalidField("Send 'upload_id' and 'chunk_number', a whole number from 1, before the chunk.")
        self._chunk = ChunkArrival(self._backend, upload_id, int(number) - 1)

    def write(self, data: Bytes) -> None:
        assert self._chunk is not None
        self._chunk.write(data)

    def close(self) -> None:
        """More of the form may follow."""

    def finish(self) -> Acknowledged:
        assert self._chunk is not None
        return self._chunk.finish(self.fields.get("chunk_hash"))

    def release(self) -> None:
        if self._chunk is not None:
            self._chunk.release()


def _form(request: Request, sink: ChunkArrival | _NamedChunk) -> Form:
    content_type = request.headers.get("content-type", "")
    return Form(content_type, CHUNK_NAMES, sink, file_field=CHUNK_FIELD, named=False)


def _begun(record: Document, filename: str) -> Begun:
    proof = _verification(record)
    says = "" if proof == "sha256" else "; it is proved by the digests of its chunks"
    return Begun(
        upload_id=record["_id"],
        chunk_size=record["chunk_bytes"],
        total_chunks=record["total_chunks"],
        message=f"Upload of '{filename}' may begin{says}",
        job_id=record["_id"],
        dataset_uuid=record["dataset_uuid"],
        verification=proof,
    )


def _stored(found: Acknowledged) -> ChunkStored:
    return ChunkStored(
        message=f"Chunk {found.index} uploaded successfully", uploaded_chunks=found.received, total_chunks=found.total
    )


def _verification(record: Document) -> str:
    return "sha256" if record["file_hash"] else "chunk-root"
