"""One dataset on its way to the service: small files as one form each, large ones in chunks on several connections."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from scray.client.chunked import Chunked, Ended
from scray.client.diary import Diary
from scray.client.local import LocalFile, Watched
from scray.client.progress import Meter
from scray.client.repeat import each, persist
from scray.client.wire import Patience, Wire, segment, texts
from scray.errors import Conflict, NotFound, ScrayError
from scray.spans import CHUNK_BYTES

FORM_TRIES = 2  # then a file is sent in chunks, which need not begin anew


@dataclass(frozen=True)
class Upload:
    """What was sent: one job a file, all of one dataset."""

    dataset_uuid: str
    job_ids: tuple[str, ...]
    size_bytes: int

    @property
    def job_id(self) -> str:
        return self.job_ids[-1]


@dataclass(frozen=True)
class Manner:
    """How to send: connections at a time, and from which size in chunks of which size."""

    connections: int = 4
    form_bytes: int = CHUNK_BYTES
    chunk_bytes: int = CHUNK_BYTES


class Sending:
    """Sends files; what the diary says was acknowledged is not sent again."""

    def __init__(self, wire: Wire, form: Mapping[str, Any], diary: Diary, meter: Meter, manner: Manner) -> None:
        self._wire = wire
        self._form = form
        self._diary = diary
        self._meter = meter
        self._manner = manner
        self._lines = asyncio.Semaphore(manner.connections)

    async def run(self, files: list[LocalFile]) -> Upload:
        """Send all. The first goes alone, as it makes the dataset. Raises what refuses a file."""
        alone = len(files) == 1
        await self._send(files[0], alone=alone)
        await each(files[1:], self._manner.connections, self._send)
        dataset = self._diary.of(files[0].relative)["dataset"]
        jobs = tuple(self._diary.of(file.relative)["job"] for file in files)
        return Upload(dataset, jobs, sum(file.size_bytes for file in files))

    async def _send(self, file: LocalFile, *, alone: bool = False) -> None:
        known = self._diary.of(file.relative)
        if known and known.get("is") != file.fingerprint:
            await self._forget(file, known)
            known = {}
        if "job" not in known:
            self._diary.note(file.relative, **{"is": file.fingerprint})
            fields = self._fields(file, alone=alone)
            small = file.size_bytes <= self._manner.form_bytes and not known.get("session")
            reply = await (self._send_small(file, fields) if small else self._send_large(file, fields))
            self._diary.note(file.relative, job=reply["job_id"], dataset=reply["dataset_uuid"])
        self._meter.finish(file.relative)

    def _fields(self, file: LocalFile, *, alone: bool) -> dict[str, Any]:
        """The form of one file. A dataset of our own has its UUID from us, so that a repeated request finds it."""
        own: dict[str, Any] = {"dataset_identifier": self._diary.of("")["dataset"], "relative_path": file.relative}
        own["alone"] = alone and not self._form.get("dataset_identifier")
        return {**own, **self._form}

    def _key(self, file: LocalFile) -> dict[str, str]:
        """One key a file and round, of letters that every proxy lets pass."""
        text = f"{self._diary.of('')['key']}:{self._diary.of(file.relative).get('round', 0)}:{file.relative}"
        return {"Idempotency-Key": hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()}

    async def _forget(self, file: LocalFile, known: Mapping[str, Any]) -> None:
        """What was sent of a file that has changed since is of no use."""
        if known.get("session") and "job" not in known:
            with suppress(ScrayError):
                await self._wire.ask("DELETE", f"/api/upload/large/cancel/{segment(known['session'])}")
        self._diary.note(file.relative, session=None, round=known.get("round", 0) + 1)

    # --- one form --------------------------------------------------------------------------------------

    async def _send_small(self, file: LocalFile, fields: dict[str, Any]) -> dict[str, Any]:
        patience = Patience()
        for _ in range(FORM_TRIES):
            try:
                return await self._send_form(file, fields)
            except ScrayError as error:
                await patience.pause(error)
        try:
            return await self._send_large(file, fields)
        except Conflict:  # the form had arrived, only its answer had not; the key brings that
            return await self._send_form(file, fields)

    async def _send_form(self, file: LocalFile, fields: dict[str, Any]) -> dict[str, Any]:
        counted = 0

        def count(more: int) -> None:
            nonlocal counted
            counted += more
            self._meter.add(file.relative, more)

        async with self._lines:
            try:
                with file.open() as content:
                    part = (file.path.name, Watched(content, count), "application/octet-stream")
                    return await self._wire.ask(
                        "POST", "/api/upload/upload", data=texts(fields), files={"file": part}, headers=self._key(file)
                    )
            except ScrayError:
                self._meter.skip(file.relative, -counted)
                raise

    # --- chunks ------------------------------------------------------------------------------------------

    async def _send_large(self, file: LocalFile, fields: dict[str, Any]) -> dict[str, Any]:
        """In a session that is known, if there is one; in a new one where that has ended."""
        if session := self._diary.of(file.relative).get("session"):
            try:
                return await self._chunked(file, session).resume()
            except (NotFound, Ended):
                await self._forget(file, self._diary.of(file.relative))
                self._diary.note(file.relative, **{"is": file.fingerprint})
        begun = await self._begin(file, fields)
        self._diary.note(file.relative, session=begun["upload_id"])
        return await self._chunked(file, begun["upload_id"]).send(begun["chunk_size"])

    async def _begin(self, file: LocalFile, fields: dict[str, Any]) -> dict[str, Any]:
        told = {name: value for name, value in fields.items() if value is not None}
        asked = {**told, "filename": file.path.name, "file_size": file.size_bytes}
        asked["chunk_size"] = self._manner.chunk_bytes
        return await persist(
            lambda: self._wire.ask("POST", "/api/upload/initiate-chunked", json=asked, headers=self._key(file))
        )

    def _chunked(self, file: LocalFile, session: str) -> Chunked:
        return Chunked(self._wire, file, session, self._meter, self._lines, self._manner.connections)
