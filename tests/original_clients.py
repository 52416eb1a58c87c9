"""The requests that existing clients of the job-processing service make, in their order and with their quirks.

Written from the description of their calls; used as an independent client. Every reply must be a success (as they call
`raise_for_status`) and have the keys that they read.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import requests

CHUNK_BYTES = 104_857_600  # their own constant; what the server answers is not looked at
ENDS = {"completed", "failed", "cancelled"}
RESULT = {"job_id", "status", "message", "upload_type"}


class Original:
    """One session of `requests` against one base URL."""

    def __init__(self, base_url: str, timeout: float = 60) -> None:
        self.base_url, self.timeout = base_url.rstrip("/"), timeout
        self.session = requests.Session()
        self.session.trust_env = False

    def close(self) -> None:
        self.session.close()

    def ask(self, method: str, path: str, keys: set[str], **values: Any) -> dict[str, Any]:
        reply = self.session.request(method, f"{self.base_url}{path}", timeout=self.timeout, **values)
        reply.raise_for_status()
        found: dict[str, Any] = reply.json()
        assert keys <= found.keys(), f"{path} does not answer {keys - found.keys()}"
        return found

    # --- the unified client ------------------------------------------------------------------------------

    def upload_file(self, path: Path, email: str, name: str, sensor: str, **more: str) -> dict[str, Any]:
        form = {
            "user_email": email, "dataset_name": name, "sensor": sensor, "convert": "true", "is_public": "false",
            "original_file_path": str(path), "add_to_existing": "false", **more,
        }  # fmt: skip
        with path.open("rb") as file:
            part = {"file": (path.name, file, "application/octet-stream")}
            return self.ask("POST", "/api/upload/upload", RESULT, data=form, files=part)

    def upload_directory(self, folder: Path, email: str, name: str, sensor: str, **more: str) -> list[dict[str, Any]]:
        uuid, results = str(uuid4()), []
        for number, path in enumerate(path for path in folder.rglob("*") if path.is_file()):
            below = path.parent.relative_to(folder)
            place = {"folder": str(below)} if str(below) != "." else {}
            joins = {"dataset_identifier": uuid, "add_to_existing": str(number > 0).lower()}
            results.append(self.upload_file(path, email, name, sensor, **joins, **place, **more))
        return results

    def upload_by_path(self, path: str, email: str, name: str, sensor: str) -> dict[str, Any]:
        """Booleans as Python writes them, and a field that nobody reads."""
        form = {
            "file_path": path, "user_email": email, "dataset_name": name, "sensor": sensor, "convert": "True",
            "is_public": "False", "dataset_uuid": str(uuid4()),
        }  # fmt: skip
        return self.ask("POST", "/api/upload/upload-path", RESULT, data=form)

    def initiate(self, source: str, config: dict[str, Any], email: str, name: str, sensor: str) -> dict[str, Any]:
        asked = {
            "source_type": source, "source_config": config, "user_email": email, "dataset_name": name,
            "sensor": sensor, "convert": True, "is_public": False, "folder": None, "team_uuid": None,
        }  # fmt: skip
        return self.ask("POST", "/api/upload/initiate", RESULT | {"estimated_duration"}, json=asked)

    def status(self, job_id: str) -> dict[str, Any]:
        found = self.ask("GET", f"/api/upload/status/{job_id}", {"job_id", "status", "progress_percentage"})
        assert f"{found['progress_percentage']:.1f}"
        return found

    def wait(self, job_id: str, seconds: float = 60) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while (found := self.status(job_id))["status"] not in ENDS:
            assert time.monotonic() < end, f"{job_id} is still {found['status']}"
            time.sleep(0.1)
        return found

    def jobs(self, email: str, **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "/api/upload/jobs", {"jobs"}, params={"user_id": email, **more})[
            "jobs"
        ]
        return found

    # --- the plain client --------------------------------------------------------------------------------

    def upload_local_file(self, path: Path, email: str, name: str, sensor: str) -> dict[str, Any]:
        form = {"user_email": email, "dataset_name": name, "sensor": sensor, "convert": True, "is_public": False}
        with path.open("rb") as file:
            return self.ask("POST", "/api/upload/local/upload", {"job_id"}, data=form, files={"file": file})

    # --- the client of large files -----------------------------------------------------------------------

    def begin_large(self, path: Path, email: str, name: str, sensor: str, *, convert: bool = True) -> dict[str, Any]:
        asked = {
            "filename": path.name, "file_size": path.stat().st_size, "file_hash": sha256_of(path), "user_email": email,
            "dataset_name": name, "sensor": sensor, "convert": convert, "is_public": False, "folder": None,
            "team_uuid": None,
        }  # fmt: skip
        keys = {"upload_id", "chunk_size", "total_chunks"}
        return self.ask("POST", "/api/upload/large/initiate", keys, json=asked)

    def send_chunk(self, upload_id: str, index: int, data: bytes) -> dict[str, Any]:
        return self.ask(
            "POST", f"/api/upload/large/chunk/{upload_id}/{index}", {"message", "uploaded_chunks", "total_chunks"},
            data={"chunk_hash": hashlib.sha256(data).hexdigest()}, files={"chunk": data},
        )  # fmt: skip

    def send_missing(self, path: Path, upload_id: str, workers: int = 1) -> list[int]:
        """What a resumed client does; the chunks that it sent."""
        found = self.ask("GET", f"/api/upload/large/resume/{upload_id}", {"missing_chunks", "can_resume"})
        if not found["can_resume"]:
            raise ValueError("cannot resume")
        with ThreadPoolExecutor(workers) as pool:
            list(
                pool.map(
                    lambda index: self.send_chunk(upload_id, index, chunk_of(path, index)), found["missing_chunks"]
                )
            )
        return list(found["missing_chunks"])

    def complete(self, upload_id: str) -> dict[str, Any]:
        keys = {"message", "file_path", "file_size", "job_submitted"}
        return self.ask("POST", f"/api/upload/large/complete/{upload_id}", keys)

    def chunk_status(self, upload_id: str) -> dict[str, Any]:
        keys = {"upload_id", "uploaded_chunks", "total_chunks", "is_complete", "progress_percentage"}
        return self.ask("GET", f"/api/upload/large/status/{upload_id}", keys)

    def cancel_large(self, upload_id: str) -> None:
        self.ask("DELETE", f"/api/upload/large/cancel/{upload_id}", {"message"})


async def upload_file_async(url: str, path: Path, email: str, name: str, sensor: str) -> dict[str, Any]:
    """What the asynchronous client sends: a form of aiohttp, whose length is not announced."""
    form = aiohttp.FormData()
    fields = {"user_email": email, "dataset_name": name, "sensor": sensor, "convert": "true", "is_public": "false"}
    for field, value in {**fields, "original_file_path": str(path), "add_to_existing": "false"}.items():
        form.add_field(field, value)
    with path.open("rb") as file:
        form.add_field("file", file, filename=path.name, content_type="application/octet-stream")
        async with aiohttp.ClientSession() as session, session.post(f"{url}/api/upload/upload", data=form) as reply:
            reply.raise_for_status()
            found: dict[str, Any] = await reply.json()
            return found


def chunk_of(path: Path, index: int) -> bytes:
    with path.open("rb") as file:
        file.seek(index * CHUNK_BYTES)
        return file.read(CHUNK_BYTES)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
