"""The clients of large files that programs of the ScientistCloud portal know: one session a file, in chunks."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

from scray.client.aio import AsyncScrayClient
from scray.client.face import Face, blocking
from scray.client.local import find_files
from scray.client.scientistcloud import Fraction, fractions
from scray.client.sending import Manner
from scray.client.wire import segment
from scray.spans import CHUNK_BYTES, Span

PLACE = "/api/upload/large"


class AsyncLargeFileUploadClient:
    """Sends a file in chunks of `chunk_size` bytes, `max_concurrent` at a time. A context manager."""

    def __init__(
        self,
        base_url: str = "http://localhost:5001",
        timeout: float = 300,
        chunk_size: int = CHUNK_BYTES,
        max_concurrent: int = 8,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.chunk_size = chunk_size
        manner = Manner(max_concurrent, form_bytes=0, chunk_bytes=chunk_size)
        self._inner = AsyncScrayClient(self.base_url, manner=manner, stall_seconds=timeout)

    async def __aenter__(self) -> AsyncLargeFileUploadClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._inner.close()

    async def upload_file_chunked(
        self,
        file_path: str,
        user_email: str,
        dataset_name: str,
        sensor: str,
        convert: bool = True,
        is_public: bool = False,
        folder: str | None = None,
        team_uuid: str | None = None,
        progress_callback: Fraction | None = None,
        resume_upload_id: str | None = None,
    ) -> str:
        """Send a file, or what a session lacks of it; the id of the session, which is its job too."""
        path, report = Path(file_path), fractions(progress_callback)
        if resume_upload_id:
            await self._inner.resume_session(path, resume_upload_id, on_progress=report)
            return resume_upload_id
        upload = await self._inner.upload(
            path, sensor=sensor, name=dataset_name, user_email=user_email, convert=convert, is_public=is_public,
            folder=folder, team_uuid=team_uuid, on_progress=report,
        )  # fmt: skip
        return upload.job_id

    upload_file_parallel = upload_file_chunked

    async def calculate_file_hash(self, file_path: str) -> str:
        """SHA-256 of a file, in hex."""
        [file] = find_files(Path(file_path))
        return await file.digest(Span(0, file.size_bytes))

    async def initiate_large_upload(
        self,
        file_path: str,
        user_email: str,
        dataset_name: str,
        sensor: str,
        convert: bool = True,
        is_public: bool = False,
        folder: str | None = None,
        team_uuid: str | None = None,
    ) -> dict[str, Any]:
        """Begin a session for a file; `upload_id`, `chunk_size` and `total_chunks` among its answer."""
        path, digest = Path(file_path), await self.calculate_file_hash(file_path)
        asked = {
            "filename": path.name, "file_size": path.stat().st_size, "file_hash": digest,
            "user_email": user_email, "dataset_name": dataset_name, "sensor": sensor, "convert": convert,
            "is_public": is_public, "folder": folder, "team_uuid": team_uuid, "chunk_size": self.chunk_size,
        }  # fmt: skip
        return await self._inner.ask_once(f"{PLACE}/initiate", json=asked)

    async def upload_chunk(self, upload_id: str, chunk_index: int, chunk_data: bytes) -> dict[str, Any]:
        """Send one chunk; sending it again is harmless."""
        digest = {"chunk_hash": (await asyncio.to_thread(hashlib.sha256, chunk_data)).hexdigest()}
        path = f"{PLACE}/chunk/{segment(upload_id)}/{chunk_index}"
        return await self._inner.ask("PUT", path, content=chunk_data, params=digest)

    async def get_chunk_status(self, upload_id: str) -> dict[str, Any]:
        """Which chunks are there."""
        return await self._inner.ask("GET", f"{PLACE}/status/{segment(upload_id)}")

    async def get_resume_info(self, upload_id: str) -> dict[str, Any]:
        """Which chunks are missing."""
        return await self._inner.ask("GET", f"{PLACE}/resume/{segment(upload_id)}")

    async def complete_upload(self, upload_id: str) -> dict[str, Any]:
        """All chunks were sent."""
        return await self._inner.ask("POST", f"{PLACE}/complete/{segment(upload_id)}")

    async def cancel_upload(self, upload_id: str) -> dict[str, Any]:
        """Give the session up."""
        return await self._inner.ask("DELETE", f"{PLACE}/cancel/{segment(upload_id)}")

    async def get_upload_limits(self) -> dict[str, Any]:
        """How much may be sent in chunks."""
        return await self._inner.ask("GET", f"{PLACE}/limits")

    async def health_check(self) -> dict[str, Any]:
        """How many files are being sent in chunks."""
        return await self._inner.ask("GET", "/health/large-files")

    async def wait_for_completion(
        self, upload_id: str, timeout: float = 3600, poll_interval: float = 5
    ) -> dict[str, Any]:
        """The status of a session all of whose chunks are there. Raises TimeoutError."""
        end = time.monotonic() + timeout
        while not (found := await self.get_chunk_status(upload_id))["is_complete"]:
            if time.monotonic() > end:
                raise TimeoutError(f"Chunks are still missing after {timeout:g} seconds.")
            await asyncio.sleep(poll_interval)
        return found


class LargeFileUploadClient(Face[AsyncLargeFileUploadClient]):
    """AsyncLargeFileUploadClient without asyncio: the same calls, arguments and results."""

    def __init__(
        self,
        base_url: str = "http://localhost:5001",
        timeout: float = 300,
        chunk_size: int = CHUNK_BYTES,
        max_workers: int = 4,
    ) -> None:
        super().__init__(AsyncLargeFileUploadClient(base_url, timeout, chunk_size, max_workers))
        self.base_url, self.chunk_size = self.inner.base_url, chunk_size

    upload_file_chunked = blocking(AsyncLargeFileUploadClient.upload_file_chunked)
    upload_file_parallel = blocking(AsyncLargeFileUploadClient.upload_file_chunked)
    calculate_file_hash = blocking(AsyncLargeFileUploadClient.calculate_file_hash)
    initiate_large_upload = blocking(AsyncLargeFileUploadClient.initiate_large_upload)
    upload_chunk = blocking(AsyncLargeFileUploadClient.upload_chunk)
    get_chunk_status = blocking(AsyncLargeFileUploadClient.get_chunk_status)
    get_resume_info = blocking(AsyncLargeFileUploadClient.get_resume_info)
    complete_upload = blocking(AsyncLargeFileUploadClient.complete_upload)
    cancel_upload = blocking(AsyncLargeFileUploadClient.cancel_upload)
    get_upload_limits = blocking(AsyncLargeFileUploadClient.get_upload_limits)
    health_check = blocking(AsyncLargeFileUploadClient.health_check)
    wait_for_completion = blocking(AsyncLargeFileUploadClient.wait_for_completion)
