"""The client for programs that use asyncio; the other one is a face of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from scray.client.chunked import Chunked, Ended
from scray.client.diary import Diary, diary_path
from scray.client.fetching import Download, Fetching, read_links, read_list
from scray.client.local import find_files
from scray.client.progress import Meter, Report
from scray.client.repeat import persist
from scray.client.sending import Manner, Sending, Upload
from scray.client.wire import Wire, segment
from scray.errors import Conflict, EmptyInput, TimedOut, Unreachable
from scray.status import ENDS, read_status

POLL_SECONDS = 0.5
SLOWEST_POLL_SECONDS = 5.0
OUTAGES = 20  # times POLL_SECONDS: how long a restart of the service may take
STALL_SECONDS = 60.0


class AsyncScrayClient:
    """A connection to a scray service, used as a context manager.

    Raises the error the service names by its code, ServiceError for other answers, Unreachable for none; at once
    BadParameter for what is no address of a service. Uploads go on by themselves when a connection breaks.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        manner: Manner = Manner(),
        stall_seconds: float = STALL_SECONDS,
        state_folder: Path | None = None,
    ) -> None:
        self._wire = Wire(base_url, token, stall_seconds)
        self._manner = manner
        self._state_folder = state_folder

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._wire.close()

    # --- sending -----------------------------------------------------------------------------------

    async def upload(
        self,
        /,
        paths: Path | Sequence[Path],
        *,
        sensor: str,
        name: str,
        user_email: str,
        parameters: Mapping[str, Any] | None = None,
        on_progress: Report | None = None,
        resume: bool = True,
        **fields: str | bool | None,
    ) -> Upload:
        """Send a file, a folder, or several of both as one dataset; paths below a folder are kept.

        Of a folder, hidden files are left out. `fields` are further form fields (tags, folder, convert, …).
        The same call after a crash, of this process or the service, goes on where it was: what has been acknowledged is
        not sent again, unless `resume` is false. Raises EmptyInput when there is no file, or are
        empty ones only, SourceChanged when a file
        changes meanwhile, Conflict when another process is sending the same.
        """
        given = {name: value for name, value in fields.items() if value is not None}
        form: dict[str, Any] = {**given, "user_email": user_email, "dataset_name": name, "sensor": sensor}
        if parameters:
            form["conversion_parameters"] = json.dumps(dict(parameters))
        files = await asyncio.to_thread(find_files, paths)
        if not (any(file.size_bytes for file in files) or fields.get("dataset_identifier")):
            raise EmptyInput(f"There are empty files only, like {files[0].path}.")
        meter = Meter({file.relative: file.size_bytes for file in files}, on_progress)
        several = [paths] if isinstance(paths, Path) else paths
        path = diary_path(self._wire.base_url, form, several, self._state_folder)
        with Diary(path, fresh=not resume) as diary:
            return await Sending(self._wire, form, diary, meter, self._manner).run(files)

    async def resume_session(self, path: Path, upload_id: str, *, on_progress: Report | None = None) -> dict[str, Any]:
        """Send what a session lacks of a file, and complete it; the answer to that. Raises NotFound, Conflict."""
        [file] = await asyncio.to_thread(find_files, path)
        meter = Meter({file.relative: file.size_bytes}, on_progress)
        lines = asyncio.Semaphore(self._manner.connections)
        try:
            return await Chunked(self._wire, file, upload_id, meter, lines, self._manner.connections).resume()
        except Ended as error:
            raise Conflict("The upload session is over; send the file anew.") from error

    async def import_url(self, /, url: str, *, link_only: bool = False, **fields: Any) -> Upload:
        """Let the service fetch what is at an address; or only remember it. `fields` as for `upload`; and under one
        `idempotency_key` the service does it once, however often, and by whichever process, it is asked.
        """
        return await self._import("url", {"url": url, "link_only": link_only}, fields)

    async def import_s3(
        self, /, bucket: str, key: str, *, source: Mapping[str, Any] | None = None, **fields: Any
    ) -> Upload:
        """Let the service fetch an object, or all below a prefix that ends in `/`. `source` says with which rights
        (access_key_id and secret_access_key, profile, or anonymous) and from where (endpoint_url, region).
        """
        return await self._import("s3", {"bucket_name": bucket, "object_key": key, **(source or {})}, fields)

    async def import_drive(self, /, file: str, service_account: str | Path, **fields: Any) -> Upload:
        """Let the service fetch a file or folder (its id or link) of Google Drive by a service account's key."""
        account = service_account.read_text() if isinstance(service_account, Path) else service_account
        where = "folder_link" if "/folders/" in file else "file_id"
        return await self._import("google_drive", {where: file, "service_account_file": account}, fields)

    async def _import(self, source_type: str, config: Mapping[str, Any], fields: Mapping[str, Any]) -> Upload:
        form = {("dataset_name" if name == "name" else name): value for name, value in fields.items()}
        form["conversion_parameters"] = form.pop("parameters", None) or {}
        key = form.pop("idempotency_key", "")
        asked = {**form, "source_type": source_type, "source_config": dict(config)}
        reply = await self.ask_once("/api/upload/initiate", key, json=asked)
        return Upload(reply["dataset_uuid"], (reply["job_id"],), 0)

    async def ask(self, /, method: str, path: str, **values: Any) -> dict[str, Any]:
        """One request of any route; `values` are those of httpx (params, json, data)."""
        return await self._wire.ask(method, path, **values)

    async def ask_once(self, /, path: str, key: str = "", **values: Any) -> dict[str, Any]:
        """A POST that is made again until it is answered, and carried out once: under this idempotency key, else one
        of its own.
        """
        headers = {"Idempotency-Key": key or uuid4().hex}
        return await persist(lambda: self.ask("POST", path, headers=headers, **values))

    # --- following ---------------------------------------------------------------------------------

    async def job(self, job_id: str) -> dict[str, Any]:
        """One job: status, progress, speed, and the error if it failed."""
        return await self.ask("GET", f"/api/upload/status/{segment(job_id)}")

    async def jobs(self, /, user_email: str, **conditions: str | int) -> list[dict[str, Any]]:
        """One page of a user's jobs, the last touched first; conditions are `status`, `limit` and `offset`."""
        asked = {"user_id": user_email, **conditions}
        found: list[dict[str, Any]] = (await self.ask("GET", "/api/upload/jobs", params=asked))["jobs"]
        return found

    async def cancel(self, job_id: str) -> None:
        """Cancel a job, or by `upload_<uuid>` a dataset."""
        await self.ask("POST", f"/api/upload/cancel/{segment(job_id)}")

    async def status(self, identifier: str) -> dict[str, Any]:
        """Where a dataset (uuid, id, slug or name) is on its way."""
        return await self.ask("GET", f"/api/v1/datasets/{segment(identifier)}/status")

    async def dataset(self, identifier: str) -> dict[str, Any]:
        """The document of a dataset."""
        found: dict[str, Any] = (await self.ask("GET", f"/api/v1/datasets/{segment(identifier)}"))["dataset"]
        return found

    async def datasets(self, /, **conditions: str | int | bool) -> list[dict[str, Any]]:
        """One page of datasets; conditions are those of `GET /api/v1/datasets` (user_email, limit, …)."""
        found: list[dict[str, Any]] = (await self.ask("GET", "/api/v1/datasets", params=conditions))["datasets"]
        return found

    async def count(self, /, **conditions: str | int | bool) -> int:
        """How many datasets fit the conditions."""
        return int((await self.ask("GET", "/api/v1/datasets", params={**conditions, "limit": 1}))["total"])

    async def convert(self, identifier: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Queue a dataset that has ended for conversion; `parameters` take the place of all that it had."""
        body = {} if parameters is None else {"json": {"conversion_parameters": dict(parameters)}}
        return await self.ask("POST", f"/api/v1/datasets/{segment(identifier)}/convert", **body)

    async def logs(self, identifier: str, run: str = "", after: int = 0) -> dict[str, Any]:
        """A page of the log of a run (else the latest) of a dataset: `events`, and `next` for the page after it."""
        which: dict[str, Any] = {"after": after, **({"run": run} if run else {})}
        return await self._wire.ask("GET", f"/api/v1/datasets/{segment(identifier)}/logs", params=which)

    async def overview(self) -> dict[str, Any]:
        """Checks, queue, drivers, and the datasets in work."""
        return await self._wire.ask("GET", "/api/v1/overview")

    async def questions(self, identifier: str = "") -> list[dict[str, Any]]:
        """The answers to the eight questions, about a dataset or in general."""
        which = {"dataset": identifier} if identifier else {}
        found: list[dict[str, Any]] = (await self._wire.ask("GET", "/api/v1/questions", params=which))["questions"]
        return found

    async def download(self, identifier: str, folder: Path, *, on_progress: Report | None = None) -> Download:
        """Bring the result of a dataset that is done into a folder: several files at once, each verified by SHA-256.

        The same call again goes on where this one broke off, and fetches only what is missing or differs; what else
        is in the folder stays. Raises NotFound, Conflict when it is not done or another process is at it, RemoteChanged
        or ChecksumMismatch when it was converted anew meanwhile.
        """
        listed = await persist(lambda: self.ask("GET", f"/api/v1/datasets/{segment(identifier)}/files"))
        files, dataset = read_list(listed), str(listed.get("dataset_uuid") or identifier)
        folder.mkdir(parents=True, exist_ok=True)
        meter = Meter({file.path: file.size for file in files}, on_progress)
        with Diary(diary_path("", {}, [folder], self._state_folder)):  # one process a folder
            fetching = Fetching(self._wire, dataset, folder, meter, self._manner.connections)
            fetched = await fetching.run(files, read_links(listed))
        return Download(dataset, len(files), sum(file.size for file in files), fetched)

    async def health(self) -> dict[str, Any]:
        """What works and what does not; raises when uploads cannot be received."""
        return await self.ask("GET", "/health")

    async def watch(self, identifier: str, timeout_seconds: float | None = None) -> AsyncIterator[dict[str, Any]]:
        """The status of a dataset each time it changed, until it has ended.

        A service that cannot be reached is asked again for a while. Raises TimedOut.
        """
        end = time.monotonic() + (timeout_seconds if timeout_seconds is not None else float("inf"))
        last: dict[str, Any] = {}
        pause = POLL_SECONDS
        while True:
            found = await self._patient_status(identifier)
            if found != last:
                yield found
                last, pause = found, POLL_SECONDS
            if read_status(found["status"]) in ENDS:
                return
            if time.monotonic() > end:
                raise TimedOut(f"The dataset is still '{found['status']}' after {timeout_seconds:g} seconds.")
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, SLOWEST_POLL_SECONDS)

    async def wait(self, identifier: str, timeout_seconds: float | None = None) -> dict[str, Any]:
        """The status a dataset ends with. Raises TimedOut."""
        last: dict[str, Any] = {}
        async for found in self.watch(identifier, timeout_seconds):
            last = found
        return last

    async def _patient_status(self, identifier: str) -> dict[str, Any]:
        for _ in range(OUTAGES):
            try:
                return await self.status(identifier)
            except Unreachable:
                await asyncio.sleep(POLL_SECONDS)
        return await self.status(identifier)
