"""Resumable uploads by the protocol tus 1.0.0 (https://tus.io/protocols/resumable-upload), for any of its clients.

Core, creation, creation-with-upload, checksum, termination, expiration and concatenation. The keys of
`Upload-Metadata` are `filename` and the fields of the upload form; the last part of an upload's address is its job.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC
from email.utils import format_datetime
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from api.arrival import as_ours
from api.backend import Backend
from api.body import Body
from api.fields import UploadFields, read_email
from api.growing import Growth, join, open_record
from api.problems import problem, problem_of
from api.room import check_quota, check_room
from api.sessions import cancel, end, enrol_session, new_id, settle
from api.state import BackendOf
from scray.database import Document
from scray.errors import (
    BadRequest,
    BodyTooLarge,
    Cancelled,
    ChunkBusy,
    DigestMismatch,
    EmptyInput,
    InvalidField,
    ScrayError,
)
from scray.sessions import BY_OFFSET
from scray.uploads import CANCELLED

PLACE = "/api/upload/tus"
VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,termination,expiration,concatenation"
BODY_TYPE = "application/offset+octet-stream"
METADATA_BYTES = 16_384
MOST_PARTS = 1000
EXPOSED = (
    "Location", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm",
    "Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Expires", "Upload-Concat", "Retry-After",
)  # fmt: skip
# what the protocol calls these, where it has a number of its own
STATUS_OF: Mapping[type[ScrayError], int] = {ChunkBusy: 423, DigestMismatch: 460}


class TusRoute(APIRoute):
    """A route that speaks tus: its version is checked before anything is read, and said in every answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                if request.method != "OPTIONS" and request.headers.get("tus-resumable") != VERSION:
                    raise HTTPException(412, f"This service speaks tus {VERSION}: send 'Tus-Resumable: {VERSION}'.")
                response = await inner(request)
            except ScrayError as error:
                response = _refusal(request, error)
            except RequestValidationError as error:
                response = _refusal(request, as_ours(error))
            except HTTPException as error:
                response = problem(error.status_code, BadRequest.code, str(error.detail))
            response.headers["Tus-Resumable"] = VERSION
            return response

        return answer


router = APIRouter(prefix=PLACE, tags=["tus"], route_class=TusRoute)


@router.options("", status_code=204)
@router.options("/{upload_id}", status_code=204)
def abilities(backend: BackendOf) -> Response:
    """What this service can do."""
    return Response(status_code=204, headers={
        "Tus-Version": VERSION, "Tus-Extension": EXTENSIONS, "Tus-Max-Size": str(backend.settings.max_bytes),
        "Tus-Checksum-Algorithm": "sha1,sha256",
    })  # fmt: skip


@router.post("", status_code=201)
async def create(request: Request, backend: BackendOf) -> Response:
    """Begin an upload, perhaps with its first bytes, or put finished partial ones together."""
    metadata = read_metadata(request.headers.get("upload-metadata", ""))
    concat = request.headers.get("upload-concat", "")
    if concat.startswith("final;"):
        record = await run_in_threadpool(_join, backend, metadata, concat)
    else:
        length = _number(request, "upload-length")
        record = await run_in_threadpool(_begin, backend, metadata, length, partial=concat == "partial")
        if request.headers.get("content-type") == BODY_TYPE:
            record = await _grow(request, backend, record["_id"], 0)
    headers = {"Location": f"{PLACE}/{record['_id']}", "Upload-Offset": str(record["received_bytes"])}
    return Response(status_code=201, headers={**headers, **_expiry(record)})


@router.head("/{upload_id}")
def offset_of(upload_id: str, backend: BackendOf) -> Response:
    """How many bytes of an upload are here for good."""
    record = open_record(backend, upload_id)
    numbers = {"Upload-Offset": str(record["received_bytes"]), "Upload-Length": str(record["expected_bytes"])}
    texts = {"Upload-Metadata": record["tus_metadata"], "Upload-Concat": record["concat"]}
    known = {name: text for name, text in texts.items() if text}
    return Response(headers={"Cache-Control": "no-store", **numbers, **known, **_expiry(record)})


@router.patch("/{upload_id}", status_code=204)
async def append(upload_id: str, request: Request, backend: BackendOf) -> Response:
    """Add bytes where the upload is; the last ones send its dataset on its way."""
    if request.headers.get("content-type") != BODY_TYPE:
        raise HTTPException(415, f"The bytes of a tus upload come as '{BODY_TYPE}'.")
    record = await _grow(request, backend, upload_id, _number(request, "upload-offset"))
    return Response(status_code=204, headers={"Upload-Offset": str(record["received_bytes"]), **_expiry(record)})


@router.delete("/{upload_id}", status_code=204)
def terminate(upload_id: str, backend: BackendOf) -> Response:
    """Give an upload up and free its space."""
    cancel(backend, open_record(backend, upload_id))
    return Response(status_code=204)


# --- the bytes -----------------------------------------------------------------------------------------


async def _grow(request: Request, backend: Backend, upload_id: str, offset: int) -> Document:
    """The record after the body of this request."""
    body = Body(request)
    checksum = request.headers.get("upload-checksum", "")
    growth = await run_in_threadpool(lambda: Growth(backend, upload_id, offset, body.length, checksum=checksum))
    growth.whole = body.is_promised
    try:
        await body.pour(growth.write)
        await run_in_threadpool(growth.finish)
    except (DigestMismatch, BodyTooLarge):
        raise
    except BaseException:
        await asyncio.shield(run_in_threadpool(growth.keep))
        raise
    finally:
        growth.release()
    return await run_in_threadpool(_settle, backend, upload_id)


def _settle(backend: Backend, upload_id: str) -> Document:
    record = backend.sessions.get(upload_id, BY_OFFSET)
    if record["full"] and not record["partial"]:
        settle(backend, record, "")
    return backend.sessions.get(upload_id, BY_OFFSET)


def _begin(
    backend: Backend, metadata: Mapping[str, str], length: int, *, partial: bool, parts: Sequence[Document] = ()
) -> Document:
    """A new upload, whose dataset is there when this returns; a partial one has none. Its bytes are those of `parts`,
    if there are any, which count in their user's quota already.
    """
    check_room(length, backend)
    if not length:
        raise EmptyInput("The file is empty; nothing was stored.")
    upload_id = new_id("tus_upload")
    concat = "partial" if partial else ""
    fields = {"partial": partial, "full": False, "concat": concat, "tus_metadata": metadata.get("", "")}
    session = backend.sessions.begun(BY_OFFSET, fields)
    if partial:
        user = _user_of_part(backend, metadata, length)
        backend.part(upload_id).touch(exist_ok=False)
        nowhere = {"dataset_uuid": "", "user": user, "filename": "", "path": "", "settle_seconds": 0.0}
        backend.uploads.open(upload_id, {**nowhere, "expected_bytes": length, **session}, lasting=True)
    else:
        form, filename = UploadFields.read(metadata), metadata.get("filename") or metadata.get("name", "")
        if not filename:
            raise InvalidField("Upload-Metadata needs the key 'filename'.")
        counted = sum(part["expected_bytes"] for part in parts if part["user"] == form.user_email)
        enrol_session(backend, upload_id, form, filename, length, session, counted)
    return backend.sessions.get(upload_id, BY_OFFSET)


def _user_of_part(backend: Backend, metadata: Mapping[str, str], length: int) -> str:
    """Whose bytes a partial upload holds; to be said where quotas are. Raises QuotaExceeded, InvalidField."""
    user = metadata.get("user_email", "")
    limited = backend.settings.quota_bytes or backend.settings.quota_uploads
    if not user and not limited:
        return ""
    try:
        user = read_email(user)
    except ValueError as error:
        raise InvalidField(f"Upload-Metadata, user_email: {error}. Partial uploads count in quotas.") from error
    check_quota(user, length, backend)
    return user


def _join(backend: Backend, metadata: Mapping[str, str], concat: str) -> Document:
    """One upload from the bytes of partial ones, which go."""
    ids = [address.rstrip("/").rpartition("/")[2] for address in concat.removeprefix("final;").split()]
    if not 0 < len(ids) <= MOST_PARTS or len(set(ids)) < len(ids):
        raise BadRequest(f"Upload-Concat: name 1 to {MOST_PARTS} partial uploads, each once.")
    parts = [open_record(backend, upload_id) for upload_id in ids]
    if not all(part["partial"] and part["full"] for part in parts):
        raise BadRequest("Only finished partial uploads can be put together.")
    length = sum(part["expected_bytes"] for part in parts)
    record = _begin(backend, metadata, length, partial=False, parts=parts)
    backend.sessions.note(record["_id"], {"concat": concat})
    join(backend, parts, backend.part(record["_id"]))
    backend.sessions.advance(record, record["expected_bytes"])
    for part in parts:
        end(backend, part, Cancelled("It is part of another upload now."), CANCELLED)
    return _settle(backend, record["_id"])


# --- headers -------------------------------------------------------------------------------------------


def read_metadata(header: str) -> dict[str, str]:
    """The pairs of `Upload-Metadata`; under the empty key, the header itself. Raises BadRequest."""
    if len(header) > METADATA_BYTES:
        raise BadRequest(f"Upload-Metadata is longer than {METADATA_BYTES} bytes.")
    found = {"": header} if header else {}
    for pair in filter(None, map(str.strip, header.split(","))):
        key, _, text = pair.partition(" ")
        try:
            found[key] = base64.b64decode(text, validate=True).decode()
        except ValueError as error:
            raise BadRequest(f"Upload-Metadata: the value of {key[:40]!r} is not UTF-8 in base64.") from error
    return found


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(f"The header {name.title()} is needed, a whole number.")
    return int(text)


def _expiry(record: Document) -> dict[str, str]:
    expires = record.get("expires_at")
    waits = expires is not None and not record["full"]
    return {"Upload-Expires": format_datetime(expires.astimezone(UTC), usegmt=True)} if expires and waits else {}


def _refusal(request: Request, error: ScrayError) -> Response:
    answer = problem_of(error)
    answer.status_code = STATUS_OF.get(type(error), answer.status_code)
    if getattr(request.state, "hang_up", bool)():
        answer.headers["Connection"] = "close"
    return answer
