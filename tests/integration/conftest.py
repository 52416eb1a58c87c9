"""A database for the session: the embedded one as a child process, or the one MONGO_URL names."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from tests.api_server import Api, serving

SERVER = Path(__file__).parents[2] / ".venv-db" / "bin" / "secantusd-py"
HOW = "there is no database: run `make .venv-db`, or set MONGO_URL"
os.environ["RAY_AUTH_MODE"] = "token"  # whichever test module imports Ray first: it looks at this but once


class DatabaseServer:
    """The embedded database over a folder; it may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        if not SERVER.exists():
            pytest.fail(HOW)
        self._folder = folder
        self._log = folder.with_suffix(f".{secrets.token_hex(4)}.log")
        options = ["--host", "127.0.0.1", "--port", "0", "--storage-path", str(folder), "--sync-on-commit"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(SERVER), *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.url = f"mongodb://127.0.0.1:{self._port()}/?retryWrites=false"

    def _port(self, seconds: float = 60) -> int:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.poll() is None:
            if found := re.search(rb"listening on 127\.0\.0\.1:(\d+)", self._log.read_bytes()):
                return int(found[1])
            time.sleep(0.02)
        self.kill()
        pytest.fail(f"the database did not start: {self._log.read_text()}")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database server for the tests of this session."""
    if url := os.environ.get("MONGO_URL"):
        yield url
        return
    server = DatabaseServer(tmp_path_factory.mktemp("database") / "data")
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def mongo(mongo_url: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_url, tz_aware=True) as client:
        yield client


@pytest.fixture
def database(mongo: MongoClient[dict[str, Any]]) -> Iterator[Database[dict[str, Any]]]:
    """An empty database of its own for each test."""
    name = f"test_{secrets.token_hex(6)}"
    yield mongo[name]
    mongo.drop_database(name)


@pytest.fixture(scope="module")
def api(
    request: pytest.FixtureRequest,
    mongo_url: str,
    mongo: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Api]:
    """A server for the tests of a module, with the settings that the module names in API_SETTINGS."""
    settings: dict[str, str] = getattr(request.module, "API_SETTINGS", {})
    database = mongo[f"test_{secrets.token_hex(6)}"]
    with serving(mongo_url, database, tmp_path_factory.mktemp("api") / "data", **settings) as server:
        yield server
    mongo.drop_database(database.name)
