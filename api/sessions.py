"""Upload sessions: begun, completed, cancelled, given up. Each step may be repeated, by any process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from api.backend import Backend
from api.chunks import make_part, read_sha256
from api.enrolment import Enrolment, enrol
from api.fields import UploadFields, read_uuid
from api.landing import conclude, error_of, take_back
from api.once import earlier
from api.room import check_quota, check_room
from scray.database import Document
from scray.errors import (
    Cancelled,
    Conflict,
    DiskFull,
    InvalidField,
    MissingChunks,
    NotFound,
    ScrayError,
    SessionExpired,
    SourceChanged,
)
from scray.retry import FULL
from scray.sessions import BY_CHUNKS, DIFFERENT, chunk_root, missing
from scray.spans import CHUNK_BYTES
from scray.storage import safe_name
from scray.uploads import CANCELLED, FAILED, PLACING, RECEIVING

NAMED_CHUNKS = 100  # so many missing chunks are told by number
MOST_CHUNKS = 1 << 20
LEAST_CHUNK_BYTES = 1024
OTHER_SECONDS, POLL_SECONDS = 10.0, 0.05


def read_hash(value: str) -> str:
    """A SHA-256 in hex. Raises ValueError."""
    try:
        return read_sha256(value)
    except InvalidField as error:
        raise ValueError(error.message) from error


class NewSession(UploadFields):
    """What is said of a file before it is sent in chunks. Sizes in bytes; `file_hash` is its SHA-256 in hex."""

    filename: Annotated[str, Field(min_length=1, max_length=1024)]
    file_size: Annotated[int, Field(ge=0)]
    file_hash: Annotated[str, AfterValidator(read_hash)] | None = None
    chunk_size: Annotated[int, Field(ge=LEAST_CHUNK_BYTES, le=1 << 40)] = CHUNK_BYTES

    @property
    def total_chunks(self) -> int:
        return -(-self.file_size // self.chunk_size)


def begin(backend: Backend, asked: NewSession, key: str = "") -> Document:
    """Make the dataset, the record and the file of a new session; returns the record.

    Under an idempotency `key` that has made a session before, that one is returned.

    Raises what refuses the file before its first byte: BodyTooLarge, DiskFull, QuotaExceeded, Conflict, …
    """
    upload_id = new_id("large_upload")
    if (found := earlier(backend, key, upload_id)) is not None:
        return found
    asked.check_content(asked.file_size)
    check_room(asked.file_size, backend)
    if asked.total_chunks > MOST_CHUNKS:
        raise InvalidField(f"That would be {asked.total_chunks} chunks; take larger ones.")
    values = {
        "chunk_bytes": asked.chunk_size,
        "total_chunks": asked.total_chunks,
        "file_hash": asked.file_hash if asked.file_size <= backend.settings.whole_hash_max_bytes else None,
    }
    session = backend.sessions.begun(BY_CHUNKS, values)
    enrol_session(backend, upload_id, asked, asked.filename, asked.file_size, session)
    return backend.sessions.get(upload_id)


def _check_free(backend: Backend, fields: UploadFields, filename: str) -> None:
    """Tell a sender now, not after terabytes, that the name is taken. Raises Conflict, UnsafePath."""
    path = fields.path(filename)
    uuid = read_uuid(fields.dataset_identifier or "")
    if uuid and (backend.storage.upload_dir(uuid) / path).exists():
        raise Conflict(f"The dataset already has '{path}'; send the file under another name, or as a new dataset.")


def new_id(kind: str) -> str:
    """`<kind>_<unix seconds>_<8 hex>`, as clients know it; and enough chance that nobody guesses one."""
    return f"{kind}_{int(time.time())}_{secrets.token_hex(8)}"


def enrol_session(
    backend: Backend,
    upload_id: str,
    fields: UploadFields,
    filename: str,
    size_bytes: int | None,
    session: Mapping[str, Any],
    counted_bytes: int = 0,
) -> Enrolment:
    """The file first, so that a record is never without one; a file without a record is swept away.

    A `size_bytes` of None is not known yet; `counted_bytes` of it are in the user's quota already.
    """
    _check_free(backend, fields, filename)
    check_quota(fields.user_email, (size_bytes or 0) - counted_bytes, backend)
    part = backend.part(upload_id)
    try:
        make_part(part, size_bytes or 0 if session["session"] == BY_CHUNKS else 0)
        enrolment = enrol(backend, upload_id, fields, filename, size_bytes, session)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno in FULL:
            raise DiskFull from error
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return enrolment


def complete(backend: Backend, record: Document, file_hash: str | None = None, filename: str | None = None) -> Document:
    """All chunks are said to be there: give the file its place and let the driver check it. At once, and again.

    Raises MissingChunks, SourceChanged, Cancelled, SessionExpired; Conflict when the name is taken, and the bytes stay.
    """
    if record["state"] == RECEIVING:
        record = _amend(backend, record, file_hash, filename)
        received = backend.sessions.received(record)
        if lacking := list(islice(missing(record, received), NAMED_CHUNKS + 1)):
            more = ", …" if len(lacking) > NAMED_CHUNKS else ""
            raise MissingChunks(f"Missing chunks: [{', '.join(map(str, lacking[:NAMED_CHUNKS]))}{more}]")
        usual = record["chunk_bytes"] == CHUNK_BYTES
        settle(backend, record, chunk_root(record, received) if usual else "")
    record = backend.sessions.get(record["_id"], record["session"])
    _check_ended_well(record)
    return record


def _amend(backend: Backend, record: Document, file_hash: str | None, filename: str | None) -> Document:
    """The record with what is said of the file only now. Raises UnsafePath."""
    values: dict[str, Any] = {}
    small = record["expected_bytes"] <= backend.settings.whole_hash_max_bytes
    if file_hash and record["file_hash"] is None and small:
        values["file_hash"] = file_hash
    if filename:
        values["path"] = str(PurePosixPath(record["path"]).with_name(safe_name(filename)))
    if values:
        backend.sessions.amend(record, values)
    return {**record, **values}


def settle(backend: Backend, record: Document, root: str) -> None:
    """The file is whole: place it, unless somebody else is at it. Raises what it failed with."""
    upload_id, uuid = record["_id"], record["dataset_uuid"]
    if not record["open"]:
        backend.queue.upload_opened(uuid, upload_id)
        backend.sessions.reopen(upload_id)
    backend.active.add(upload_id)
    try:
        if backend.sessions.place(record, backend.uploads.owner, root):
            error = conclude(backend, backend.uploads.get(upload_id))
            if error is not None:
                raise error
        else:
            _wait_for_other(backend, upload_id)
    finally:
        backend.active.discard(upload_id)


def _wait_for_other(backend: Backend, upload_id: str) -> None:
    """Whoever is told that a file is stored finds it; one who is slow at it is not waited for long."""
    end = time.monotonic() + OTHER_SECONDS
    while backend.uploads.get(upload_id)["state"] == PLACING and time.monotonic() < end:
        time.sleep(POLL_SECONDS)


def _check_ended_well(record: Document) -> None:
    if record["state"] == CANCELLED:
        raise Cancelled("The upload was cancelled.")
    if record["state"] == FAILED:
        kind = SessionExpired if record["error_code"] == SessionExpired.code else Conflict
        raise kind(record["error_message"])
    if record["whole"] == DIFFERENT:
        raise SourceChanged


def cancel(backend: Backend, record: Document) -> None:
    """End a session and free its space; done again, harmless. Raises Conflict when its file is already stored."""
    if record["state"] not in {RECEIVING, CANCELLED, FAILED}:
        raise Conflict("The upload is complete already; cancel its job instead.")
    end(backend, record, Cancelled("The upload was cancelled."), CANCELLED)


def end(backend: Backend, record: Document, error: ScrayError, state: str = FAILED) -> None:
    """Give a session up: its bytes go, and a dataset that has nothing else ends with it."""
    upload_id, uuid = record["_id"], record["dataset_uuid"]
    if record["state"] == RECEIVING and not backend.sessions.end(record, state, error.code, error.message):
        return
    take_back(backend, record)
    backend.sessions.forget_chunks(record)
    with suppress(NotFound):  # the dataset may be gone
        _tell_queue(backend, uuid, upload_id, error, cancelled=state == CANCELLED)
    backend.uploads.settle(upload_id)


def _tell_queue(backend: Backend, uuid: str, upload_id: str, error: ScrayError, *, cancelled: bool) -> None:
    alone = backend.queue.dataset(uuid).open_uploads == (upload_id,) and not backend.uploads.stored(uuid)
    if not (alone and cancelled and backend.queue.request_cancel(uuid)):
        backend.queue.upload_closed(uuid, upload_id, failed=error if alone else None)


def reap(backend: Backend) -> list[str]:
    """End the sessions that were cancelled or fell silent for too long; returns their ids."""
    backend.sessions.tell_counts()
    ended = backend.sessions.to_end()
    for record in ended:
        if record["state"] != RECEIVING:
            end(backend, record, error_of(record) or ScrayError(), record["state"])
        elif record["cancel"]:
            end(backend, record, Cancelled("The upload was cancelled."), CANCELLED)
        else:
            end(backend, record, SessionExpired())
    for record in backend.sessions.full():
        if record["_id"] not in backend.active:
            with suppress(ScrayError):  # its record says what was wrong
                settle(backend, record, "")
    backend.keys.forget_old()
    for record in backend.sessions.retired():
        backend.sessions.retire(record)
    return [record["_id"] for record in ended]
