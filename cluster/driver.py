"""`python -m cluster.driver`: see that the driver lives, replace one of other code, and stay as its watchdog.

The driver itself is a detached named actor (actor.py): it outlives this process, and Ray starts it again when it falls.
What Ray cannot see, this does: an actor whose heartbeat has stopped. Told to end (SIGTERM, Ctrl-C), it has the driver
give its work back and ends it; killed, it leaves the driver alone. `--once` returns when the driver is there.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

import ray
from ray import exceptions

from cluster.actor import Driver
from cluster.flights import cluster_resource
from cluster.head import DRIVER_RESOURCE
from cluster.version import code_version
from converters import sandbox
from scray.catalog import Catalog
from scray.database import connect
from scray.errors import ScrayError
from scray.log import Action, configure, event
from scray.orders import Orders
from scray.reconcile import BEATS_A_LEASE
from scray.settings import Settings, load_settings

NAMESPACE = "scray"
NAME = "driver"
DRAIN_SECONDS, LEAVE_SECONDS = 30.0, 6.0
PROMPT_SECONDS = 30.0  # a driver that does not answer within this is looked at by its heartbeat
CONTROL_CALLS = 4

PINNED: dict[str, Any] = {
    "namespace": NAMESPACE,
    "lifetime": "detached",
    "get_if_exists": True,
    "num_cpus": 0,
    "resources": {DRIVER_RESOURCE: 0.01},
    "max_restarts": -1,
    "max_concurrency": CONTROL_CALLS,
}


class NoPlaceForDriver(ScrayError):
    """No node has the resource `scray_driver`: start one with `--resources '{"scray_driver": 1}'`."""

    code = "no-place-for-driver"


def ensure(name: str = NAME) -> str:
    """See that the driver `name` lives and runs this code; its owner name. One of other code is replaced."""
    if not cluster_resource(DRIVER_RESOURCE):
        raise NoPlaceForDriver
    for _ in range(3):
        actor = _get_or_create(name)
        try:
            there = ray.get(actor.about.remote(), timeout=PROMPT_SECONDS)
        except exceptions.RayError:
            _end(actor)
            continue
        if there["version"] == code_version():
            return str(there["owner"])
        event(Action.DRIVER_REPLACED, f"code {there['version']} by {code_version()}", driver=name)
        _drain(actor, DRAIN_SECONDS)
        _end(actor)
    raise ScrayError(f"The driver {name!r} does not start; see its log in the Ray dashboard.")


def _get_or_create(name: str) -> Any:
    return ray.remote(Driver).options(name=name, **PINNED).remote(name)


def _drain(actor: Any, seconds: float) -> None:
    with suppress(exceptions.RayError):
        ray.get(actor.drain.remote(seconds), timeout=seconds + 1)


def _end(actor: Any) -> None:
    """Remove the actor and its name; the claims it still holds run out, or are taken over by its successor."""
    with suppress(exceptions.RayError, ValueError):
        ray.kill(actor, no_restart=True)
    time.sleep(1.0)  # Ray frees the name a moment later


def watch(name: str, catalog: Catalog, period_seconds: float) -> None:
    """Keep the driver alive, for ever: when its heartbeat stops though the database answers, start it anew."""
    owner = ensure(name)
    while True:
        time.sleep(period_seconds)
        if not _beats(catalog, owner):
            event(Action.DRIVER_RESTARTED, "its heartbeat has stopped", level=logging.WARNING, driver=owner)
            with suppress(ValueError):
                _end(ray.get_actor(name, namespace=NAMESPACE))
            owner = _again(name) or owner


def _again(name: str) -> str | None:
    """Its owner name; None where the cluster has no place or no time for it now: it is asked again."""
    try:
        return ensure(name)
    except (ScrayError, exceptions.RayError) as error:
        event(Action.NOTE, f"the driver is not there yet: {error}", level=logging.WARNING, driver=name)
        return None


def _beats(catalog: Catalog, owner: str) -> bool:
    """Whether its heartbeat is fresh; without a database nobody can tell, and nothing is done."""
    try:
        return any(driver["name"] == owner and driver["alive"] for driver in catalog.drivers())
    except ScrayError:
        return True


def leave(name: str) -> None:
    """End the driver, after it has given its work back; one of other code is somebody else's to end."""
    with suppress(ValueError, exceptions.RayError):
        actor: Any = ray.get_actor(name, namespace=NAMESPACE)
        about = ray.get(actor.about.remote(), timeout=LEAVE_SECONDS)
        if about["version"] == code_version():
            _drain(actor, LEAVE_SECONDS)
            ray.kill(actor, no_restart=True)


class Told(BaseException):
    """This process is to end."""


def _tell(_number: int, _frame: FrameType | None) -> None:
    raise Told


def main(arguments: list[str]) -> int:
    configure()
    try:
        settings = load_settings()
        sandbox.require(settings.sandbox)
        ray.init(address="auto", namespace=NAMESPACE, log_to_driver=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _tell)
        _run(settings, stay="--once" not in arguments)
    except ScrayError as error:
        print(f"{error.message} [{error.code}]", file=sys.stderr)
        return 1
    except Told:
        leave(NAME)
    return 0


def _run(settings: Settings, *, stay: bool) -> None:
    """Start the driver; whoever starts it wants it to work, so a drain ends here."""
    database = connect(settings.mongo_url, settings.db_name)
    owner = ensure()
    Orders(database).resume([owner])
    print(f"driver {owner} runs code {code_version()}", flush=True)
    if stay:
        watch(NAME, Catalog(database), settings.lease_seconds / BEATS_A_LEASE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
