"""A real API process over a database and folders of its own."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from pymongo.database import Database

ROOT = Path(__file__).parents[1]
EMAIL = "ada@example.org"
FORM = {"user_email": EMAIL, "dataset_name": "scan", "sensor": "TIFF"}
T = TypeVar("T")


def until(look: Callable[[], T], seconds: float = 30, what: str = "it") -> T:
    """What `look` finds, once it is something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} seconds"
        time.sleep(0.02)
    return found


def is_locked(path: Path, start: int) -> bool:
    """Whether somebody keeps others from this byte of a file."""
    wish = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
    with path.open("rb+") as file:
        found: int = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, wish))[0]
    return found != fcntl.F_UNLCK


class Api:
    """A running server, asked through `http`."""

    def __init__(self, url: str, data: Path, process: subprocess.Popen[bytes], database: Database[dict[str, Any]]):
        self.url = url
        self.data = data
        self.process = process
        self.database = database
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def memory_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def send(
        self, content: bytes = b"pixels", filename: str = "x.tif", path: str = "/api/upload/upload", **fields: str
    ) -> httpx.Response:
        return self.http.post(path, data={**FORM, **fields}, files={"file": (filename, content)})

    def accepted(self, content: bytes, filename: str = "x.tif", **fields: str) -> dict[str, Any]:
        reply = self.send(content, filename, "/api/upload/upload", **fields)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def row(self, uuid: str) -> dict[str, Any]:
        found = self.database.visstoredatas.find_one({"uuid": uuid})
        assert found is not None
        return found

    def rows(self) -> list[dict[str, Any]]:
        return list(self.database.visstoredatas.find())

    def files(self) -> dict[str, bytes]:
        """Everything below upload/, hidden names too."""
        root = self.data / "upload"
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(30)


def measured() -> dict[str, str]:
    """What a server needs so that its lines count where those of this process do; see `make coverage`."""
    coverage = sys.modules.get("coverage")
    current = coverage.Coverage.current() if coverage else None
    if current is None:
        return {}
    data = Path(current.config.data_file).resolve()
    return {"COVERAGE_PROCESS_START": str(ROOT / "tests" / "api_coverage.ini"), "COVERAGE_FILE": str(data)}


@contextmanager
def serving(mongo_url: str, database: Database[dict[str, Any]], data: Path, **settings: str) -> Iterator[Api]:
    """A server until the end of the block. `settings` are environment variables."""
    data.mkdir(parents=True, exist_ok=True)
    port_file = data / f"port.{time.monotonic_ns()}"
    environment = {
        "PATH": os.environ["PATH"],
        "MONGO_URL": mongo_url,
        "DB_NAME": database.name,
        "VISUS_DATASETS": str(data),
        "SCRAY_API_PORT": "0",
        "SCRAY_API_PORT_FILE": str(port_file),
        **measured(),
        **settings,
    }
    with (data / "api.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "api"],
            env=environment, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        until(lambda: port_file.exists() or process.poll() is not None, seconds=180, what="the start of the API")
        assert process.poll() is None, (data / "api.log").read_text()
        api = Api(f"http://127.0.0.1:{int(port_file.read_text())}", data, process, database)
        yield api
        api.stop()
    finally:
        process.kill()
        process.wait()
