"""What a driver has done since it started, counted from its events: for its heartbeat, and for Ray's metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from ray.util import metrics as ray_metrics

from scray.log import Action, Facts
from scray.metrics import BY_NAME, TASK_BOUNDS_SECONDS

COUNTED: Final[Mapping[Action, tuple[str, ...]]] = {
    Action.CLAIMED: ("scray_claims_total",),
    Action.TASK_DONE: ("scray_bricks_total", "scray_converted_bytes_total"),
    Action.CONVERTED: ("scray_datasets_total",),
    Action.RETRIED: ("scray_retries_total",),
    Action.FAILED: ("scray_failures_total",),
    Action.EXPIRED: ("scray_expiries_total",),
}
SPEED: Final = "scray_conversion_bytes_per_second"


class Tally:
    """Counts events; any thread."""

    def __init__(self, driver: str) -> None:
        self.driver = driver
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def hear(self, action: Action, facts: Facts) -> None:
        """Count one event under the names it has a part in."""
        for name in COUNTED.get(action, ()):
            code = facts.get("code", "") if "code" in BY_NAME[name].of else ""
            amount = facts.get("bytes", 0) if "bytes" in name else 1
            with self._lock:
                self._counts[name, code] += amount
            if amount:
                _counter(name).inc(amount, {"driver": self.driver, **({"code": code} if code else {})})

    def speed(self, bytes_per_second: float) -> None:
        """How fast everything is together, now."""
        _gauge(SPEED).set(bytes_per_second, {"driver": self.driver})

    def counts(self) -> list[dict[str, Any]]:
        """`name`, `code` (empty where it tells nothing apart) and `value` of everything that was counted."""
        with self._lock:
            return [{"name": name, "code": code, "value": value} for (name, code), value in self._counts.items()]


def took(stage: str, seconds: float) -> None:
    """A worker tells how long a task took."""
    _histogram("scray_task_seconds").observe(seconds, {"stage": stage})


@cache
def _counter(name: str) -> Any:
    return ray_metrics.Counter(name, BY_NAME[name].says, BY_NAME[name].of)


@cache
def _gauge(name: str) -> Any:
    return ray_metrics.Gauge(name, BY_NAME[name].says, BY_NAME[name].of)


@cache
def _histogram(name: str) -> Any:
    return ray_metrics.Histogram(name, BY_NAME[name].says, list(TASK_BOUNDS_SECONDS), BY_NAME[name].of)
