"""One piece on its way to the disk: how far it is, and its digest."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from scray.errors import ChecksumMismatch, RemoteChanged, ScrayError, SourceUnreachable, TooLarge
from scray.sources import RemoteFile, Source, checksum
from scray.sources.patience import TRIES, rest
from scray.spans import Span, hash_spans


def land(
    source: Source, file: RemoteFile, span: Span, part: Path, check: Callable[[], None]
) -> tuple[int, tuple[str, ...]]:
    """Fetch a span of a file to its place in `part`, flush it, and read it back: its bytes, and what they prove.

    `check` is called for every piece of data, and raises to give up. Raises what the source does, ChecksumMismatch
    where the disk has something else than was received.
    """
    if file.ranged:  # who fetches a range again writes the same bytes to the same place
        return _land(source, file, span, part, check)
    own = _own(part)
    landed = _land(source, file, span, own, check)
    own.replace(part)
    return landed


def _own(part: Path) -> Path:
    """A name for a file that begins anew when its line breaks: nobody who was given up cuts it short or replaces it."""
    for other in part.parent.glob(f"{part.name}-*"):
        other.unlink(missing_ok=True)
    return part.with_name(f"{part.name}-{secrets.token_hex(8)}")


def _land(
    source: Source, file: RemoteFile, span: Span, part: Path, check: Callable[[], None]
) -> tuple[int, tuple[str, ...]]:
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        landing = _Landing(fd, file, span, check)
        landing.fetch(source)
        os.fdatasync(fd)
    finally:
        os.close(fd)
    there = Span(span.start, span.start + landing.received)
    proof = checksum.part(file, there, there.stop if file.size is None else file.size)
    digests = hash_spans(part, proof.spans, proof.algorithm) if proof else ()
    if not file.checksum and digests != (landing.digest.hexdigest(),):
        raise ChecksumMismatch(f"'{file.path}' is not on the disk as it was received.")
    return landing.received, digests


class _Landing:
    def __init__(self, fd: int, file: RemoteFile, span: Span, check: Callable[[], None]) -> None:
        self._fd, self._file, self._span, self._check = fd, file, span, check
        self.received = 0
        self.digest = hashlib.sha256()

    def __call__(self, data: bytes) -> None:
        self._check()
        if self.received + len(data) > self._span.size:
            raise self._too_much()
        _write_all(self._fd, data, self._span.start + self.received)
        self.received += len(data)
        if not self._file.checksum:
            self.digest.update(data)

    def _too_much(self) -> ScrayError:
        name = self._file.path
        if self._file.size is None:
            return TooLarge(f"'{name}' is larger than the limit of {self._span.size:,} bytes (SCRAY_MAX_BYTES).")
        return RemoteChanged(f"The source sends more of '{name}' than it announced.")

    def fetch(self, source: Source) -> None:
        """All of the span; raises the last error when several tries in a row brought nothing."""
        fruitless = 0
        while self._span.size:
            before = self.received
            try:
                source.read(self._file, Span(self._span.start + before, self._span.stop), self)
                if self._file.size is None or self.received == self._span.size:
                    return
                error = SourceUnreachable(f"The source ended in the middle of '{self._file.path}'.")
            except SourceUnreachable as broken:
                error = broken
            fruitless = 0 if self.received > before and self._file.ranged else fruitless + 1
            if fruitless == TRIES:
                raise error
            if not self._file.ranged:
                self._start_again()
            rest(error, fruitless)

    def _start_again(self) -> None:
        self.received, self.digest = 0, hashlib.sha256()
        os.ftruncate(self._fd, 0)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
