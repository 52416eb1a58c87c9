"""A connection to Ray for a command of its own: to RAY_ADDRESS where that is set, else to a private one on loopback."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cluster.head import LOOPBACK, OBJECT_STORE_BYTES

PRIVATE = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@contextmanager
def connected(cpus: int | None = None) -> Iterator[None]:
    """Ray for the length of a block. The private one ends with this process, however that ends."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    values: dict[str, str] = {}
    if not os.environ.get("RAY_ADDRESS"):
        values = {**PRIVATE, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        options |= {"num_cpus": cpus, "include_dashboard": False, "_node_ip_address": LOOPBACK}
        options |= {"object_store_memory": OBJECT_STORE_BYTES, "address": "local"}
    with environment(values):
        import ray  # reads the environment when it is imported

        ray.init(**options)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of this process for the length of a block; afterwards they are what they were."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
