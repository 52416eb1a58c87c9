"""The names of everything that is measured: one table for the API's `/metrics`, for Ray's exporter, and for the docs.

Names are `scray_<noun>_<unit>`; counters count from the start of their process and end in `_total`, as Prometheus has
it (prometheus.io/docs/practices/naming). Through Ray's exporter the same names come with Ray's prefix, `ray_`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Metric:
    """One measured thing. `of`: what labels tell apart; `by`: which processes tell it."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    says: str
    of: tuple[str, ...] = ()
    by: tuple[str, ...] = ("api",)


DRIVER: Final = ("api", "driver")  # counted by drivers, passed on by the API from their heartbeats

METRICS: Final = (
    Metric("scray_queue_datasets", "gauge", "datasets in each status", ("status",)),
    Metric("scray_queue_oldest_seconds", "gauge", "how long the first in each queue has waited", ("status",)),
    Metric("scray_disk_free_bytes", "gauge", "what may still be written", ("folder",)),
    Metric("scray_upload_bytes_total", "counter", "bytes of bodies that this process received"),
    Metric("scray_driver_age_seconds", "gauge", "since the last heartbeat of each driver", ("driver",)),
    Metric("scray_driver_datasets", "gauge", "datasets that each driver holds", ("driver",)),
    Metric("scray_conversion_bytes_per_second", "gauge", "speed of all that each driver holds", ("driver",), DRIVER),
    Metric("scray_claims_total", "counter", "datasets taken from the queue", ("driver",), DRIVER),
    Metric("scray_bricks_total", "counter", "tasks of plans done", ("driver",), DRIVER),
    Metric("scray_converted_bytes_total", "counter", "bytes of sources that these tasks read", ("driver",), DRIVER),
    Metric("scray_datasets_total", "counter", "datasets published", ("driver",), DRIVER),
    Metric("scray_retries_total", "counter", "runs that failed and wait for another one", ("driver",), DRIVER),
    Metric("scray_failures_total", "counter", "runs that failed for good, by code", ("driver", "code"), DRIVER),
    Metric("scray_expiries_total", "counter", "datasets taken back from silent drivers", ("driver",), DRIVER),
    Metric("scray_task_seconds", "histogram", "how long tasks take, by stage", ("stage",), ("worker",)),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}
TASK_BOUNDS_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


def table() -> str:
    """The table of metrics for the documentation, in Markdown."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(one.of)} | {one.says} | {', '.join(one.by)} |" for one in METRICS
    ]
    return "\n".join(["| name | kind | labels | what it is | told by |", "|---|---|---|---|---|", *rows, ""])
