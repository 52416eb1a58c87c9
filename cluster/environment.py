"""What the processes of a local stack are told: one settings file that only its owner can read, and its name.

No value of a setting is in their environment, so none reaches Ray's workers or what runs in them.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.children import MARK
from cluster.head import LOOPBACK, free_ports
from cluster.state import Places, is_held, read_state
from scray.settings import ENV_FILE, Settings, describe, load_settings
from scray.storage import write_atomic

API_PORT_FREE = 0
DASHBOARD_PORT = 8265


def stack_settings(places: Places) -> dict[str, str]:
    """Every setting that was given here, by variable, as text; the data folder and the API's port are the stack's."""
    given = load_settings()
    values = {_variable(name): _text(getattr(given, name)) for name in sorted(given.model_fields_set)}
    port = given.api_port if _usable(given.api_port) else free_ports(1)[0]
    return {**values, "VISUS_DATASETS": str(places.data), "SCRAY_API_HOST": LOOPBACK, "SCRAY_API_PORT": str(port)}


def write_settings(path: Path, values: dict[str, str]) -> None:
    """As an env file, mode 0600, in a folder that is the owner's alone."""
    lines = [f"{name}='{_escaped(value)}'\n" for name, value in sorted(values.items())]
    write_atomic(path, "".join(lines).encode())
    path.chmod(0o600)


def settings_at(data: Path) -> Settings:
    """The settings of the stack that runs on a data folder; where none does, those of this process."""
    places = Places(data.resolve())
    state = read_state(places) if is_held(places) else None
    return Settings(_env_file=state.settings_file) if state else load_settings()  # type: ignore[call-arg]


def dashboard_at(data: Path) -> str:
    """Ray's dashboard for a data folder: that of its stack, whose token this process uses from now on; else Ray's usual
    one, or what RAY_API_SERVER_ADDRESS names. To be asked before Ray is imported.
    """
    places = Places(data.resolve())
    state = read_state(places) if is_held(places) else None
    if state is None:
        return os.environ.get("RAY_API_SERVER_ADDRESS") or f"http://{LOOPBACK}:{DASHBOARD_PORT}"
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=state.token_file)
    return state.dashboard


def for_child(stack_id: str, settings_file: Path) -> dict[str, str]:
    """The environment of a process of the stack; `python` is this one, also for jobs that are submitted to its Ray."""
    hidden = {name for name, *_ in describe()}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "PATH": path, MARK: stack_id, ENV_FILE: str(settings_file), "PYTHONUNBUFFERED": "1"}


def _variable(field: str) -> str:
    return str(Settings.model_fields[field].validation_alias)


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _usable(port: int) -> bool:
    """Whether this port of loopback is free now."""
    with socket.socket() as one, suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((LOOPBACK, port))
        return port != API_PORT_FREE
    return False
