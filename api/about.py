"""What this service is and what it takes."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.state import BackendOf
from scray.sensors import SENSORS
from scray.spans import CHUNK_BYTES

VERSION = "0.1.0"
MEBIBYTE = 1 << 20
TEBIBYTE = 1 << 40
DAY_SECONDS = 86_400
SOURCES = ("local", "google_drive", "s3", "url", "path")
BASE_SECONDS = {"local": 60, "google_drive": 300, "s3": 180, "url": 120, "path": 60}
SECONDS_PER_MEGABYTE = 2
REQUIRED_PARAMETERS = {
    "google_drive": ["file_id", "service_account_file"],
    "s3": ["bucket_name", "object_key", "access_key_id", "secret_access_key"],
    "url": ["url"],
    "path": ["path"],
    "local": ["file"],
}

router = APIRouter(tags=["about"])


class SupportedSources(BaseModel):
    source_types: list[str]
    sensor_types: list[str]
    required_parameters: dict[str, list[str]]
    optional_parameters: dict[str, list[str]]
    large_file_threshold_mb: int


class Limits(BaseModel):
    """Sizes in bytes, and the same in binary mega- and terabytes."""

    max_file_size_bytes: int
    max_file_size_tb: float
    large_file_threshold_bytes: int
    large_file_threshold_mb: int
    chunk_size_bytes: int
    chunk_size_mb: int
    resumable_upload_timeout_days: float
    supported_source_types: list[str]


class Estimate(BaseModel):
    """A rough guess that existing clients show; what really happens is in the status of the job."""

    source_type: str
    estimated_seconds: float
    estimated_minutes: float
    file_size_mb: float | None


@router.get("/")
def about() -> dict[str, str]:
    """Name, version, and where the documentation is."""
    return {
        "message": "scray: uploads become streamable, multi-resolution datasets",
        "version": VERSION,
        "description": "Upload scientific data, follow its conversion, find the result.",
        "docs": "/docs",
        "redoc": "/redoc",
        "large_file_threshold_mb": str(CHUNK_BYTES // MEBIBYTE),
    }


@router.get("/api/upload/supported-sources")
def supported_sources() -> SupportedSources:
    """Where data may come from, and which sensors there are."""
    return SupportedSources(
        source_types=list(SOURCES),
        sensor_types=list(SENSORS),
        required_parameters=REQUIRED_PARAMETERS,
        optional_parameters={source: ["folder", "team_uuid"] for source in SOURCES},
        large_file_threshold_mb=CHUNK_BYTES // MEBIBYTE,
    )


@router.get("/api/upload/limits")
def limits(backend: BackendOf) -> Limits:
    """How much may be sent."""
    most = backend.settings.max_bytes
    return Limits(
        max_file_size_bytes=most,
        max_file_size_tb=most / TEBIBYTE,
        large_file_threshold_bytes=CHUNK_BYTES,
        large_file_threshold_mb=CHUNK_BYTES // MEBIBYTE,
        chunk_size_bytes=CHUNK_BYTES,
        chunk_size_mb=CHUNK_BYTES // MEBIBYTE,
        resumable_upload_timeout_days=backend.settings.session_seconds / DAY_SECONDS,
        supported_source_types=list(SOURCES),
    )


@router.get("/api/upload/estimate-time")
def estimate_time(
    source_type: Literal["local", "google_drive", "s3", "url", "path"],
    file_size_mb: Annotated[float | None, Query(ge=0, le=1e12, allow_inf_nan=False)] = None,
) -> Estimate:
    """About how long an upload of so many megabytes takes, from such a source."""
    seconds = BASE_SECONDS[source_type] + SECONDS_PER_MEGABYTE * (file_size_mb or 0)
    return Estimate(
        source_type=source_type,
        estimated_seconds=seconds,
        estimated_minutes=round(seconds / 60, 2),
        file_size_mb=file_size_mb,
    )
