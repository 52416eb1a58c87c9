"""One large file, in chunks on several connections: nothing that was acknowledged is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from scray.client.local import LocalFile
from scray.client.progress import Meter
from scray.client.repeat import each, persist
from scray.client.wire import Patience, Wire, segment
from scray.errors import ChunkDiffers, ChunkMismatch, Conflict, MissingChunks, ScrayError, SourceChanged
from scray.spans import Span

PLACE = "/api/upload/large"
WHOLE_HASH_BYTES = 1 << 40  # larger files are proved by the digests of their chunks alone
ROUNDS = 3
OVER = frozenset({"failed", "cancelled"})


class Ended(ScrayError):
    """The session is over; the file is to be sent in a new one."""

    code = "session-ended"


class Chunked:
    """One session. Raises SourceChanged when the file changed meanwhile, Ended when the session is over."""

    def __init__(
        self, wire: Wire, file: LocalFile, session: str, meter: Meter, lines: asyncio.Semaphore, connections: int
    ) -> None:
        self._wire = wire
        self._file = file
        self._session = segment(session)
        self._meter = meter
        self._lines = lines
        self._connections = connections
        self._chunk_bytes, self._fresh = 0, True

    async def send(self, chunk_bytes: int) -> dict[str, Any]:
        """Send a file of which nothing is there yet; the answer to its completion."""
        self._chunk_bytes, self._fresh = chunk_bytes, True
        return await self._through(range(-(-self._file.size_bytes // chunk_bytes)))

    async def resume(self) -> dict[str, Any]:
        """Send what is missing."""
        found = await self._ask_missing()
        if found["state"] in OVER:
            raise Ended
        self._chunk_bytes, self._fresh = found["chunk_size"], False
        missing = found["missing_chunks"]
        self._meter.skip(self._file.relative, self._file.size_bytes - self._size_of(missing))
        return await self._through(missing)

    async def _through(self, chunks: Sequence[int]) -> dict[str, Any]:
        whole = asyncio.create_task(self._whole())
        try:
            for _ in range(ROUNDS):
                await each(chunks, self._connections, self._send)
                with suppress(MissingChunks):
                    return await self._complete(await whole)
                chunks, self._fresh = (await self._ask_missing())["missing_chunks"], False
                self._meter.skip(self._file.relative, -self._size_of(chunks))
            raise MissingChunks
        finally:
            whole.cancel()

    async def _ask_missing(self) -> dict[str, Any]:
        return await persist(lambda: self._wire.ask("GET", f"{PLACE}/resume/{self._session}"))

    async def _complete(self, digest: str | None) -> dict[str, Any]:
        ending = {"file_hash": digest}
        return await persist(lambda: self._wire.ask("POST", f"{PLACE}/complete/{self._session}", json=ending))

    async def _whole(self) -> str | None:
        """SHA-256 of the file, found while its chunks are sent."""
        size = self._file.size_bytes
        return await self._file.digest(Span(0, size)) if size <= WHOLE_HASH_BYTES else None

    def _span(self, index: int) -> Span:
        return Span(index * self._chunk_bytes, min((index + 1) * self._chunk_bytes, self._file.size_bytes))

    def _size_of(self, chunks: Sequence[int]) -> int:
        return sum(self._span(index).size for index in chunks)

    async def _send(self, index: int) -> None:
        async with self._lines:
            path = f"{PLACE}/chunk/{self._session}/{index}"
            await _Chunk(self._wire, self._file, path, self._span(index), self._meter).send(fresh=self._fresh)


class _Chunk:
    """A chunk, sent from where the last connection broke off."""

    def __init__(self, wire: Wire, file: LocalFile, path: str, span: Span, meter: Meter) -> None:
        self._wire = wire
        self._file = file
        self._path = path
        self._span = span
        self._meter = meter
        self._counted = self._farthest = 0
        self._patience = Patience()

    async def send(self, *, fresh: bool) -> None:
        """`fresh`: nothing of it can be there."""
        digest = await self._file.digest(self._span)
        changed = False
        while True:
            try:
                here = 0 if fresh else await self._here()
                if here < self._span.size:
                    await self._put(digest, here)
                return self._count_to(self._span.size)
            except ChunkDiffers as error:
                raise SourceChanged(f"{self._file.path} was changed while it was being sent.") from error
            except ChunkMismatch as error:
                if changed:
                    raise SourceChanged(f"{self._file.path} was changed while it was being sent.") from error
                digest, changed = await self._file.digest(self._span), True
            except ScrayError as error:
                if isinstance(error, Conflict):  # the broken request had come further than was known
                    error.retry_after_seconds = 0.0
                await self._patience.pause(error)
            fresh = False

    async def _here(self) -> int:
        """How much of the chunk need not be sent."""
        found = await self._wire.ask("GET", self._path)
        here = self._span.size if found["received"] else int(found["received_bytes"])
        if here > self._farthest:
            self._farthest = here
            self._patience.renew()
        return here

    async def _put(self, digest: str, offset: int) -> None:
        self._count_to(offset)
        rest = Span(self._span.start + offset, self._span.stop)
        asked = {"chunk_hash": digest, "offset": offset}
        await self._wire.send(self._path, self._file.stream(rest, self._count), rest.size, params=asked)

    def _count(self, more: int) -> None:
        self._counted += more
        self._patience.moved()
        self._meter.add(self._file.relative, more)

    def _count_to(self, offset: int) -> None:
        """What was sent in vain does not count; what was there need not be sent."""
        self._meter.skip(self._file.relative, offset - self._counted)
        self._counted = offset
