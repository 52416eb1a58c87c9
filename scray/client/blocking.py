"""The client for programs without asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scray.client.aio import STALL_SECONDS, AsyncScrayClient
from scray.client.face import Face, blocking, shared_loop
from scray.client.sending import Manner


class ScrayClient(Face[AsyncScrayClient]):
    """AsyncScrayClient without asyncio: the same calls, arguments and errors.

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
        super().__init__(
            AsyncScrayClient(base_url, token, manner=manner, stall_seconds=stall_seconds, state_folder=state_folder)
        )

    upload = blocking(AsyncScrayClient.upload)
    resume_session = blocking(AsyncScrayClient.resume_session)
    import_url = blocking(AsyncScrayClient.import_url)
    import_s3 = blocking(AsyncScrayClient.import_s3)
    import_drive = blocking(AsyncScrayClient.import_drive)
    ask = blocking(AsyncScrayClient.ask)
    job = blocking(AsyncScrayClient.job)
    jobs = blocking(AsyncScrayClient.jobs)
    cancel = blocking(AsyncScrayClient.cancel)
    status = blocking(AsyncScrayClient.status)
    dataset = blocking(AsyncScrayClient.dataset)
    datasets = blocking(AsyncScrayClient.datasets)
    count = blocking(AsyncScrayClient.count)
    convert = blocking(AsyncScrayClient.convert)
    logs = blocking(AsyncScrayClient.logs)
    overview = blocking(AsyncScrayClient.overview)
    questions = blocking(AsyncScrayClient.questions)
    download = blocking(AsyncScrayClient.download)
    health = blocking(AsyncScrayClient.health)
    wait = blocking(AsyncScrayClient.wait)

    def watch(self, identifier: str, timeout_seconds: float | None = None) -> Iterator[dict[str, Any]]:
        """The status of a dataset each time it changed, until it has ended. Raises TimedOut."""
        found = aiter(self.inner.watch(identifier, timeout_seconds))
        while (status := shared_loop().run(_following(found))) is not None:
            yield status


async def _following(statuses: Any) -> dict[str, Any] | None:
    found: dict[str, Any] | None = await anext(statuses, None)
    return found
