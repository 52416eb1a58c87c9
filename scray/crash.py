"""Named points at which a process may be killed, or stopped for a while: for tests of what others make of that.

A fault is set by making the file `SCRAY_FAULTS/<point>`. The first process that comes by takes the file away, by a
rename that only one can win, and sends itself the signal whose number is in it, or SIGKILL where it is empty.
Without SCRAY_FAULTS nothing ever happens.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

POINTS: Final = (
    "claimed",
    "hashed",
    "planned",
    "performed",
    "sealed",
    "publish noted",
    "publish taken",
    "publish checked",
    "publish renamed",
    "done",
)
FOLDER: Final = "SCRAY_FAULTS"


def reach(point: str) -> None:
    """Called where a test may end or stop the process; the file it took then carries the process's id."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    with suppress(FileNotFoundError):
        taken = Path(folder, f"{point}.{os.getpid()}")
        Path(folder, point).rename(taken)
        os.kill(os.getpid(), int(taken.read_text() or signal.SIGKILL))
