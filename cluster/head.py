"""The Ray head of a local stack: its command line, its environment, its token. Loopback only, beside any other Ray."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from scray.errors import ScrayError

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 128 * 1024 * 1024  # plans and digests only, never data
DRIVER_RESOURCE = "scray_driver"
SOCKET_PATH_LIMIT = 40  # a unix socket's name has 107 bytes, and Ray adds up to 67 of its own


class UnsafeFolder(ScrayError):
    """The temporary folder for Ray belongs to somebody else."""

    code = "unsafe-folder"


@dataclass(frozen=True)
class Ports:
    """One free port each for what Ray would otherwise put on a fixed number."""

    gcs: int
    dashboard: int
    client: int
    agent: int
    agent_grpc: int
    metrics: int
    runtime_env: int

    @classmethod
    def choose(cls) -> Ports:
        return cls(*free_ports(len(cls.__dataclass_fields__)))

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.gcs}"

    @property
    def dashboard_url(self) -> str:
        return f"http://{LOOPBACK}:{self.dashboard}"


def free_ports(count: int) -> list[int]:
    """Different free ports on loopback: all are held open until the last is known."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def program() -> str:
    """The `ray` beside this Python, else on PATH."""
    beside = shutil.which("ray", path=str(Path(sys.executable).parent))
    return beside or shutil.which("ray") or "ray"


def command(ports: Ports, folder: Path, cpus: int) -> list[str]:
    """`ray start --head` that stays in the foreground, so that its daemons end with it."""
    options = {
        "node-ip-address": LOOPBACK,
        "port": ports.gcs,
        "dashboard-host": LOOPBACK,
        "dashboard-port": ports.dashboard,
        "ray-client-server-port": ports.client,
        "dashboard-agent-listen-port": ports.agent,
        "dashboard-agent-grpc-port": ports.agent_grpc,
        "metrics-export-port": ports.metrics,
        "runtime-env-agent-port": ports.runtime_env,
        "temp-dir": folder,
        "object-store-memory": OBJECT_STORE_BYTES,
        "num-cpus": cpus,
        "resources": f'{{"{DRIVER_RESOURCE}": 1}}',
    }
    return [program(), "start", "--head", "--block", *(f"--{name}={value}" for name, value in options.items())]


def environment(base: Mapping[str, str], token_file: Path) -> dict[str, str]:
    """What head, driver and job submissions share: token authentication on, nothing but loopback, no reports home."""
    return {
        **base,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too: the switch that keeps Ray on loopback
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_COLOR_PREFIX": "0",
    }


def write_token(path: Path) -> None:
    """A new random token, readable by the owner alone from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))


def temporary_folder(data: Path) -> Path:
    """Ray's own folder for this data folder: short, the same at every start, private; emptied here."""
    root = Path(tempfile.gettempdir())
    if len(str(root)) > SOCKET_PATH_LIMIT - 20:
        root = Path("/tmp")
    folder = root / f"scray-{sha256(str(data.resolve()).encode()).hexdigest()[:10]}"
    with_owner = folder.lstat() if folder.is_symlink() or folder.exists() else None
    if with_owner and (with_owner.st_uid != os.getuid() or folder.is_symlink()):
        raise UnsafeFolder(f"{folder} belongs to somebody else. Remove it, or set TMPDIR to a folder of your own.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder
