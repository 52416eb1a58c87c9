"""Real servers for the measurements of uploads: the API over a database of its own, and the plain server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster import embedded

START_SECONDS = 60.0
PLAIN = Path(__file__).with_name("plainserver.py")


@dataclass(frozen=True)
class Server:
    """Where a server listens, its process, and the database of an API."""

    url: str
    pid: int
    mongo_url: str = ""

    @property
    def memory_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    @property
    def peak_bytes(self) -> int:
        """The most it ever held."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10


@contextmanager
def api(data: Path, **settings: str) -> Iterator[Server]:
    """The API, with the embedded database, over the folder `data`."""
    data.mkdir(parents=True)
    with _process(embedded.command(embedded.find_server(), data / "db"), data / "db.log"):
        database = _await(lambda: embedded.port_in(data / "db.log"))
        port_file = data / "api.port"
        environment = {
            "MONGO_URL": embedded.url(database),
            "VISUS_DATASETS": str(data / "datasets"),
            "SCRAY_API_PORT": "0",
            "SCRAY_API_PORT_FILE": str(port_file),
            **settings,
        }
        with _process([sys.executable, "-m", "api"], data / "api.log", environment) as process:
            url = f"http://127.0.0.1:{_await(lambda: _number(port_file))}"
            yield Server(url, process.pid, environment["MONGO_URL"])


@contextmanager
def plain(folder: Path, *, null: bool = False) -> Iterator[Server]:
    """The plain server, which keeps files in `folder` or, `null`, does nothing with them."""
    folder.mkdir(parents=True, exist_ok=True)
    port_file = folder / "plain.port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, str(PLAIN), "null" if null else str(folder), str(port_file)]
    with _process(command, folder / "plain.log") as process:
        yield Server(f"http://127.0.0.1:{_await(lambda: _number(port_file))}", process.pid)


@contextmanager
def _process(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(environment or {})})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _number(path: Path) -> int | None:
    return int(path.read_text() or 0) if path.exists() else None


def _await(look: Callable[[], int | None]) -> int:
    deadline = time.monotonic() + START_SECONDS
    while not (found := look()):
        if time.monotonic() > deadline:
            raise SystemExit("a server did not start")
        time.sleep(0.02)
    return found
