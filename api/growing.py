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
from api.room import check_quota, check_room
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
        self,
        backend: Backend,
        upload_id: str,
        offset: int,
        length: int | None,
        *,
        total_bytes: int | None = None,
        checksum: str = "",
    ) -> None:
        """`length` is that of the body, `total_bytes` that of the file where it is told only now, each if known."""
        self._backend = backend
        self._checksum = _Checksum(checksum) if checksum else None
        self._fd = -1
        self._take(upload_id)
        try:
            self._declare(offset, total_bytes)
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
            if open_record(self._backend, upload_id)["full"]:
                raise Conflict("The upload is complete; nothing can be added to it.") from error
            raise NotFound("Upload session not found") from error
        except BaseException:
            self.release()
            raise

    def _declare(self, offset: int, total_bytes: int | None) -> None:
        """Take note of a length that was left open. Raises what refuses it; it cannot be changed."""
        known = self.record["expected_bytes"]
        if total_bytes is None or total_bytes == known:
            return
        if known is not None or total_bytes < max(offset, 0 if self.record.get("may_be_empty") else 1):
            raise BadRequest(f"The upload cannot have {total_bytes} bytes: {known or offset} are known.")
        check_room(total_bytes - offset, self._backend)
        check_quota(self.record["user"], total_bytes, self._backend, self.record["_id"])
        self._backend.sessions.note(self.record["_id"], {"expected_bytes": total_bytes})
        self.record["expected_bytes"] = total_bytes

    def _check(self, offset: int, length: int | None) -> None:
        if offset != self.record["received_bytes"]:
            raise Conflict(f"The upload is at byte {self.record['received_bytes']}, not at byte {offset}.")
        if self.record["expected_bytes"] is None:
            check_room(length or 0, self._backend)
            check_quota(self.record["user"], offset + (length or 0), self._backend, self.record["_id"])
        if offset + (length or 0) > self._limit:
            raise BodyTooLarge(f"Only {self._limit - offset} bytes are missing.")
        os.ftruncate(self._fd, offset)

    @property
    def _limit(self) -> int:
        """How long the file may become."""
        expected: int | None = self.record["expected_bytes"]
        return self._backend.settings.max_bytes if expected is None else expected

    def write(self, data: bytes) -> None:
        if self.offset + len(data) > self._limit:
            raise BodyTooLarge(f"More came than the {self._limit} bytes that were announced.")
        if self._checksum:
            self._checksum.update(data)
        write_all(self._fd, data, self.offset)
        self.offset += len(data)
        if self.offset - self._synced >= SYNC_BYTES and not (self._checksum or self.whole):
            self._sync()

    def take_from(self, path: Path, start: int, size_bytes: int) -> None:
        """Add so many bytes of another file, which are flushed when this returns."""
        with path.open("rb") as source:
            while size_bytes:
                asked = min(size_bytes, SYNC_BYTES)
                count = os.copy_file_range(source.fileno(), self._fd, asked, start, self.offset)
                if not count:
                    raise Conflict(f"{path.stem} is shorter than it was.")
                self.offset, start, size_bytes = self.offset + count, start + count, size_bytes - count
                if self.offset - self._synced >= SYNC_BYTES:
                    self._sync()
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
