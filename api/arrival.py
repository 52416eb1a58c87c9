"""One file on its way in: its bytes go to disk and into digests as they come, its records to the database."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.requests import ClientDisconnect

from api.backend import Backend, new_job_id
from api.chunks import write_all
from api.enrolment import Enrolment, amend, enrol, withdraw
from api.fields import REQUIRED, UploadFields
from api.landing import conclude, end_failed
from api.multipart import Bytes
from api.room import check_quota, check_size
from scray.errors import (
    Cancelled,
    DiskFull,
    InvalidField,
    LeaseLost,
    ScrayError,
    StorageError,
    UploadBroken,
)
from scray.manifest import FileDigest
from scray.retry import FULL
from scray.spans import CHUNK_BYTES
from scray.uploads import CANCELLED, FAILED

REPORT_SECONDS = 0.5


class Arrival:
    """The file of one request. Its methods block and are called one at a time, from any thread.

    Promise: when `finish` has returned, the file is on disk under its name, flushed, with its digest recorded,
    and the dataset is on its way; when `abandon` has returned, no byte of it is left.
    """

    def __init__(self, backend: Backend, expected_bytes: int | None) -> None:
        self.job_id = new_job_id()
        self.fields: Mapping[str, str] = {}  # the form's, growing
        self.size = 0
        self.enrolment: Enrolment | None = None
        self._backend = backend
        self._expected_bytes = expected_bytes
        self._filename = ""
        self._fd = -1
        self._digests = _Digests()
        self._concluded = False
        self._pace = _Pace()

    # --- the sink of the form ----------------------------------------------------------------------

    def open(self, filename: str) -> None:
        self._filename = filename
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(self._backend.part(self.job_id), flags, 0o666)
        if self.fields.keys() >= REQUIRED:
            self._enrol(UploadFields.read(self.fields))

    def write(self, data: Bytes) -> None:
        check_size(self.size + len(data), self._backend)
        write_all(self._fd, data, self.size)
        self.size += len(data)
        self._digests.update(data)
        if self.enrolment and self._pace.due():
            self._report()

    def close(self) -> None:
        """More of the form may follow; the file is concluded by `finish`."""

    # --- the end -----------------------------------------------------------------------------------

    def finish(self) -> Enrolment:
        """The whole form has been read: give the file its place and tell the queue.

        Raises what refuses the file; `abandon` is then still to be called.
        """
        enrolment = self._enrol(UploadFields.read(self.fields))
        enrolment.fields.check_content(self.size)
        self._flush()
        if not self._backend.uploads.place(self.job_id, FileDigest(enrolment.path, self.size, self._digests.hex())):
            raise self._loss()
        error = self._conclude()
        if error is not None:
            raise error
        return enrolment

    def abandon(self, error: BaseException) -> None:
        """The upload failed: leave no bytes, and a record that says why."""
        self._close()
        try:
            self._end_record(as_ours(error))
            self._backend.part(self.job_id).unlink(missing_ok=True)
        finally:  # what could not be recorded is done by whoever finds the record silent
            self._backend.active.discard(self.job_id)

    def _end_record(self, error: ScrayError) -> None:
        if self.enrolment is None or self._concluded:
            return
        record = self._backend.uploads.get(self.job_id)
        state = CANCELLED if record["cancel"] else FAILED
        if end_failed(self._backend, record, error, state):
            self._conclude()

    def _conclude(self) -> ScrayError | None:
        self._concluded = True
        error = conclude(self._backend, self._backend.uploads.get(self.job_id))
        self._backend.active.discard(self.job_id)
        return error

    def _enrol(self, fields: UploadFields) -> Enrolment:
        """The dataset of this file, chosen anew when fields after the file name another."""
        if self.enrolment is not None and self.enrolment.fits(fields):
            self.enrolment = amend(self._backend, self.enrolment, fields, self._filename)
            return self.enrolment
        if self.enrolment is not None:
            withdraw(self._backend, self.enrolment)
            self.enrolment = None
        check_quota(fields.user_email, self._expected_bytes or self.size, self._backend)
        self._backend.active.add(self.job_id)
        self.enrolment = enrol(self._backend, self.job_id, fields, self._filename, self._expected_bytes)
        return self.enrolment

    def _flush(self) -> None:
        os.fsync(self._fd)
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _report(self) -> None:
        if not self._backend.uploads.report(self.job_id, self.size, self._pace.speed(self.size)):
            raise self._loss()

    def _loss(self) -> ScrayError:
        """Why the record is not ours any more."""
        if self._backend.uploads.get(self.job_id)["cancel"]:
            return Cancelled("The upload was cancelled.")
        return LeaseLost("This server was silent for too long, so the upload was given up; send it again.")


class _Digests:
    """SHA-256 of every chunk, while the bytes pass."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._open = hashlib.sha256()
        self._room = CHUNK_BYTES

    def update(self, data: Bytes) -> None:
        view = memoryview(data)
        while len(view) >= self._room:
            self._open.update(view[: self._room])
            view = view[self._room :]
            self._done.append(self._open.hexdigest())
            self._open, self._room = hashlib.sha256(), CHUNK_BYTES
        self._open.update(view)
        self._room -= len(view)

    def hex(self) -> tuple[str, ...]:
        """The digests of all chunks; the last may be shorter."""
        rest = [self._open.hexdigest()] if self._room < CHUNK_BYTES else []
        return (*self._done, *rest)


class _Pace:
    """When to report, and how fast the bytes come."""

    def __init__(self) -> None:
        self._began = self._reported = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._reported < REPORT_SECONDS:
            return False
        self._reported = now
        return True

    def speed(self, received_bytes: int) -> float:
        """Bytes per second since the beginning."""
        return received_bytes / max(time.monotonic() - self._began, 1e-3)


def as_ours(error: BaseException) -> ScrayError:
    """What to record of any error that ended an upload."""
    if isinstance(error, ScrayError):
        return error
    if isinstance(error, ClientDisconnect):
        return UploadBroken("The connection broke off during the upload; send the file again.")
    if isinstance(error, asyncio.CancelledError):
        return UploadBroken("The server stopped during the upload; send the file again.")
    if isinstance(error, RequestValidationError):
        return InvalidField("; ".join(f"{found['loc'][-1]}: {found['msg']}" for found in error.errors()))
    if isinstance(error, OSError):
        return DiskFull() if error.errno in FULL else StorageError()
    return ScrayError()
