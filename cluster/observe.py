"""`scray status` and `scray doctor`: what runs, what waits, and what is wrong, with what to do about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import embedded
from cluster.head import program
from cluster.state import NoStack, Places, api_address, is_held, read_state
from scray.errors import BadParameter, ScrayError, Unsealed
from scray.settings import load_settings
from scray.sizes import size_text
from scray.status import Status
from scray.storage import free_bytes

LEAST_FREE_BYTES = 1 << 30
COUNTED = (Status.UPLOADING, Status.CONVERSION_QUEUED, Status.CONVERTING, Status.DONE, Status.CONVERSION_FAILED)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `says` what was found, and what to do where it is not `ok`."""

    name: str
    ok: bool
    says: str


def status(data: Path, api: str) -> dict[str, Any]:
    """The stack of a data folder, the service's health, and how many datasets are in each important status.

    Where the service cannot be asked, `reason` says why. Raises BadParameter for what is no address.
    """
    places = Places(data.resolve())
    state = read_state(places) if is_held(places) else None
    found: dict[str, Any] = {"running": state is not None, "phase": state.phase if state else "down", "healthy": False}
    if state:
        found |= {"api": state.api, "dashboard": state.dashboard, "data": state.data, "children": state.children}
    try:
        return found | _service(api or api_address(data))
    except BadParameter:
        raise
    except ScrayError as error:
        return found | {"reason": error.message}


def _service(address: str) -> dict[str, Any]:
    from scray.client import ScrayClient

    with ScrayClient(address, os.environ.get("SCRAY_API_TOKEN")) as client:
        health = client.health()
        counts = {str(status): client.count(status=str(status)) for status in COUNTED}
    return {"api": address, "health": health, "healthy": health["status"] == "healthy", "datasets": counts}


def status_text(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"stack      {found['phase']}"]
    lines += [f"{name:10} {found[name]}" for name in ("api", "dashboard", "data") if name in found]
    health = found.get("health", {})
    lines += [f"{part:10} {health[part]}" for part in ("database", "driver", "disk") if part in health]
    lines += [f"{count:>7} {name}" for name, count in found.get("datasets", {}).items()]
    lines += [found["reason"]] if "reason" in found else []
    return "\n".join(lines)


# --- doctor ------------------------------------------------------------------------------------------


def doctor(data: Path, api: str) -> list[Check]:
    """Every check, in the order in which things depend on each other."""
    checks: list[Callable[[], Iterator[Check]]] = [
        _python,
        _settings,
        lambda: _secret_key(data),
        lambda: _folders(data),
        _database,
        _ray,
        _sandbox,
        lambda: _stack(data, api),
    ]
    return [check for look in checks for check in _safely(look)]


def _safely(look: Callable[[], Iterator[Check]]) -> list[Check]:
    try:
        return list(look())
    except Exception as error:  # what a check stumbles over is what the doctor is asked for
        return [Check(getattr(look, "__name__", "check").strip("_<>"), False, f"{type(error).__name__}: {error}")]


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", (3, 11) <= sys.version_info[:2] < (3, 14), f"{version}; 3.11, 3.12 and 3.13 are supported")


def _settings() -> Iterator[Check]:
    try:
        load_settings()
    except ScrayError as error:
        yield Check("settings", False, error.message)
    else:
        yield Check("settings", True, os.environ.get("SCRAY_ENV_FILE") or "from the environment")


def _secret_key(data: Path) -> Iterator[Check]:
    settings = load_settings()
    if settings.secret_key:
        yield Check("secret key", True, "SECRET_KEY is set")
        return
    path = (settings.auth_folder or data.resolve() / "auth") / "secret.key"
    says = f"SECRET_KEY is not set: credentials are sealed with {path}, which is made at the first start"
    private = not path.exists() or path.stat().st_mode & 0o077 == 0
    yield Check("secret key", private, says if private else f"others can read {path}: run `chmod 600 {path}`")


def _folders(data: Path) -> Iterator[Check]:
    free = free_bytes(data.resolve())
    yield Check("disk", free >= LEAST_FREE_BYTES, f"{size_text(free)} are free at {data}")
    place = next(path for path in (data.resolve(), *data.resolve().parents) if path.exists())
    writable = os.access(place, os.W_OK)
    yield Check("data folder", writable, f"{data} {'can' if writable else 'cannot'} be written")


def _database() -> Iterator[Check]:
    settings = load_settings()
    if not settings.mongo_url:
        try:
            yield Check("database", True, f"embedded: {embedded.find_server()}")
        except embedded.NoDatabase as error:
            yield Check("database", False, error.message)
        return
    from scray.catalog import Catalog, connect

    database = connect(settings.mongo_url, settings.db_name)
    try:
        with database.client:
            Catalog(database).ping()
    except ScrayError as error:
        yield Check("database", False, error.message)
    else:
        yield Check("database", True, "MONGO_URL answers")


def _ray() -> Iterator[Check]:
    path = Path(program())
    yield Check("ray", path.exists(), str(path) if path.exists() else "not installed: run `make .venv`")


def _sandbox() -> Iterator[Check]:
    from converters.sandbox import WANTED, Sandbox

    sealing = load_settings().sandbox
    try:
        box = Sandbox([], [], 1 << 30, sealing)
    except Unsealed as error:
        yield Check("sandbox", False, error.message)
        return
    box.close()
    missing = ", ".join(sorted(WANTED - box.force))
    says = f"readers run without a limit on: {missing}" if missing else "readers are limited in memory, reach, network"
    yield Check("sandbox", not missing, f"{says} (SCRAY_SANDBOX={sealing})")


def _stack(data: Path, api: str) -> Iterator[Check]:
    try:
        found = _service(api or api_address(data))
    except NoStack as error:
        yield Check("stack", True, f"none on {data}. {error.message}")
        return
    except ScrayError as error:
        yield Check("api", False, error.message)
        return
    for part in ("database", "driver", "disk"):
        says = found["health"][part]
        yield Check(f"service: {part}", says == "ok", says)
    waiting, failed = (found["datasets"][str(s)] for s in (Status.CONVERSION_QUEUED, Status.CONVERSION_FAILED))
    yield Check("queue", True, f"{waiting} wait for conversion, {failed} have failed; `scray watch UUID` says why")
