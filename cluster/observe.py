"""`scray status`: what runs, what waits, how far everything in work is; once, or again and again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cluster.state import Places, api_address, is_held, read_state
from scray.errors import BadParameter, ScrayError
from scray.status import Status

LEAST_FREE_BYTES = 1 << 30
# Told also where there are none; others where there are some.
COUNTED = (Status.UPLOADING, Status.CONVERSION_QUEUED, Status.CONVERTING, Status.DONE, Status.CONVERSION_FAILED)


def status(data: Path, api: str) -> dict[str, Any]:
    """The stack of a data folder, the service's health, and how many datasets are in each status.

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


def token() -> str | None:
    """What the API wants to see, where it wants anything."""
    return os.environ.get("SCRAY_API_TOKEN")


def _service(address: str) -> dict[str, Any]:
    from scray.client import ScrayClient

    with ScrayClient(address, token()) as client:
        health, seen = client.health(), client.overview()
    counts = {str(status): seen["queue"][status] for status in Status if status in COUNTED or seen["queue"][status]}
    told = {"drivers": seen["drivers"], "in_work": seen["running"], "oldest_seconds": seen["oldest_seconds"]}
    return {"api": address, "health": health, "healthy": health["status"] == "healthy", "datasets": counts, **told}


def status_text(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"stack      {found['phase']}"]
    lines += [f"{name:10} {found[name]}" for name in ("api", "dashboard", "data") if name in found]
    health = found.get("health", {})
    lines += [f"{part:10} {health[part]}" for part in ("database", "driver", "nodes", "disk") if part in health]
    lines += [f"{count:>7} {name}" for name, count in found.get("datasets", {}).items()]
    lines += [found["reason"]] if "reason" in found else []
    return "\n".join(lines)
