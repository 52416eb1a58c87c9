"""Whether this service can do its work: the database answers, a driver is there, the disk has room."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response

from api.backend import Backend
from api.state import BackendOf
from scray.errors import DatabaseError
from scray.questions import NOBODY_KNOWS, left_out
from scray.spans import CHUNK_BYTES
from scray.storage import free_bytes

OK = "ok"
LEAST_FREE_BYTES = 256 << 20
MEBIBYTE = 1 << 20
NEEDED = ("database", "driver", "disk")  # a node that is left out is work for the operator, the others go on
TEBIBYTE = 1 << 40

router = APIRouter(tags=["health"])


@router.get("/healthz")
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": OK}


@router.get("/readyz", responses={503: {"model": dict[str, str], "description": "Something is missing"}})
def ready(backend: BackendOf, response: Response) -> dict[str, str]:
    """Whether uploads are received and converted: 200, else 503 and what is missing."""
    found = checks(backend)
    good = {found[part] for part in NEEDED} == {OK}
    response.status_code = 200 if good else 503
    return {"status": OK if good else "not ready", **found}


@router.get("/health", responses={503: {"model": dict[str, str], "description": "Uploads cannot be received"}})
def health(backend: BackendOf, response: Response) -> dict[str, str]:
    """healthy; degraded when no driver converts; unhealthy (503) when uploads cannot be received."""
    found = checks(backend)
    receiving = found["database"] == found["disk"] == OK
    response.status_code = 200 if receiving else 503
    well = "healthy" if found["driver"] == OK else "degraded"
    return {
        "status": well if receiving else "unhealthy",
        "timestamp": datetime.now(UTC).isoformat(),
        "upload_type": "unified",
        "large_file_threshold_mb": str(CHUNK_BYTES // MEBIBYTE),
        "max_file_size_tb": f"{backend.settings.max_bytes / TEBIBYTE:g}",
        **found,
    }


def checks(backend: Backend) -> dict[str, str]:
    """Each part by name: `ok`, or a sentence."""
    try:
        drivers = backend.catalog.drivers()
    except DatabaseError as error:
        parts = {"driver": NOBODY_KNOWS, "nodes": NOBODY_KNOWS}
        return {"database": error.message, **parts, "disk": _disk(backend)}
    nodes = " ".join(left_out(drivers)) or OK
    return {"database": OK, "driver": _driver(drivers), "nodes": nodes, "disk": _disk(backend)}


def _driver(drivers: list[dict[str, Any]]) -> str:
    living = [driver for driver in drivers if driver["alive"]]
    if living:
        return OK if any(not driver.get("resting") for driver in living) else "Drained: `scray resume` goes on."
    ages = [driver["age_seconds"] for driver in drivers]
    return f"No driver has answered for {min(ages):.0f} seconds." if ages else "No driver has ever answered."


def _disk(backend: Backend) -> str:
    try:
        free = free_bytes(backend.storage.upload)
    except OSError as error:
        return f"The upload folder cannot be read: {error.strerror}."
    return OK if free >= LEAST_FREE_BYTES else f"Only {free // MEBIBYTE} MiB are free."
