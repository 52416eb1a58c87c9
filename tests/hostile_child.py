"""A sealed child whose reader has gone bad: what it tries is what a hostile file could make a reader do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from converters import child

Request = dict[str, Any]
Pulse = Callable[[], None]


def crash(request: Request, pulse: Pulse) -> str:
    os.kill(os.getpid(), signal.SIGSEGV)
    return "alive"


def crash_once(request: Request, pulse: Pulse) -> str:
    note = Path(request["note"])
    if note.exists():
        return "second try"
    note.write_text("was here")
    return crash(request, pulse)


def hang(request: Request, pulse: Pulse) -> str:
    time.sleep(3600)
    return "awake"


def hang_with_company(request: Request, pulse: Pulse) -> str:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    Path(request["note"]).write_text(str(other.pid))
    return hang(request, pulse)


def work_long(request: Request, pulse: Pulse) -> str:
    for _ in range(25):
        time.sleep(0.1)
        pulse()
    return "done"


def bomb(request: Request, pulse: Pulse) -> str:
    return str(len(bytearray(request["bytes"])))


def read(request: Request, pulse: Pulse) -> str:
    return Path(request["path"]).read_text()


def write(request: Request, pulse: Pulse) -> str:
    Path(request["path"]).write_text("mine now")
    return "written"


def connect(request: Request, pulse: Pulse) -> str:
    with socket.create_connection(("127.0.0.1", request["port"]), timeout=5):
        return "connected"


def environment(request: Request, pulse: Pulse) -> str:
    return "\n".join(f"{k}={v}" for k, v in os.environ.items())


def chatter(request: Request, pulse: Pulse) -> str:
    print('{"done": "I am no answer"}', flush=True)
    return "answer"


if __name__ == "__main__":
    for action in (
        crash,
        crash_once,
        hang,
        hang_with_company,
        work_long,
        bomb,
        read,
        write,
        connect,
        environment,
        chatter,
    ):
        child.REQUESTS[action.__name__] = action
    child.serve()
