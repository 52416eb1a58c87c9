"""Remote calls under way, and the one policy for workers that die: three attempts, then the call is poison.

Ray's own retries are off. A call that raised is not tried again here: what it raised goes to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import ray
from ray import exceptions

from cluster.nodes import NODES
from scray.errors import PoisonBrick, ScrayError, StorageMissing

ATTEMPTS = 3
WAIT_SECONDS = 0.5  # how long `wait` may return nothing, so that its caller can look whether to stop
DEATHS = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)

Key = TypeVar("Key", bound=Hashable)
Start = Callable[[], Any]  # starts the remote call, returns its reference


@dataclass(frozen=True)
class Flight(Generic[Key]):
    """One call under way, for the n-th time."""

    key: Key
    start: Start
    attempt: int = 1


class Flights(Generic[Key]):
    """A set of remote calls under way; one thread."""

    def __init__(self) -> None:
        self.under_way: dict[Any, Flight[Key]] = {}

    def launch(self, key: Key, start: Start) -> None:
        self._launch(Flight(key, start))

    def _launch(self, flight: Flight[Key]) -> None:
        self.under_way[flight.start()] = flight

    def wait(self) -> list[tuple[Key, Any]]:
        """The keys and results (or exceptions) of what has ended; empty when nothing did within half a second."""
        if not self.under_way:
            return []
        ended, _ = ray.wait(list(self.under_way), num_returns=1, timeout=WAIT_SECONDS)
        outcomes = [(self.under_way.pop(ref), _outcome(ref)) for ref in ended]
        return [(flight.key, _final(flight, what)) for flight, what in outcomes if not self._again(flight, what)]

    def _again(self, flight: Flight[Key], what: Any) -> bool:
        if isinstance(what, StorageMissing) and NODES.leave_out(what.node):
            self._launch(flight)
            return True
        if isinstance(what, DEATHS) and flight.attempt < ATTEMPTS:
            self._launch(replace(flight, attempt=flight.attempt + 1))
            return True
        return False

    def cancel(self) -> None:
        """Stop what is under way, the workers too; returns when Ray has been told."""
        for ref in self.under_way:
            ray.cancel(ref, force=True)
        self.under_way.clear()


def _outcome(ref: Any) -> Any:
    """What a call returned, or what it raised, or how its worker died."""
    try:
        return ray.get(ref)
    except exceptions.RayTaskError as error:
        return cause(error)
    except exceptions.RayError as error:
        return error


def _final(flight: Flight[Any], what: Any) -> Any:
    """A worker that died at every attempt makes its work poison."""
    if isinstance(what, DEATHS):
        first = (str(what).splitlines() or [type(what).__name__])[0]
        return PoisonBrick(f"{flight.key} ended its worker {flight.attempt} times: {first}")
    return what


def cause(error: exceptions.RayTaskError) -> BaseException:
    """What a remote function raised, without Ray's wrapping."""
    inner = getattr(error, "cause", None)
    return inner if isinstance(inner, BaseException) else ScrayError(str(error))


def run_all(calls: Iterable[tuple[Key, Start]], window: int, stop: Callable[[], None]) -> Iterator[tuple[Key, Any]]:
    """Make all calls, at most `window` at a time; yields results as they come, raises the first error.

    `stop` is asked twice a second and raises to give up; what is under way is cancelled then.
    """
    waiting, flights = iter(calls), Flights[Key]()
    try:
        while True:
            for key, start in _next(waiting, window - len(flights.under_way)):
                flights.launch(key, start)
            if not flights.under_way:
                return
            stop()
            for key, what in flights.wait():
                if isinstance(what, BaseException):
                    raise what
                yield key, what
    finally:
        flights.cancel()


def _next(calls: Iterator[tuple[Key, Start]], count: int) -> Iterator[tuple[Key, Start]]:
    for _, call in zip(range(count), calls, strict=False):
        yield call


def call(name: str, start: Start, stop: Callable[[], None]) -> Any:
    """Make one remote call and wait for its result; raises what it raised."""
    return next(result for _, result in run_all([(name, start)], 1, stop))


def cluster_resource(name: str) -> float:
    """How much of a resource the living nodes declare together."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources.get(name, 0.0)


def cluster_cpus() -> int:
    return max(1, int(cluster_resource("CPU")))


def largest_node_bytes() -> int:
    """The most memory any one usable node declares; a task that wants more would wait for ever."""
    return int(max((node["Resources"].get("memory", 0) for node in NODES.usable()), default=0))
