"""How far an upload or a download has come: bytes, speed, time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 10.0
REPORT_SECONDS = 0.1


@dataclass(frozen=True)
class Progress:
    """One report: the file that has just moved, and all of them. Bytes that were there before count as sent, but
    not for the speed. `eta_seconds` is None while nobody can know.
    """

    file: str
    file_sent_bytes: int
    file_bytes: int
    sent_bytes: int
    total_bytes: int
    files_done: int
    files: int
    speed_bytes_per_second: float
    eta_seconds: float | None


Report = Callable[[Progress], None]


class Meter:
    """Adds up what every connection sends and reports it, a few times a second and at the end of each file."""

    def __init__(self, sizes: dict[str, int], report: Report | None) -> None:
        self._sizes = sizes
        self._report = report
        self._sent = dict.fromkeys(sizes, 0)
        self._all = self._moved = self._done = 0
        self._total = sum(sizes.values())
        self._window = deque([(time.monotonic(), 0)])
        self._said = 0.0

    def skip(self, file: str, count: int) -> None:
        """Bytes that are there already; fewer than nothing when some are wanted again."""
        self._sent[file] += count
        self._all += count
        self._tell(file)

    def add(self, file: str, count: int) -> None:
        """Bytes that were sent just now."""
        self._moved += count
        self.skip(file, count)

    def finish(self, file: str) -> None:
        """A file is there."""
        self._done += 1
        self._said = 0.0
        self.skip(file, self._sizes[file] - self._sent[file])

    def _tell(self, file: str) -> None:
        now = time.monotonic()
        if self._report is None or now - self._said < REPORT_SECONDS:
            return
        self._said = now
        speed = self._speed(now)
        eta = (self._total - self._all) / speed if speed else None
        shown = min(self._sent[file], self._sizes[file])  # what surrounds a file is sent too
        self._report(Progress(
            file, shown, self._sizes[file], min(self._all, self._total), self._total, self._done, len(self._sizes),
            speed, max(eta, 0.0) if eta is not None else None,
        ))  # fmt: skip

    def _speed(self, now: float) -> float:
        """Bytes per second of the last few seconds."""
        self._window.append((now, self._moved))
        while now - self._window[0][0] > WINDOW_SECONDS and len(self._window) > 2:
            self._window.popleft()
        began, moved = self._window[0]
        return (self._moved - moved) / (now - began) if now > began else 0.0
