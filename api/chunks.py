"""One chunk on its way to its place in the file of its session: hashed while it is written, recorded, acknowledged."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import struct
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path

from api.backend import Backend
from api.multipart import Bytes
from scray.database import Document
from scray.errors import (
    BadRequest,
    ChunkBusy,
    ChunkDiffers,
    ChunkMismatch,
    Conflict,
    InvalidField,
    NotFound,
    ScrayError,
    SessionExpired,
)
from scray.sessions import chunk_span
from scray.spans import Span
from scray.storage import start_write_back
from scray.uploads import RECEIVING

SHA256 = re.compile(r"[0-9a-f]{64}")
FLOCK = "hhqqi4x"  # struct flock of <fcntl.h>: type, whence, start, length, pid (which must be 0)
READ_BYTES = 1 << 20
HINT_BYTES, HINT_SECONDS = 1 << 24, 1.0  # what a killed server may cost of a chunk: so much, or what came in so long
CODES = {"cancelled": NotFound, SessionExpired.code: SessionExpired}


@dataclass(frozen=True)
class Acknowledged:
    """A chunk that is here for good; `received` chunks of the session are."""

    index: int
    received: int
    total: int


class ChunkArrival:
    """A chunk of one request. Its methods block and are called one at a time, from any thread.

    Promise: when `finish` has returned, the chunk is on disk, flushed, with its digest recorded. A chunk that was so
    before is hashed and dropped; a new one is written while its range of the file is locked, which the kernel sees
    to: for all processes, until `release` or the death of this one. What came of a chunk that broke off stays in the
    file; a request that begins at `offset` goes on behind it, and `finish` proves the whole.
    """

    def __init__(self, backend: Backend, upload_id: str, index: int, offset: int = 0) -> None:
        self._backend = backend
        self._record = backend.sessions.get(upload_id)
        self.index = index
        self._span = chunk_span(self._record, find_chunk(self._record, index))
        self._digest = hashlib.sha256()
        self._size = self._hinted = 0
        self._hinted_at = -HINT_SECONDS
        self._note: Future[None] | None = None
        self._fd = -1
        self._known: str | None = None
        self._take_place(offset)

    def _take_place(self, offset: int) -> None:
        """Lock the place of a chunk that is new; of one that is known, nothing is locked."""
        try:
            here = self._lock()
            if offset:
                self._go_on(offset, here)
        except BaseException:
            self.release()
            raise
        if self._known is not None:
            self.release()

    def _lock(self) -> int:
        """How much of the chunk is here. Raises ChunkBusy or what the session ended with, unless the chunk is known."""
        try:
            _check_open(self._record)
            self._fd = os.open(self._backend.part(self._record["_id"]), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            lock_range(self._fd, self._span)
        except (ScrayError, FileNotFoundError) as error:
            self._known, _ = self._backend.sessions.chunk(self._record["_id"], self.index)
            if self._known is not None:
                return self._span.size
            if isinstance(error, FileNotFoundError):
                raise NotFound("Upload session not found") from error
            raise
        self._known, here = self._backend.sessions.chunk(self._record["_id"], self.index)
        return here

    def _go_on(self, offset: int, here: int) -> None:
        """Take in what an earlier request has left in the file. Raises Conflict."""
        if self._known is not None or not 0 < offset <= here:
            raise Conflict(f"Of chunk {self.index} there are {here} bytes; ask how many before you go on.")
        while self._size < offset:
            data = os.pread(self._fd, min(READ_BYTES, offset - self._size), self._span.start + self._size)
            if not data:
                raise Conflict(f"Chunk {self.index} is shorter than it was.")
            self._digest.update(data)
            self._size += len(data)
        self._hinted = offset

    # --- the sink of the form ------------------------------------------------------------------------

    def open(self, filename: str) -> None:
        """The name of the part says nothing."""

    def write(self, data: Bytes) -> None:
        if self._size + len(data) > self._span.size:
            raise ChunkMismatch(f"Chunk size exceeds expected size: chunk {self.index} has {self._span.size} bytes.")
        self._digest.update(data)
        if self._known is None:
            write_all(self._fd, data, self._span.start + self._size)
        self._size += len(data)
        if self._is_worth_a_hint() and self._size < self._span.size:
            self._begin_hint()

    def _is_worth_a_hint(self) -> bool:
        waited = time.monotonic() - self._hinted_at >= HINT_SECONDS
        return waited and self._size - self._hinted >= HINT_BYTES and (self._note is None or self._note.done())

    def close(self) -> None:
        """More of the form may follow."""

    # --- the end -------------------------------------------------------------------------------------

    def leave_hint(self) -> None:
        """Note how much of the chunk is here, for a request that goes on behind it."""
        self._end_hint()
        self._begin_hint()
        self._end_hint()

    def _begin_hint(self) -> None:
        if self._known is None and self._size > self._hinted:
            hint = self._backend.sessions.hint
            self._note = self._backend.notes.submit(hint, self._record["_id"], self.index, self._size)
            self._hinted, self._hinted_at = self._size, time.monotonic()

    def _end_hint(self) -> None:
        """What is said of the chunk next is said after its hint; one that failed is none."""
        if self._note is not None:
            wait([self._note])

    def finish(self, promised: str | None) -> Acknowledged:
        """All bytes are here; `promised` is their SHA-256 in hex. Raises ChunkMismatch, ChunkDiffers, NotFound."""
        digest = self._digest.hexdigest()
        self._end_hint()
        try:
            self._check(digest, promised)
        except ChunkMismatch:
            self._forget_hint()
            raise
        if self._known is None:
            self._keep(digest)
        elif self._known != digest:
            raise ChunkDiffers(f"Chunk {self.index} was received before with other bytes, which stay.")
        total = self._record["total_chunks"]
        count = -(-self._record["received_bytes"] // self._record["chunk_bytes"])
        return Acknowledged(self.index, min(count, total), total)

    def _check(self, digest: str, promised: str | None) -> None:
        if self._size != self._span.size:
            raise ChunkMismatch(
                f"Chunk {self.index} is too short: {self._size} bytes came, {self._span.size} were expected."
            )
        if promised is not None and not hmac.compare_digest(digest, read_sha256(promised)):
            raise ChunkMismatch(f"Chunk hash mismatch: chunk {self.index} is not what was sent; send it again.")

    def _forget_hint(self) -> None:
        """Nobody shall go on behind bytes that turned out wrong."""
        if self._known is None and self._hinted:
            self._backend.sessions.hint(self._record["_id"], self.index, 0)
            self._hinted = self._size

    def _keep(self, digest: str) -> None:
        os.fdatasync(self._fd)
        record = self._backend.sessions.record_chunk(self._record, self.index, digest, self._size)
        if record is None:
            raise NotFound("Upload session not found")
        self._record = record

    def release(self) -> None:
        """Let go of the place; whoever waits for it may come."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def find_chunk(record: Document, index: int) -> int:
    """The index of a chunk that the session has. Raises BadRequest."""
    if not 0 <= index < record["total_chunks"]:
        raise BadRequest(f"Invalid chunk index: the chunks are 0 to {record['total_chunks'] - 1}.")
    return index


def read_sha256(text: str) -> str:
    """A SHA-256 as 64 hex digits, in small letters. Raises InvalidField."""
    digest = text.strip().lower()
    if not SHA256.fullmatch(digest):
        raise InvalidField("A SHA-256 is written as 64 hex digits.")
    return digest


def lock_range(fd: int, span: Span) -> None:
    """Keep everybody else from these bytes until `fd` is closed (open file description lock, Linux >= 3.15).

    Raises ChunkBusy when somebody else holds them.
    """
    wish = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, span.start, span.size, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, wish)
    except BlockingIOError as error:
        raise ChunkBusy from error


def write_all(fd: int, data: Bytes, start: int) -> None:
    """Write all of `data` at `start`, wherever other writers are; the disk begins with it at once."""
    view, at = memoryview(data), start
    while view:
        count = os.pwrite(fd, view, at)
        view, at = view[count:], at + count
    start_write_back(fd, start, at - start)


def make_part(path: Path, size_bytes: int) -> None:
    """The file of a new session, with holes where its bytes will be."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.ftruncate(fd, size_bytes)
    finally:
        os.close(fd)


def _check_open(record: Document) -> None:
    """Whether new bytes are still welcome."""
    if record["state"] != RECEIVING or record["cancel"]:
        raise CODES.get(record.get("error_code", ""), NotFound)("Upload session not found")
