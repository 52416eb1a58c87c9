"""The client for every other program: each call runs the asynchronous one on a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import functools
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from scray.client.aio import STALL_SECONDS, AsyncScrayClient
from scray.client.progress import Report
from scray.client.sending import Manner, Upload

END_SECONDS = 5.0

T = TypeVar("T")


class Loop:
    """An event loop in a thread. A call that is interrupted (Ctrl-C) ends what it was waiting for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="scray-client", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Until `close`; a callback of the caller's that exits ends only the call it belongs to."""
        while True:
            try:
                return self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                continue

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, or its error."""
        over = threading.Event()
        future = asyncio.run_coroutine_threadsafe(_until_over(work, over), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            over.wait(END_SECONDS)
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@functools.cache
def shared_loop() -> Loop:
    """The one of this process, begun when it is first needed, ended with the process."""
    loop = Loop()
    atexit.register(loop.close)
    return loop


class ScrayClient:
    """AsyncScrayClient for programs without asyncio: the same calls, arguments and errors.

    client = ScrayClient("http://127.0.0.1:8000")
    upload = client.upload(Path("scan.tif"), sensor="TIFF", name="scan", user_email="a@b.org")
    print(client.wait(upload.dataset_uuid)["status"])
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
        self._inner = AsyncScrayClient(
            base_url, token, manner=manner, stall_seconds=stall_seconds, state_folder=state_folder
        )
        self._run = shared_loop().run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._run(self._inner.close())

    def upload(
        self,
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
        return self._run(
            self._inner.upload(
                paths, sensor=sensor, name=name, user_email=user_email, parameters=parameters, on_progress=on_progress,
                resume=resume, **fields,
            )
        )  # fmt: skip

    def import_url(self, url: str, *, link_only: bool = False, **fields: Any) -> Upload:
        return self._run(self._inner.import_url(url, link_only=link_only, **fields))

    def import_s3(self, bucket: str, key: str, *, source: Mapping[str, Any] | None = None, **fields: Any) -> Upload:
        return self._run(self._inner.import_s3(bucket, key, source=source, **fields))

    def import_drive(self, file: str, service_account: str | Path, **fields: Any) -> Upload:
        return self._run(self._inner.import_drive(file, service_account, **fields))

    def job(self, job_id: str) -> dict[str, Any]:
        return self._run(self._inner.job(job_id))

    def jobs(self, user_email: str, **conditions: str | int) -> list[dict[str, Any]]:
        return self._run(self._inner.jobs(user_email, **conditions))

    def cancel(self, job_id: str) -> None:
        self._run(self._inner.cancel(job_id))

    def status(self, identifier: str) -> dict[str, Any]:
        return self._run(self._inner.status(identifier))

    def dataset(self, identifier: str) -> dict[str, Any]:
        return self._run(self._inner.dataset(identifier))

    def datasets(self, **conditions: str | int | bool) -> list[dict[str, Any]]:
        return self._run(self._inner.datasets(**conditions))

    def count(self, **conditions: str | int | bool) -> int:
        return self._run(self._inner.count(**conditions))

    def convert(self, identifier: str) -> dict[str, Any]:
        return self._run(self._inner.convert(identifier))

    def logs(self, identifier: str, run: str = "", after: int = 0) -> dict[str, Any]:
        return self._run(self._inner.logs(identifier, run, after))

    def overview(self) -> dict[str, Any]:
        return self._run(self._inner.overview())

    def questions(self, identifier: str = "") -> list[dict[str, Any]]:
        return self._run(self._inner.questions(identifier))

    def health(self) -> dict[str, Any]:
        return self._run(self._inner.health())

    def watch(self, identifier: str, timeout_seconds: float | None = None) -> Iterator[dict[str, Any]]:
        found = aiter(self._inner.watch(identifier, timeout_seconds))
        while (status := self._run(_following(found))) is not None:
            yield status

    def wait(self, identifier: str, timeout_seconds: float | None = None) -> dict[str, Any]:
        return self._run(self._inner.wait(identifier, timeout_seconds))


async def _until_over(work: Coroutine[Any, Any, T], over: threading.Event) -> T:
    try:
        return await work
    finally:
        over.set()


async def _following(statuses: Any) -> dict[str, Any] | None:
    found: dict[str, Any] | None = await anext(statuses, None)
    return found
