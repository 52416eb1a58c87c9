"""The body of a request: read in pieces, with a limit on silence, checked against the digests that its sender promised.

`Content-Digest` and `Repr-Digest` are those of RFC 9530; of a request without content coding both mean the body.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.bound import DRAINED_BYTES, STREAMS
from scray.errors import BadRequest, DigestMismatch, TimedOut

IDLE_SECONDS = 300.0
BATCH_BYTES = 1 << 20
DIGEST_HEADERS = ("content-digest", "repr-digest")
ALGORITHMS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*")  # a byte sequence of RFC 8941


class Body:
    """The body of a request, as it comes."""

    def __init__(self, request: Request) -> None:
        self.length = _content_length(request)
        self._pieces = request.stream()
        self._received = 0
        self._broken: ClientDisconnect | TimedOut | None = None
        self._traffic = request.app.state.backend.traffic
        self._promises = [
            promise for name in DIGEST_HEADERS for promise in read_promises(request.headers.getlist(name))
        ]
        request.state.hang_up = self.is_long
        setattr(request.state, STREAMS, True)

    @property
    def is_promised(self) -> bool:
        """Whether the sender said what the digest of the whole will be."""
        return bool(self._promises)

    def is_long(self) -> bool:
        """Whether more is still to come than is worth reading when it is refused anyhow."""
        return self.length is None or self.length - self._received > DRAINED_BYTES

    async def pour(self, take: Callable[[bytes], None]) -> None:
        """Give the whole body to `take`, which may block, about a mebibyte at a time; the next is read meanwhile.

        When this returns or raises, `take` is not running. Raises TimedOut when the sender falls silent,
        DigestMismatch when the body is not what was promised.
        """
        taking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        taking.set_result(None)
        try:
            while batch := await self._next():
                await taking
                taking = asyncio.ensure_future(run_in_threadpool(self._hand_on, batch, take))
        finally:
            await taking
        for promise in self._promises:
            promise.check()

    def _hand_on(self, batch: bytes, take: Callable[[bytes], None]) -> None:
        for promise in self._promises:
            promise.update(batch)
        take(batch)

    async def _next(self) -> bytes:
        """The next batch, empty at the end; what came before a sender went is one, too."""
        if self._broken:
            raise self._broken
        held: list[bytes] = []
        try:
            async with asyncio.timeout(IDLE_SECONDS) as silence:
                await self._gather(held, silence)
        except ClientDisconnect as error:
            self._broken = error
        except TimeoutError:
            self._broken = TimedOut(f"Nothing came for {IDLE_SECONDS:.0f} seconds; the upload was given up.")
        batch = b"".join(held)
        if self._broken and not batch:
            raise self._broken
        return batch

    async def _gather(self, held: list[bytes], silence: asyncio.Timeout) -> None:
        now, size = asyncio.get_running_loop().time, 0
        async for piece in self._pieces:
            silence.reschedule(now() + IDLE_SECONDS)
            held.append(piece)
            size += len(piece)
            self._received += len(piece)
            self._traffic["upload_bytes"] += len(piece)
            if size >= BATCH_BYTES:
                return


class Promise:
    """One digest that a body shall have."""

    def __init__(self, algorithm: str, digest: bytes) -> None:
        self._digest = digest
        self._found: Any = ALGORITHMS[algorithm]()
        self.update = self._found.update

    def check(self) -> None:
        """Raises DigestMismatch."""
        if not hmac.compare_digest(self._found.digest(), self._digest):
            raise DigestMismatch


def read_promises(headers: list[str]) -> list[Promise]:
    """The promises in the lines of one header; unknown algorithms say nothing. Raises BadRequest."""
    members = [member for line in headers for member in line.split(",") if member.strip()]
    found = [_read_member(member) for member in members]
    return [Promise(algorithm, digest) for algorithm, digest in found if algorithm in ALGORITHMS]


def _read_member(member: str) -> tuple[str, bytes]:
    if (found := MEMBER.fullmatch(member)) is None:
        raise BadRequest("A digest header is not of the form 'sha-256=:<base64>:' (RFC 9530).")
    try:
        return found[1], base64.b64decode(found[2], validate=True)
    except ValueError as error:
        raise BadRequest("A digest header is not base64.") from error


def _content_length(request: Request) -> int | None:
    """What the server has already made sure is a number."""
    text = request.headers.get("content-length")
    return None if text is None else int(text)
