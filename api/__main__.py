"""`python -m api`: serve on SCRAY_API_HOST:SCRAY_API_PORT (0: any free port) until told to stop.

Prints one line, `listening on http://…`, when it serves, and writes the port to the file SCRAY_API_PORT_FILE.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from pathlib import Path

import uvicorn

from api.app import create_app
from scray.errors import BadParameter
from scray.log import Action, configure, event
from scray.settings import Settings, load_settings
from scray.storage import write_atomic

GRACE_SECONDS = 20
BACKLOG = 512


def main() -> int:
    configure()
    try:
        settings = load_settings()
        check(settings)
        listener = _listen(settings)
    except (BadParameter, OSError) as error:
        print(f"scray cannot serve: {error}", file=sys.stderr)
        return 2
    with listener:
        server = _Server(uvicorn.Config(
            create_app(settings), loop="uvloop", http="httptools", ws="none", access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE_SECONDS,
            log_config=None,
        ))  # fmt: skip
        server.run(sockets=[listener])
    return 0 if server.started else 1


def check(settings: Settings) -> None:
    """Raises BadParameter for settings that the API cannot or must not serve with."""
    if not settings.mongo_url:
        raise BadParameter("set MONGO_URL to the database, or let `scray up` start one.")
    if not (settings.api_token or is_loopback(settings.api_host)):
        raise BadParameter(f"on {settings.api_host} anyone could use it; set SCRAY_API_TOKEN to allow that.")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Server(uvicorn.Server):
    """Tells where it listens, once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            announce(*sockets[0].getsockname()[:2])
            event(Action.API_STARTED, f"port {sockets[0].getsockname()[1]}")


def announce(host: str, port: int) -> None:
    """One line for people and programs, and the file that a program asked for."""
    if file := os.environ.get("SCRAY_API_PORT_FILE"):
        write_atomic(Path(file), f"{port}\n".encode())
    print(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    return socket.create_server((settings.api_host, settings.api_port), family=family, backlog=BACKLOG)


if __name__ == "__main__":
    sys.exit(main())
