"""One open TIFF stack that stays open between the tasks of a process: most of them read the same one.

Opening a stack walks all its pages, which takes longer than reading a brick of it. No more than one is kept, and it is
closed before another one is opened: what a task was projected to hold is what the process holds.
"""

from __future__ import annotations

import atexit
import threading
from dataclasses import dataclass
from pathlib import Path

from converters.tiffseries import TiffStack

Identity = tuple[int, int, int]  # inode, time of the last change, size


@dataclass(frozen=True)
class Opened:
    """An open stack, and which files it was made of when it was opened."""

    stack: TiffStack
    files: dict[str, Identity]

    def is_still(self, root: Path, name: str, series: int | None) -> bool:
        """Whether it is what opening this now would give."""
        same = (self.stack.root, self.stack.name, self.stack.asked) == (root, name, series)
        return same and bool(self.files) and self.files == _identities(self.stack)


_lock = threading.Lock()
_kept: list[Opened] = []


def open_stack(root: Path, name: str, series: int | None) -> Opened:
    """The stack that was kept if it is this one and none of its files was changed since, else a new one."""
    kept = _swap([])
    if kept and kept[0].is_still(root, name, series):
        return kept[0]
    _close(kept)
    stack = TiffStack(root, name, series)
    return Opened(stack, _identities(stack))


def keep(opened: Opened) -> None:
    """Leave a stack to the next task; the one that was kept before is closed."""
    _close(_swap([opened]))


def close_kept() -> None:
    """Close what is kept."""
    _close(_swap([]))


atexit.register(close_kept)


def _swap(opened: list[Opened]) -> list[Opened]:
    with _lock:
        former, _kept[:] = _kept[:], opened
    return former


def _close(kept: list[Opened]) -> None:
    for opened in kept:
        opened.stack.close()


def _identities(stack: TiffStack) -> dict[str, Identity]:
    """Which files these are now; none where one is gone."""
    try:
        stats = {part: Path(part).stat() for part in stack.parts}
    except OSError:
        return {}
    return {part: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for part, stat in stats.items()}
