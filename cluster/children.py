"""The processes of a local stack: started so that they die with their parent, ended so that none stays behind.

Every process of a stack carries `SCRAY_STACK_ID=<random>` in its environment. What has that mark is ours to end,
whoever its parent is by now; nothing else ever is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK = "SCRAY_STACK_ID"
TETHER = Path(__file__).with_name("tether.py")
GRACE_SECONDS = 8.0


@dataclass
class Child:
    """One process of the stack. `command` is asked anew for every start, so that a restart can keep its port."""

    name: str
    command: Callable[[], list[str]]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it in a session of its own (a Ctrl-C in the terminal is for the stack alone), output to `log`."""
        self.starts.append(time.monotonic())
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-S", str(TETHER), str(os.getpid()), *self.command()],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def restarts_within(self, seconds: float) -> int:
        return sum(at > time.monotonic() - seconds for at in self.starts)

    def stop(self) -> None:
        """SIGTERM, then after a grace SIGKILL; returns when it is gone."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, for the sentence that says why it did not start."""
        with suppress(OSError):
            return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-lines:])
        return ""


def marked(stack_id: str) -> list[psutil.Process]:
    """Every living process that carries the mark of this stack, this one excepted."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            alive = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get(MARK) == stack_id:
                found.append(process)
    return found


def sweep(stack_id: str, grace_seconds: float = 2.0) -> int:
    """End what is left of a stack; returns how many processes there were. Repeats until none is seen."""
    ended: set[int] = set()
    for _ in range(20):
        left = marked(stack_id)
        if not left:
            break
        ended.update(process.pid for process in left)
        _signal_all(left, signal.SIGTERM)
        _, alive = psutil.wait_procs(left, timeout=grace_seconds)
        _signal_all(alive, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=grace_seconds)
    return len(ended)


def _signal_all(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)
