"""The Python client: send files, follow them, cancel them. It needs nothing but httpx.

client = Client("http://127.0.0.1:5000")
upload = client.upload_path(Path("scan.tif"), sensor="TIFF", name="scan", user_email="a@b.org")
print(client.wait(upload.dataset_uuid)["status"])
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from scray.errors import BadParameter, EmptyInput, ServiceError, TimedOut, Unreachable, every_error
from scray.status import ENDS, read_status

POLL_SECONDS = 0.5
SLOWEST_POLL_SECONDS = 5.0
OUTAGES = 20  # times POLL_SECONDS: how long a restart of the service may take
CONNECT_SECONDS = 10.0
REPLY_SECONDS = 300.0

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Upload:
    """What was sent: one job a file, all of one dataset."""

    dataset_uuid: str
    job_ids: tuple[str, ...]
    size_bytes: int

    @property
    def job_id(self) -> str:
        return self.job_ids[-1]


class Client:
    """A connection to a scray service. Raises the error the service names by its code, or ServiceError; at once
    BadParameter for what is no address of a service.
    """

    def __init__(self, base_url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx.Timeout(REPLY_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.Client(base_url=_address(base_url), headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # --- sending -----------------------------------------------------------------------------------

    def upload_path(
        self,
        path: Path,
        *,
        sensor: str,
        name: str,
        user_email: str,
        parameters: Mapping[str, Any] | None = None,
        on_progress: Progress | None = None,
        **fields: str | bool | None,
    ) -> Upload:
        """Send a file, or a folder as one dataset of many files whose paths below it are kept.

        Of a folder, hidden and empty files are left out. `on_progress` gets the number of bytes read since it
        was last called; `fields` are further form fields (tags, folder, convert, …). Raises EmptyInput when
        there is no file.
        """
        form: dict[str, Any] = {**fields, "user_email": user_email, "dataset_name": name, "sensor": sensor}
        if parameters:
            form["conversion_parameters"] = json.dumps(dict(parameters))
        if path.is_dir():
            return self._upload_folder(path, form, on_progress)
        reply = self._send(path, form, on_progress)
        return Upload(reply["dataset_uuid"], (reply["job_id"],), path.stat().st_size)

    def _upload_folder(self, folder: Path, form: dict[str, Any], on_progress: Progress | None) -> Upload:
        form = {"dataset_identifier": str(uuid.uuid4()), "add_to_existing": False, **form}
        jobs: list[str] = []
        size = 0
        for path in files_below(folder):
            relative = path.relative_to(folder).as_posix()
            reply = self._send(path, {**form, "relative_path": relative}, on_progress)
            form["add_to_existing"] = True
            jobs.append(reply["job_id"])
            size += path.stat().st_size
        if not jobs:
            raise EmptyInput(f"There is no file in {folder}.")
        return Upload(form["dataset_identifier"], tuple(jobs), size)

    def _send(self, path: Path, form: Mapping[str, Any], on_progress: Progress | None) -> dict[str, Any]:
        with path.open("rb", buffering=0) as file:
            content = _Watched(file, on_progress) if on_progress else file
            part = (path.name, content, "application/octet-stream")
            return self._ask("POST", "/api/upload/upload", data=_texts(form), files={"file": part})

    # --- following ---------------------------------------------------------------------------------

    def job(self, job_id: str) -> dict[str, Any]:
        """One job: status, progress, speed, and the error if it failed."""
        return self._ask("GET", f"/api/upload/status/{_segment(job_id)}")

    def cancel(self, job_id: str) -> None:
        """Cancel a job, or by `upload_<uuid>` a dataset."""
        self._ask("POST", f"/api/upload/cancel/{_segment(job_id)}")

    def status(self, identifier: str) -> dict[str, Any]:
        """Where a dataset (uuid, id, slug or name) is on its way."""
        return self._ask("GET", f"/api/v1/datasets/{_segment(identifier)}/status")

    def dataset(self, identifier: str) -> dict[str, Any]:
        """The document of a dataset."""
        found: dict[str, Any] = self._ask("GET", f"/api/v1/datasets/{_segment(identifier)}")["dataset"]
        return found

    def datasets(self, **conditions: str | int | bool) -> list[dict[str, Any]]:
        """One page of datasets; conditions are those of `GET /api/v1/datasets` (user_email, limit, …)."""
        found: list[dict[str, Any]] = self._ask("GET", "/api/v1/datasets", params=conditions)["datasets"]
        return found

    def count(self, **conditions: str | int | bool) -> int:
        """How many datasets fit the conditions."""
        return int(self._ask("GET", "/api/v1/datasets", params={**conditions, "limit": 1})["total"])

    def convert(self, identifier: str) -> dict[str, Any]:
        """Queue a dataset that has ended for conversion."""
        return self._ask("POST", f"/api/v1/datasets/{_segment(identifier)}/convert")

    def health(self) -> dict[str, Any]:
        """What works and what does not; raises when uploads cannot be received."""
        return self._ask("GET", "/health")

    def watch(self, identifier: str, timeout_seconds: float | None = None) -> Iterator[dict[str, Any]]:
        """The status of a dataset each time it changed, until it has ended.

        A service that cannot be reached is asked again for a while. Raises TimedOut.
        """
        end = time.monotonic() + (timeout_seconds if timeout_seconds is not None else float("inf"))
        last: dict[str, Any] = {}
        pause = POLL_SECONDS
        while True:
            found = self._patient_status(identifier)
            if found != last:
                yield found
                last, pause = found, POLL_SECONDS
            if read_status(found["status"]) in ENDS:
                return
            if time.monotonic() > end:
                raise TimedOut(f"The dataset is still '{found['status']}' after {timeout_seconds:g} seconds.")
            time.sleep(pause)
            pause = min(pause * 1.2, SLOWEST_POLL_SECONDS)

    def wait(self, identifier: str, timeout_seconds: float | None = None) -> dict[str, Any]:
        """The status a dataset ends with. Raises TimedOut."""
        *_, last = self.watch(identifier, timeout_seconds)
        return last

    def _patient_status(self, identifier: str) -> dict[str, Any]:
        for _ in range(OUTAGES):
            try:
                return self.status(identifier)
            except Unreachable:
                time.sleep(POLL_SECONDS)
        return self.status(identifier)

    def _ask(self, method: str, path: str, **values: Any) -> dict[str, Any]:
        try:
            reply = self._http.request(method, path, **values)
        except httpx.TransportError as error:
            raise Unreachable(f"{self._http.base_url} could not be reached: {error}") from error
        if reply.is_success:
            return _content(reply)
        raise _refusal(reply)


class _Watched:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, on_progress: Progress) -> None:
        self._file = file
        self._on_progress = on_progress
        self.fileno = file.fileno

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._on_progress(len(data))
        return data


def files_below(folder: Path) -> list[Path]:
    """The files of a folder that are worth sending, in the order of their paths."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size)
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _texts(form: Mapping[str, Any]) -> dict[str, str]:
    words = {True: "true", False: "false"}
    return {
        name: words[value] if isinstance(value, bool) else str(value)
        for name, value in form.items()
        if value is not None
    }


def _address(text: str) -> httpx.URL:
    with suppress(httpx.InvalidURL):
        url = httpx.URL(text)
        if url.scheme in ("http", "https") and url.host and " " not in url.host and (url.port or 0) < 1 << 16:
            return url
    raise BadParameter(f"{text!r} is not the address of a service: write it like http://127.0.0.1:8000.")


def _segment(text: str) -> str:
    return quote(text, safe="")


def _content(reply: httpx.Response) -> dict[str, Any]:
    try:
        content = reply.json()
    except ValueError as error:
        raise ServiceError(f"{reply.url} did not answer with JSON; is it a scray service?") from error
    if not isinstance(content, dict):
        raise ServiceError(f"{reply.url} did not answer with an object; is it a scray service?")
    return content


def _refusal(reply: httpx.Response) -> Exception:
    """The error that the service named, as if it had been raised here."""
    content = _content(reply)
    code = content.get("code")
    kind = next((error for error in every_error() if error.code == code), ServiceError)
    return kind(str(content.get("detail") or f"{reply.url} answered {reply.status_code}."))
