"""The embedded database: SecantusDB, a MongoDB-speaking server, as a process of its own where MONGO_URL is unset.

It is never imported: it lives in an environment of its own (`.venv-db`) behind a socket. Its URL carries
`retryWrites=false`, which this server needs to stay fast; idempotent writes are retried by the code that makes them.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from scray.errors import ScrayError

SERVER = "secantusd-py"
LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
REPOSITORY = Path(__file__).resolve().parent.parent


class NoDatabase(ScrayError):
    """No database: set MONGO_URL to a MongoDB server (mongodb://host), or run `make .venv-db` for the embedded one."""

    code = "no-database"


def find_server() -> Path:
    """The server's program: in `.venv-db` of the repository, else on PATH; NoDatabase if nowhere."""
    found = shutil.which(SERVER, path=str(REPOSITORY / ".venv-db" / "bin")) or shutil.which(SERVER)
    if found is None:
        raise NoDatabase
    return Path(found)


def command(server: Path, folder: Path, port: int = 0) -> list[str]:
    """How to start it: loopback only, every commit flushed; port 0 takes a free one and says which in its log."""
    options = ["--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder), "--sync-on-commit"]
    return [str(server), *options, "--cache-size", "256M"]


def port_in(log: Path) -> int | None:
    """The port the server says it listens on, once it does."""
    found = LISTENING.findall(log.read_text(errors="replace")) if log.exists() else []
    return int(found[-1]) if found else None


def url(port: int) -> str:
    return f"mongodb://127.0.0.1:{port}/?retryWrites=false"
