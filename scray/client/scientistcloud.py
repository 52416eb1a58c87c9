"""The clients that programs of the ScientistCloud portal know: their names, arguments and results, our implementation.

Large files go in chunks, broken connections are made again, and the same call after a crash goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scray.client.aio import AsyncScrayClient
from scray.client.face import Face, blocking
from scray.client.local import files_below
from scray.client.progress import Progress
from scray.client.sending import Upload
from scray.client.wire import segment
from scray.errors import BadParameter, ScrayError
from scray.spans import CHUNK_BYTES

ENDS = frozenset({"completed", "failed", "cancelled"})
JOB_FIELDS = (
    "job_id", "status", "progress_percentage", "bytes_uploaded", "bytes_total", "message", "error", "created_at",
    "updated_at",
)  # fmt: skip

Fraction = Callable[[float], None]


class Reply(dict[str, Any]):
    """A record whose fields are keys as well: there were clients of both kinds."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        self[name] = value


@dataclass
class UploadResult(Reply):
    """What became of sending one file. `upload_type` is `standard` or `chunked`; `estimated_duration` in seconds."""

    job_id: str
    status: str
    message: str
    upload_type: str
    estimated_duration: int | None = None


@dataclass
class JobStatus(Reply):
    """One job. Times are ISO 8601; `status` ends with `completed`, `failed` or `cancelled`. What else the service says
    of it (`dataset_uuid`, `speed_mbps`, `eta_seconds`, `current_file`, …) is under its key.
    """

    job_id: str
    status: str
    progress_percentage: float
    bytes_uploaded: int
    bytes_total: int
    message: str
    error: str | None
    created_at: str
    updated_at: str


class AsyncScientistCloudUploadClient:
    """Sends files and follows them; `timeout` seconds is how long a connection may stand still. A context manager."""

    def __init__(self, base_url: str = "http://localhost:5000", timeout: float = 300) -> None:
        self.base_url = base_url.rstrip("/")
        self._inner = AsyncScrayClient(self.base_url, stall_seconds=timeout)

    async def __aenter__(self) -> AsyncScientistCloudUploadClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._inner.close()

    # --- sending -----------------------------------------------------------------------------------

    async def upload_file(
        self,
        file_path: str,
        user_email: str,
        dataset_name: str,
        sensor: str,
        convert: bool = True,
        is_public: bool = False,
        folder: str | None = None,
        team_uuid: str | None = None,
        dataset_identifier: str | None = None,
        add_to_existing: bool = False,
        progress_callback: Fraction | None = None,
    ) -> UploadResult:
        """Send one file. `folder` is its sub-folder in the dataset when `dataset_identifier` is given, else a label."""
        path = Path(file_path)
        fields: dict[str, Any] = {"convert": convert, "is_public": is_public, "team_uuid": team_uuid, "folder": folder}
        if dataset_identifier:
            below = f"{folder}/{path.name}" if folder else path.name
            fields |= {"dataset_identifier": dataset_identifier, "folder": None, "relative_path": below}
        upload = await self._inner.upload(
            path, sensor=sensor, name=dataset_name, user_email=user_email, on_progress=fractions(progress_callback),
            add_to_existing=add_to_existing, **fields,
        )  # fmt: skip
        return _result(upload.job_id, path)

    upload_local_file = upload_file

    async def upload_directory(
        self,
        directory_path: str,
        user_email: str,
        dataset_name: str,
        sensor: str,
        convert: bool = True,
        is_public: bool = False,
        folder: str | None = None,
        team_uuid: str | None = None,
        progress_callback: Fraction | None = None,
    ) -> list[UploadResult]:
        """Send all files of a folder as one dataset; a result a file. If they cannot be sent, each says why."""
        path = Path(directory_path)
        files = await asyncio.to_thread(files_below, path)
        try:
            upload: Upload = await self._inner.upload(
                path, sensor=sensor, name=dataset_name, user_email=user_email, convert=convert, is_public=is_public,
                on_progress=fractions(progress_callback), folder=folder, team_uuid=team_uuid,
            )  # fmt: skip
        except ScrayError as error:
            return [UploadResult("", "failed", error.message, "standard") for _ in files]
        return [_result(job, file) for job, file in zip(upload.job_ids, files, strict=True)]

    async def upload_directory_from_source(
        self, source_type: str, source_config: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> list[UploadResult]:
        """A folder of this machine (`local`, with `directory_path`), of a bucket or of a drive. Raises BadParameter."""
        if source_type == "local":
            return await self.upload_directory(source_config["directory_path"], *args, **kwargs)
        if source_type == "url":
            raise BadParameter("An address has no folders; use initiate_url_upload.")
        return [await self.upload_from_source(source_type, source_config, *args, **kwargs)]

    async def upload_file_by_path(
        self,
        file_path: str,
        user_email: str,
        dataset_name: str,
        sensor: str,
        convert: bool = True,
        is_public: bool = False,
        folder: str | None = None,
        team_uuid: str | None = None,
        dataset_uuid: str | None = None,
    ) -> UploadResult:
        """Let the service take a file that lies on its own disk."""
        form = {
            "file_path": file_path, "user_email": user_email, "dataset_name": dataset_name, "sensor": sensor,
            "convert": convert, "is_public": is_public, "folder": folder, "team_uuid": team_uuid,
            "dataset_identifier": dataset_uuid,
        }  # fmt: skip
        given = {name: str(value) for name, value in form.items() if value is not None}
        return _told(await self._inner.ask_once("/api/upload/upload-path", data=given))

    async def upload_from_source(
        self,
        source_type: str,
        source_config: Mapping[str, Any],
        user_email: str,
        dataset_name: str,
        sensor: str,
        convert: bool = True,
        is_public: bool = False,
        folder: str | None = None,
        team_uuid: str | None = None,
    ) -> UploadResult:
        """Let the service fetch data itself."""
        asked = {
            "source_type": source_type, "source_config": dict(source_config), "user_email": user_email,
            "dataset_name": dataset_name, "sensor": sensor, "convert": convert, "is_public": is_public,
            "folder": folder, "team_uuid": team_uuid,
        }  # fmt: skip
        return _told(await self._inner.ask_once("/api/upload/initiate", json=asked))

    async def initiate_google_drive_upload(
        self, file_id: str, service_account_file: str, *args: Any, **kwargs: Any
    ) -> UploadResult:
        """Further arguments are those of `upload_from_source` after `source_config`."""
        config = {"file_id": file_id, "service_account_file": service_account_file}
        return await self.upload_from_source("google_drive", config, *args, **kwargs)

    async def initiate_s3_upload(
        self, bucket_name: str, object_key: str, access_key_id: str, secret_access_key: str, *args: Any, **kwargs: Any
    ) -> UploadResult:
        """Further arguments are those of `upload_from_source` after `source_config`."""
        where = {"bucket_name": bucket_name, "object_key": object_key}
        config = {**where, "access_key_id": access_key_id, "secret_access_key": secret_access_key}
        return await self.upload_from_source("s3", config, *args, **kwargs)

    async def initiate_url_upload(self, url: str, *args: Any, **kwargs: Any) -> UploadResult:
        """Further arguments are those of `upload_from_source` after `source_config`."""
        return await self.upload_from_source("url", {"url": url}, *args, **kwargs)

    # --- following ---------------------------------------------------------------------------------

    async def get_upload_status(self, job_id: str) -> JobStatus:
        """How a job is getting on."""
        found = await self._inner.job(job_id)
        status = JobStatus(**{name: found[name] for name in JOB_FIELDS})
        status.update(found)
        return status

    async def wait_for_completion(self, job_id: str, timeout: float = 3600, poll_interval: float = 5) -> JobStatus:
        """The status a job ends with. Raises TimeoutError."""
        end = time.monotonic() + timeout
        while (found := await self.get_upload_status(job_id)).status not in ENDS:
            if time.monotonic() > end:
                raise TimeoutError(f"The job is still '{found.status}' after {timeout:g} seconds.")
            await asyncio.sleep(poll_interval)
        return found

    async def cancel_upload(self, job_id: str) -> dict[str, Any]:
        """Stop a job and all of its dataset."""
        return await self._inner.ask("POST", f"/api/upload/cancel/{segment(job_id)}")

    async def list_upload_jobs(
        self, user_email: str, status: str | None = None, limit: int = 50, offset: int = 0
    ) -> dict[str, Any]:
        """One page of a user's jobs, under `jobs`."""
        asked = {"user_id": user_email, "limit": limit, "offset": offset, **({"status": status} if status else {})}
        return await self._inner.ask("GET", "/api/upload/jobs", params=asked)

    async def get_supported_sources(self) -> dict[str, Any]:
        """Where data may come from."""
        return await self._inner.ask("GET", "/api/upload/supported-sources")

    async def get_upload_limits(self) -> dict[str, Any]:
        """How much may be sent."""
        return await self._inner.ask("GET", "/api/upload/limits")

    async def estimate_upload_time(self, source_type: str, file_size_mb: float | None = None) -> dict[str, Any]:
        """About how long an upload takes: `estimated_seconds`, `estimated_minutes`."""
        asked = {"source_type": source_type, **({} if file_size_mb is None else {"file_size_mb": file_size_mb})}
        return await self._inner.ask("GET", "/api/upload/estimate-time", params=asked)

    async def health_check(self) -> dict[str, Any]:
        """What works and what does not."""
        return await self._inner.ask("GET", "/health")

    async def get_api_info(self) -> dict[str, Any]:
        """What the service says of itself."""
        return await self._inner.ask("GET", "/")


class ScientistCloudUploadClient(Face[AsyncScientistCloudUploadClient]):
    """AsyncScientistCloudUploadClient without asyncio: the same calls, arguments and results."""

    def __init__(self, base_url: str = "http://localhost:5000", timeout: float = 300) -> None:
        super().__init__(AsyncScientistCloudUploadClient(base_url, timeout))
        self.base_url = self.inner.base_url

    upload_file = blocking(AsyncScientistCloudUploadClient.upload_file)
    upload_local_file = blocking(AsyncScientistCloudUploadClient.upload_file)
    upload_directory = blocking(AsyncScientistCloudUploadClient.upload_directory)
    upload_directory_from_source = blocking(AsyncScientistCloudUploadClient.upload_directory_from_source)
    upload_file_by_path = blocking(AsyncScientistCloudUploadClient.upload_file_by_path)
    upload_from_source = blocking(AsyncScientistCloudUploadClient.upload_from_source)
    initiate_google_drive_upload = blocking(AsyncScientistCloudUploadClient.initiate_google_drive_upload)
    initiate_s3_upload = blocking(AsyncScientistCloudUploadClient.initiate_s3_upload)
    initiate_url_upload = blocking(AsyncScientistCloudUploadClient.initiate_url_upload)
    get_upload_status = blocking(AsyncScientistCloudUploadClient.get_upload_status)
    wait_for_completion = blocking(AsyncScientistCloudUploadClient.wait_for_completion)
    cancel_upload = blocking(AsyncScientistCloudUploadClient.cancel_upload)
    list_upload_jobs = blocking(AsyncScientistCloudUploadClient.list_upload_jobs)
    get_supported_sources = blocking(AsyncScientistCloudUploadClient.get_supported_sources)
    get_upload_limits = blocking(AsyncScientistCloudUploadClient.get_upload_limits)
    estimate_upload_time = blocking(AsyncScientistCloudUploadClient.estimate_upload_time)
    health_check = blocking(AsyncScientistCloudUploadClient.health_check)
    get_api_info = blocking(AsyncScientistCloudUploadClient.get_api_info)


def fractions(callback: Fraction | None) -> Callable[[Progress], None] | None:
    """A report of ours as the part, from 0 to 1, that is there."""
    if callback is None:
        return None
    return lambda one: callback(one.sent_bytes / max(one.total_bytes, 1))


def _result(job_id: str, path: Path) -> UploadResult:
    kind = "standard" if path.stat().st_size <= CHUNK_BYTES else "chunked"
    return UploadResult(job_id, "queued", f"Upload of '{path.name}' accepted", kind)


def _told(reply: Mapping[str, Any]) -> UploadResult:
    kind = reply.get("upload_type", "standard")
    return UploadResult(reply["job_id"], reply["status"], reply["message"], kind, reply.get("estimated_duration"))
