"""Seconds by stage: a lap is charged to the stage that it ends."""

from __future__ import annotations

import time


class Stopwatch:
    """`lap(stage)` adds the seconds since the last lap to that stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
