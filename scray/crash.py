"""Named points at which a process may be ended, as if it had been killed there: for tests of what is left behind.

A crash is set by making the file `SCRAY_FAULTS/<point>`. The first process that comes by takes the file away, by a
rename that only one can win, and ends at once: nothing is cleaned up. Without SCRAY_FAULTS nothing ever happens.
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
    """Called where a test may end the process; the file it took then carries the process's id."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    with suppress(FileNotFoundError):
        Path(folder, point).rename(Path(folder, f"{point}.{os.getpid()}"))
        os.kill(os.getpid(), signal.SIGKILL)
