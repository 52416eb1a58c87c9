"""A sealed child whose reader has gone bad: what it tries is what a hostile file could make a reader do.

It goes bad at the tasks that the file `trap` in the staging folder names, a JSON object of tasks and what they do.
"""

from __future__ import annotations

import json
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


def perform(request: Request, pulse: Pulse) -> str:
    staging = Path(request["staging"])
    trap = staging / "trap"
    action = json.loads(trap.read_text()).get(request["task"]) if trap.exists() else None
    if not action:
        return child._perform(request, pulse)
    with (staging / "victims").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return child.REQUESTS[action]({"note": str(staging / "company"), "bytes": 64 << 30}, pulse)


def sketch(request: Request, pulse: Pulse) -> str:
    trap = Path(request["staging"]) / "trap"
    action = child.REQUESTS[trap.read_text()] if trap.exists() else child._sketch
    return action({**request, "bytes": 64 << 30}, pulse)


def prepare(request: Request, pulse: Pulse) -> str:
    trap = Path(request["parent"]) / "trap"
    if not trap.exists():
        return child._prepare(request, pulse)
    with trap.with_name("tries").open("a") as tries:
        tries.write("x")
    note = str(trap.with_name("company"))
    return child.REQUESTS[trap.read_text()]({"note": note, "bytes": 64 << 30}, pulse)


def hang_up(request: Request, pulse: Pulse) -> str:
    os.closerange(0, 100)
    return hang(request, pulse)


def half_an_answer(request: Request, pulse: Any) -> str:
    os.write(pulse.answers.fileno(), b'{"done": ')
    return hang(request, pulse)


def nonsense(request: Request, pulse: Any) -> str:
    os.write(pulse.answers.fileno(), b"[[[[\n")
    return "x"


def endless_answer(request: Request, pulse: Any) -> str:
    while True:
        os.write(pulse.answers.fileno(), b"x" * 65536)


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
        perform,
        sketch,
        prepare,
        hang_up,
        half_an_answer,
        nonsense,
        endless_answer,
    ):
        child.REQUESTS[action.__name__] = action
    child.serve()
