"""How far a conversion is, told to the queue at most once a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from scray.dataset import Progress

PERIOD_SECONDS = 1.0
MEMORY_SECONDS = 10.0  # what happened longer ago hardly counts for the speed


class Meter:
    """Counts the bytes of one stage at a time. `tell` gets a Progress and whether work was finished since the last."""

    def __init__(self, tell: Callable[[Progress, bool], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.tell, self.clock = tell, clock
        self.stage, self.done, self.total, self.file = "", 0, 0, ""
        self.speed = 0.0
        self.advanced = self.untold = False
        self.told_at = self.counted_at = clock()

    def enter(self, stage: str, total_bytes: int = 0) -> None:
        """A new stage begins; told at once."""
        self.stage, self.done, self.total, self.file, self.speed = stage, 0, total_bytes, "", 0.0
        self.counted_at = self.clock()
        self._tell()

    def skip(self, done_bytes: int) -> None:
        """Bytes that were finished before: they count, but neither for the speed nor as something new."""
        self.done += done_bytes

    def add(self, done_bytes: int, file: str = "", *, new: bool = True) -> None:
        """Bytes that were finished just now; not `new` where every attempt does them again."""
        now = self.clock()
        passed = max(now - self.counted_at, 1e-6)
        weight = min(1.0, passed / MEMORY_SECONDS) if self.speed else 1.0
        self.speed += weight * (done_bytes / passed - self.speed)
        self.done, self.counted_at, self.advanced = self.done + done_bytes, now, self.advanced or new
        self.file, self.untold = file or self.file, True
        self.keep_told()

    def keep_told(self) -> None:
        """Tell what was counted and not told yet, once its time has come: the next bytes may be long in coming."""
        if self.untold and self.clock() - self.told_at >= PERIOD_SECONDS:
            self._tell()

    def _tell(self) -> None:
        self.told_at = self.clock()
        progress, advanced = self.progress(), self.advanced
        self.advanced = self.untold = False
        self.tell(progress, advanced)

    def progress(self) -> Progress:
        left = max(0, self.total - self.done)
        return Progress(
            stage=self.stage,
            done_bytes=self.done,
            total_bytes=self.total,
            percent=round(100 * min(1.0, self.done / self.total), 2) if self.total else 0.0,
            speed_bytes_per_second=self.speed,
            eta_seconds=left / self.speed if self.speed else None,
            current_file=self.file,
        )
