"""A file that grows from its beginning, over any number of requests: the bytes of one `PATCH` of a tus upload."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

from api.backend import Backend
from api.chunks import lock_range, write_all
from scray.database import Document
from scray.errors import BadRequest, BodyTooLarge, Conflict, DigestMismatch, NotFound, SessionExpired
from scray.sessions import BY_OFFSET
from scray.spans import Span

SYNC_BYTES = 64 << 20  # what a killed server may cost
ALGORITHMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
EVERYTHING = Span(0, 0)  # a lock of no length reaches to the end of any file


class Growth:
    """What one request adds. Its methods block and are called one at a time, from any thread.

    Promise: the recorded offset never lies: bytes before it are on disk and flushed, whoever was killed; bytes behind
    it are cut off before others are written. One request at a time adds to a file, which the kernel sees to.
    """

    def __init__(
        self, backend: Backend, upload_id: str, offset: int, length: int | None, *, checksum: str = ""
    ) -> None:
        self._backend = backend
        self._checksum = _Checksum(checksum) if checksum else None
        self._fd = -1
        self._take(upload_id)
        try:
            self._check(offset, length)
        except BaseException:
            self.release()
            raise
        self.offset = self._synced = offset
        self.whole = False  # nothing is kept of a body that turns out wrong

    def _take(self, upload_id: str) -> None:
        """The record as it is once the file is ours. Raises NotFound, ChunkBusy, SessionExpired."""
        self.record = open_record(self._backend, upload_id)
        try:
            self._fd = os.open(self._backend.part(upload_id), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            lock_range(self._fd, EVERYTHING)
            self.record = open_record(self._backend, upload_id)
        except FileNotFoundError as error:
            raise NotFound("Upload session not found") from error
        except BaseException:
            self.release()
            raise

    def _check(self, offset: int, length: int | None) -> None:
        if offset != self.record["received_bytes"]:
            raise Conflict(f"The upload is at byte {self.record['received_bytes']}, not at byte {offset}.")
        if offset + (length or 0) > self.record["expected_bytes"]:
            raise BodyTooLarge(f"Only {self.record['expected_bytes'] - offset} bytes are missing.")
        os.ftruncate(self._fd, offset)

    def write(self, data: bytes) -> None:
        if self.offset + len(data) > self.record["expected_bytes"]:
            raise BodyTooLarge(f"More came than the {self.record['expected_bytes']} bytes that were announced.")
        if self._checksum:
            self._checksum.update(data)
        write_all(self._fd, data, self.offset)
        self.offset += len(data)
        if self.offset - self._synced >= SYNC_BYTES and not (self._checksum or self.whole):
            self._sync()

    def finish(self) -> None:
        """The body is over. Raises DigestMismatch, and nothing of it is kept."""
        if self._checksum:
            self._checksum.check()
        self._sync()

    def keep(self) -> None:
        """The body broke off: what came of it stays, unless it was promised whole."""
        if not (self._checksum or self.whole):
            self._sync()

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _sync(self) -> None:
        os.fdatasync(self._fd)
        if not self._backend.sessions.advance(self.record, self.offset):
            raise NotFound("Upload session not found")
        self._synced = self.offset


def open_record(backend: Backend, upload_id: str) -> Document:
    """The record of a tus upload that may still be asked for. Raises NotFound, SessionExpired."""
    record = backend.sessions.get(upload_id, BY_OFFSET)
    if record.get("error_code") == SessionExpired.code:
        raise SessionExpired
    if record["cancel"] or record["state"] in {"cancelled", "failed"}:
        raise NotFound("Upload session not found")
    return record


def join(backend: Backend, records: list[Document], path: Path) -> None:
    """Write the files of finished partial uploads one after another into the empty file `path`, flushed."""
    with path.open("wb") as target:
        for record in records:
            with backend.part(record["_id"]).open("rb") as source:
                left = record["expected_bytes"]
                while left:
                    count = os.copy_file_range(source.fileno(), target.fileno(), left)
                    if not count:
                        raise Conflict(f"The partial upload {record['_id']} is shorter than it was.")
                    left -= count
        os.fdatasync(target.fileno())


class _Checksum:
    """The `Upload-Checksum` of a body: an algorithm and a digest in base64."""

    def __init__(self, header: str) -> None:
        algorithm, _, text = header.strip().partition(" ")
        if algorithm not in ALGORITHMS:
            raise BadRequest(f"Upload-Checksum knows {' and '.join(ALGORITHMS)}.")
        try:
            self._digest = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise BadRequest("Upload-Checksum is not base64.") from error
        self._found: Any = ALGORITHMS[algorithm](usedforsecurity=False)
        self.update = self._found.update

    def check(self) -> None:
        if not hmac.compare_digest(self._found.digest(), self._digest):
            raise DigestMismatch("The body is not what its Upload-Checksum promised; send it again.")
