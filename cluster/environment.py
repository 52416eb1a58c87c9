"""What the processes of a local stack are told: one settings file that only its owner can read, and its name.

No value of a setting is in their environment, so none reaches Ray's workers or what runs in them.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.children import MARK
from cluster.head import LOOPBACK, free_ports
from cluster.state import Places
from scray.settings import ENV_FILE, Settings, describe, load_settings
from scray.storage import write_atomic

API_PORT_FREE = 0


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


def for_child(stack_id: str, settings_file: Path) -> dict[str, str]:
    """The environment of a process of the stack."""
    hidden = {name for name, *_ in describe()}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, MARK: stack_id, ENV_FILE: str(settings_file), "PYTHONUNBUFFERED": "1"}


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
