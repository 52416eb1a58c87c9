"""`/metrics` for Prometheus: the queue and the drivers as the database knows them, and what this process received.

Drivers count; their heartbeats bring the counts here, so that any API process tells of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from api.backend import Backend
from api.state import BackendOf
from scray.metrics import BY_NAME
from scray.status import QUEUED
from scray.storage import free_bytes

router = APIRouter(tags=["health"])
Sample = tuple[tuple[str, ...], float]  # the values of the labels, and of the metric


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(backend: BackendOf) -> Response:
    """What is measured, in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(Look(backend))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class Look:
    """What one question of Prometheus is answered with."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def describe(self) -> list[Metric]:
        """Nothing is asked of the database before `collect`."""
        return []

    def collect(self) -> Iterator[Metric]:
        drivers = [driver for driver in self._backend.catalog.drivers() if driver["alive"]]
        samples = {**_queue(self._backend), **_here(self._backend), **_drivers(drivers), **_counted(drivers)}
        for name, found in samples.items():
            yield _family(name, found)


def _family(name: str, samples: list[Sample]) -> Metric:
    kind = CounterMetricFamily if BY_NAME[name].kind == "counter" else GaugeMetricFamily
    family = kind(name, BY_NAME[name].says, labels=BY_NAME[name].of)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _queue(backend: Backend) -> dict[str, list[Sample]]:
    now = backend.queue.now()
    oldest = {status: backend.queue.oldest(status) for status in QUEUED}
    return {
        "scray_queue_datasets": [((str(status),), count) for status, count in backend.queue.counts().items()],
        "scray_queue_oldest_seconds": [((str(status),), _age(now, since)) for status, since in oldest.items()],
    }


def _age(now: datetime, since: datetime | None) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0


def _here(backend: Backend) -> dict[str, list[Sample]]:
    folders = {"upload": backend.storage.upload, "converted": backend.storage.converted}
    return {
        "scray_disk_free_bytes": [((name,), free_bytes(folder)) for name, folder in folders.items()],
        "scray_upload_bytes_total": [((), backend.traffic["upload_bytes"])],
    }


def _drivers(drivers: list[dict[str, Any]]) -> dict[str, list[Sample]]:
    return {
        "scray_driver_age_seconds": [((one["name"],), one["age_seconds"]) for one in drivers],
        "scray_driver_datasets": [((one["name"],), len(one.get("datasets", ()))) for one in drivers],
        "scray_conversion_bytes_per_second": [
            ((one["name"],), one.get("speed_bytes_per_second", 0.0)) for one in drivers
        ],
    }


def _counted(drivers: list[dict[str, Any]]) -> dict[str, list[Sample]]:
    """What each driver has counted since it started; what it has not met yet is 0."""
    found: dict[str, list[Sample]] = {}
    for name, metric in BY_NAME.items():
        if metric.kind != "counter" or "driver" not in metric.by:
            continue
        samples = [
            ((driver["name"], count["code"])[: len(metric.of)], float(count["value"]))
            for driver in drivers
            for count in driver.get("counts", ())
            if count["name"] == name
        ]
        known = {labels[0] for labels, _ in samples}
        nothing = [((one["name"],), 0.0) for one in drivers if one["name"] not in known and len(metric.of) == 1]
        found[name] = [*samples, *nothing]
    return found
