"""The service at a glance, for people who watch it, and the eight questions that they ask."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.backend import Backend
from api.datasets import SHOWN_IN_LISTS, show
from api.health import checks
from api.state import BackendOf
from scray.dataset import Dataset
from scray.errors import DatabaseError, ScrayError
from scray.questions import FAILED, Known, Place, answers
from scray.status import QUEUED
from scray.storage import HEADER, free_bytes

router = APIRouter(prefix="/api/v1", tags=["health"])
RUNNING_SHOWN, FAILED_SHOWN = 50, 3
DRIVER_SHOWN = ("name", "host", "alive", "age_seconds", "version", "resting", "slots", "cpus", "datasets",
                "speed_bytes_per_second", "left_out")  # fmt: skip


class Overview(BaseModel):
    """`queue`: how many are in each status; `oldest_seconds`: how long the first of each queue has waited."""

    checks: dict[str, str]
    queue: dict[str, int]
    oldest_seconds: dict[str, float]
    drivers: list[dict[str, Any]]
    running: list[dict[str, Any]]


class Question(BaseModel):
    question: str
    state: Literal["ok", "warn", "fail"]
    says: str
    todo: str


class Questions(BaseModel):
    """`dataset_uuid` is the dataset they were asked about, if one was named."""

    dataset_uuid: str | None
    questions: list[Question]


@router.get("/overview")
def overview(backend: BackendOf) -> Overview:
    """Checks, queue, drivers, and the datasets in work with their progress."""
    running, _ = backend.catalog.datasets({"lease.token": {"$gt": ""}}, limit=RUNNING_SHOWN)
    now = backend.queue.now()
    waits = {str(status): since for status in QUEUED if (since := backend.queue.oldest(status))}
    return Overview(
        checks=checks(backend),
        queue={str(status): count for status, count in backend.queue.counts().items()},
        oldest_seconds={name: max(0.0, (now - since).total_seconds()) for name, since in waits.items()},
        drivers=[show(driver, DRIVER_SHOWN) for driver in backend.catalog.drivers()],
        running=[show(document, SHOWN_IN_LISTS) for document in running],
    )


@router.get("/questions")
def questions(backend: BackendOf, dataset: str | None = None, user_email: str | None = None) -> Questions:
    """Is it running, how many wait, why not mine, did it fail, how to retry, where are the outputs, are paths and
    database right: eight answers, about one `dataset` or in general. They come without the database, too.
    """
    found = None
    places = [_place(path) for path in (backend.storage.upload, backend.storage.converted, backend.storage.logs)]
    try:
        found = Dataset.read(backend.catalog.find(dataset, user_email)) if dataset else None
        known = _known(backend, places, found)
    except DatabaseError as error:
        known = Known(error.message, places, result=str(backend.storage.converted))
    told = [Question(**asdict(answer)) for answer in answers(known)]
    return Questions(dataset_uuid=found.uuid if found else None, questions=told)


def _known(backend: Backend, places: list[Place], dataset: Dataset | None) -> Known:
    failed, _ = backend.catalog.datasets({"status": {"$in": [*map(str, FAILED)]}}, limit=FAILED_SHOWN)
    result = backend.storage.converted_dir(dataset.uuid) if dataset else backend.storage.converted
    return Known(
        "",
        places,
        backend.catalog.drivers(),
        backend.queue.counts(),
        {status: backend.queue.oldest(status) for status in QUEUED},
        [Dataset.read(document) for document in failed],
        dataset,
        _before(backend, dataset) if dataset else 0,
        str(result),
        [name for name in (HEADER,) if dataset and (result / name).is_file()],
        backend.queue.now(),
    )


def _before(backend: Backend, dataset: Dataset) -> int:
    """How many wait in the same queue since before this one."""
    earlier = {"status": dataset.status_text, "queued_at": {"$lt": dataset.queued_at or datetime.now(UTC)}}
    return backend.catalog.datasets(earlier, limit=1)[1]


def _place(path: Path) -> Place:
    try:
        return Place(str(path), path.is_dir() and os.access(path, os.W_OK | os.X_OK), free_bytes(path))
    except (OSError, ScrayError):
        return Place(str(path), False, None)
