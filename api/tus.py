"""Resumable uploads by the protocol tus 1.0.0 (https://tus.io/protocols/resumable-upload), for any of its clients.

With all its extensions but concatenation-unfinished. The keys of `Upload-Metadata` are `filename` and the fields of the
upload form; the last part of an upload's address is its job.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from api.arrival import as_ours
from api.backend import Backend
from api.body import Body
from api.fields import UploadFields, read_email
from api.growing import Growth, open_record
from api.joining import claim, join
from api.problems import code_of, problem, problem_of
from api.room import check_quota, check_room
from api.sessions import cancel, enrol_session, new_id, settle
from api.state import BackendOf
from api.tus_reference import asks
from scray.database import Document
from scray.errors import (
    BadRequest,
    BodyTooLarge,
    ChunkBusy,
    DigestMismatch,
    EmptyInput,
    Forbidden,
    InvalidField,
    ScrayError,
)
from scray.sessions import BY_OFFSET

PLACE = "/api/upload/tus"
VERSION = "1.0.0"
EXTENSIONS = "creation,creation-defer-length,creation-with-upload,checksum,termination,expiration,concatenation"
PARTIAL = "partial"
BODY_TYPE = "application/offset+octet-stream"
METADATA_BYTES = 16_384
MOST_PARTS = 1000
JOIN_SECONDS = 10.0  # after that the answer does not wait for the parts to be put together
EXPOSED = (
    "Location", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm",
    "Upload-Offset", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Expires",
    "Upload-Concat", "Retry-After",
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
                response = problem(error.status_code, code_of(error.status_code), str(error.detail))
                if error.status_code == HTTPStatus.PRECONDITION_FAILED:
                    response.headers["Tus-Version"] = VERSION
            response.headers["Tus-Resumable"] = VERSION
            return response

        return answer


router = APIRouter(prefix=PLACE, tags=["tus"], route_class=TusRoute)


@router.options("/{upload_id}", status_code=204)
def abilities_here(upload_id: str, backend: BackendOf) -> Response:  # noqa: ARG001  # it can do the same everywhere
    """What this service can do."""
    return abilities(backend)


@router.options("", status_code=204)
def abilities(backend: BackendOf) -> Response:
    """What this service can do."""
    return Response(status_code=204, headers={
        "Tus-Version": VERSION, "Tus-Extension": EXTENSIONS, "Tus-Max-Size": str(backend.settings.max_bytes),
        "Tus-Checksum-Algorithm": "sha1,sha256",
    })  # fmt: skip


@router.post("", status_code=201, response_class=Response, openapi_extra=asks(
    "Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat", "Upload-Checksum", body=BODY_TYPE,
))  # fmt: skip
async def create(request: Request, backend: BackendOf) -> Response:
    """Begin an upload, perhaps with its first bytes, or put finished partial ones together."""
    metadata = read_metadata(request.headers.get("upload-metadata", ""))
    concat = request.headers.get("upload-concat", "")
    if concat.startswith("final;"):
        record = await run_in_threadpool(_join, backend, metadata, concat)
        joining = asyncio.ensure_future(run_in_threadpool(join, backend, record["_id"]))
        await asyncio.wait({joining}, timeout=JOIN_SECONDS)
        record = await run_in_threadpool(backend.sessions.get, record["_id"], BY_OFFSET)
        return _created(record, BackgroundTask(asyncio.wait, {joining}))
    if concat not in {"", PARTIAL}:
        raise BadRequest("Upload-Concat is 'partial', or 'final;' and the addresses of partial uploads.")
    length = None if _is_deferred(request) else _number(request, "upload-length")
    record = await run_in_threadpool(_begin, backend, metadata, length, concat)
    if request.headers.get("content-type") == BODY_TYPE or length == 0:
        record = await _grow(request, backend, record["_id"], 0)
    return _created(record)


@router.head("/{upload_id}", response_class=Response, openapi_extra=asks())
def offset_of(upload_id: str, backend: BackendOf) -> Response:
    """How many bytes of an upload are here for good."""
    record = open_record(backend, upload_id)
    length = record["expected_bytes"]
    total = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    texts = {"Upload-Metadata": record["tus_metadata"], "Upload-Concat": record["concat"], **_offset(record)}
    known = {name: text for name, text in texts.items() if text}
    return Response(headers={"Cache-Control": "no-store", **total, **known, **_expiry(record)})


@router.patch("/{upload_id}", status_code=204, openapi_extra=asks(
    "Upload-Offset", "Upload-Length", "Upload-Checksum", body=BODY_TYPE,
))  # fmt: skip
async def append(upload_id: str, request: Request, backend: BackendOf) -> Response:
    """Add bytes where the upload is; the last ones send its dataset on its way."""
    if request.headers.get("content-type") != BODY_TYPE:
        raise HTTPException(415, f"The bytes of a tus upload come as '{BODY_TYPE}'.")
    total = _number(request, "upload-length") if "upload-length" in request.headers else None
    record = await _grow(request, backend, upload_id, _number(request, "upload-offset"), total)
    return Response(status_code=204, headers={"Upload-Offset": str(record["received_bytes"]), **_expiry(record)})


@router.delete("/{upload_id}", status_code=204, openapi_extra=asks())
def terminate(upload_id: str, backend: BackendOf) -> Response:
    """Give an upload up and free its space."""
    cancel(backend, open_record(backend, upload_id))
    return Response(status_code=204)


# --- the bytes -----------------------------------------------------------------------------------------


async def _grow(
    request: Request, backend: Backend, upload_id: str, offset: int, total_bytes: int | None = None
) -> Document:
    """The record after the body of this request."""
    body = Body(request)
    if body.length == 0 and await run_in_threadpool(_is_whole, backend, upload_id, offset):
        return await run_in_threadpool(_settle, backend, upload_id)
    promises = {"total_bytes": total_bytes, "checksum": request.headers.get("upload-checksum", "")}
    growth = await run_in_threadpool(_opened, backend, upload_id, offset, body.length, promises)
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


def _is_whole(backend: Backend, upload_id: str, offset: int) -> bool:
    """Whether nothing is left to be sent behind `offset`; nothing is what such a request may bring."""
    record = open_record(backend, upload_id)
    return bool(record["full"] and offset == record["expected_bytes"] and not record.get("parts"))


def _opened(backend: Backend, upload_id: str, offset: int, length: int | None, promises: Mapping[str, Any]) -> Growth:
    if open_record(backend, upload_id).get("parts"):
        raise Forbidden("This upload is made of partial ones; nothing can be added to it.")
    return Growth(backend, upload_id, offset, length, **promises)


def _settle(backend: Backend, upload_id: str) -> Document:
    record = backend.sessions.get(upload_id, BY_OFFSET)
    if record["full"] and not record["partial"]:
        settle(backend, record, "")
    return backend.sessions.get(upload_id, BY_OFFSET)


def _begin(
    backend: Backend, metadata: Mapping[str, str], length: int | None, concat: str, parts: Sequence[Document] = ()
) -> Document:
    """A new upload, whose dataset is there when this returns; a partial one has none. Its bytes are those of `parts`,
    if there are any, which count in their user's quota already. A `length` of None is told later.
    """
    check_room(length or 0, backend)
    upload_id, partial = new_id("tus_upload"), concat == PARTIAL
    session = backend.sessions.begun(BY_OFFSET, {
        "partial": partial, "full": False, "concat": concat, "tus_metadata": metadata.get("", ""),
        "parts": [[part["_id"], part["expected_bytes"]] for part in parts],
    })  # fmt: skip
    if partial:
        if length == 0:
            raise EmptyInput("A partial upload of no bytes adds nothing; leave it out.")
        user = _user_of_part(backend, metadata, length or 0)
        backend.part(upload_id).touch(exist_ok=False)
        nowhere = {"dataset_uuid": "", "user": user, "filename": "", "path": "", "settle_seconds": 0.0}
        backend.uploads.open(upload_id, {**nowhere, "expected_bytes": length, **session}, lasting=True)
    else:
        form, filename = UploadFields.read(metadata), metadata.get("filename") or metadata.get("name", "")
        if not filename:
            raise InvalidField("Upload-Metadata needs the key 'filename'.")
        if length is not None:
            form.check_content(length)
        session["may_be_empty"] = form.joins
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
    """One upload that will have the bytes of partial ones, which go."""
    ids = [address.rstrip("/").rpartition("/")[2] for address in concat.removeprefix("final;").split()]
    if not 0 < len(ids) <= MOST_PARTS or len(set(ids)) < len(ids):
        raise BadRequest(f"Upload-Concat: name 1 to {MOST_PARTS} partial uploads, each once.")
    parts = [open_record(backend, upload_id) for upload_id in ids]
    if not all(part["partial"] and part["full"] for part in parts):
        raise BadRequest("Only finished partial uploads can be put together.")
    record = _begin(backend, metadata, sum(part["expected_bytes"] for part in parts), concat, parts)
    claim(backend, record)
    return record


# --- headers -------------------------------------------------------------------------------------------


def read_metadata(header: str) -> dict[str, str]:
    """The pairs of `Upload-Metadata`; under the empty key, the header itself. Raises BadRequest."""
    if len(header) > METADATA_BYTES:
        raise BadRequest(f"Upload-Metadata is longer than {METADATA_BYTES} bytes.")
    found = {"": header} if header else {}
    for pair in filter(None, map(str.strip, header.split(","))):
        key, _, text = pair.partition(" ")
        if key in found:
            raise BadRequest(f"Upload-Metadata has the key {key[:40]!r} twice.")
        try:
            found[key] = base64.b64decode(text, validate=True).decode()
        except ValueError as error:
            raise BadRequest(f"Upload-Metadata: the value of {key[:40]!r} is not UTF-8 in base64.") from error
    return found


def _is_deferred(request: Request) -> bool:
    """Whether the length is to be told later. Raises BadRequest."""
    text = request.headers.get("upload-defer-length")
    if text not in {None, "1"} or (text and "upload-length" in request.headers):
        raise BadRequest("Send Upload-Length, or 'Upload-Defer-Length: 1', not both.")
    return text is not None


def _created(record: Document, after: BackgroundTask | None = None) -> Response:
    headers = {"Location": f"{PLACE}/{record['_id']}", **_offset(record), **_expiry(record)}
    return Response(status_code=201, headers=headers, background=after)


def _offset(record: Document) -> dict[str, str]:
    """Where an upload is; of one made of partial ones that is told once it is whole."""
    tells = record["full"] or not record.get("parts")
    return {"Upload-Offset": str(record["received_bytes"])} if tells else {}


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
    status = STATUS_OF.get(type(error))
    answer = problem(status, error.code, error.message) if status else problem_of(error)
    if getattr(request.state, "hang_up", bool)():
        answer.headers["Connection"] = "close"
    return answer
