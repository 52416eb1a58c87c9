"""The logs of a dataset's runs: what the driver told of each, line by line."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.state import BackendOf
from scray.runlog import read, runs

router = APIRouter(prefix="/api/v1/datasets", tags=["datasets"])


class LogPage(BaseModel):
    """`runs` has every run with a log, the latest last; `events` are of `run`, and `next` is where to go on from."""

    success: bool = True
    dataset_uuid: str
    runs: list[str]
    run: str | None
    events: list[dict[str, Any]]
    next: int


@router.get("/{identifier}/logs")
def get_logs(
    identifier: str,
    backend: BackendOf,
    run: str | None = None,
    after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
    user_email: str | None = None,
) -> LogPage:
    """What happened in a run (else the latest), from `after`, the `next` of the page before; at most 256 KiB of it."""
    uuid = backend.catalog.find(identifier, user_email)["uuid"]
    folder = backend.storage.log_dir(uuid)
    names = runs(folder)
    chosen = run or (names[-1] if names else None)
    events, place = read(folder, chosen, after) if chosen else ([], 0)
    return LogPage(dataset_uuid=uuid, runs=names, run=chosen, events=events, next=place)
