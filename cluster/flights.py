"""Remote calls under way, and the one policy for workers that die: three attempts, then the call is poison.

Between the attempts it rests, longer each time, and holds no CPU. What ended the process that reads a file rests as
well, and is tried once more. A node that dies takes its workers with it; that is nobody's attempt. Ray's own retries
are off, and a call that raised anything else is not tried again here: what it raised goes to the caller.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Generic, TypeVar

import ray
from ray import exceptions

from cluster.nodes import NODES
from cluster.pulse import Pulse
from cluster.sharing import SHARING
from scray.errors import PoisonBrick, ReaderCrashed, ScrayError, StorageMissing, TimedOut, Unsealed, WorkerLost
from scray.log import Action, event
from scray.retry import delay_seconds

ATTEMPTS = 3
READER_ATTEMPTS = 2
NODES_LOST = 10  # so many nodes may be lost under one call
WAIT_SECONDS = 0.5  # how long `wait` may return nothing, so that its caller can look whether to stop


class Silence(Exception):
    """A worker has given no sign of life for too long."""


DEATHS = (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError, Silence)
LOSSES = (exceptions.NodeDiedError, exceptions.LocalRayletDiedError, exceptions.ObjectLostError)

Key = TypeVar("Key", bound=Hashable)
Start = Callable[[], Any]  # starts the remote call, returns its reference
Died = Callable[
    [str, int, str], None
]  # hears which call was interrupted, how often by now, and where, how and what next


@dataclass(frozen=True)
class Flight(Generic[Key]):
    """One call under way, for the n-th time."""

    key: Key
    start: Start
    attempt: int = 1
    crashes: int = 0
    losses: int = 0
    since: float = field(default_factory=time.monotonic)
    not_before: float = 0.0  # of the monotonic clock

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since


def say_died(call: str, times: int, says: str) -> None:
    """Tell the program's log."""
    event(Action.TASK_DIED, says, level=logging.WARNING, task=call, count=times)


class Flights(Generic[Key]):
    """A set of remote calls under way; one thread. `on_death` hears of everything that died, and is tried again."""

    def __init__(self, on_death: Died = say_died) -> None:
        self.under_way: dict[Any, Flight[Key]] = {}
        self.resting: list[Flight[Key]] = []
        self._on_death = on_death
        self._random = Random()
        self._pulse = Pulse(NODES.last_sign)

    def launch(self, key: Key, start: Start) -> None:
        self._launch(Flight(key, start))

    def _launch(self, flight: Flight[Key]) -> None:
        self.under_way[flight.start()] = flight

    def launch_second(self, flight: Flight[Key]) -> None:
        """Make a call that takes too long once more, beside itself: the first to end counts."""
        self._launch(replace(flight, since=time.monotonic()))

    def alone(self) -> list[Flight[Key]]:
        """The calls that are under way only once."""
        times = Counter(flight.key for flight in self.under_way.values())
        return [flight for flight in self.under_way.values() if times[flight.key] == 1]

    def wait(self) -> list[tuple[Key, Any]]:
        """The keys and results (or exceptions) of what has ended; empty when nothing did within half a second."""
        self._wake()
        if not self.under_way:
            time.sleep(WAIT_SECONDS if self.resting else 0)
            return []
        final = []
        ended = self._ended()
        silent = self._end_silent(ended)
        for ref in (*ended, *silent):
            flight = self.under_way.pop(ref, None)  # none: a second run of it ended in the same moment
            what = (silent.get(ref) or _outcome(ref)) if flight else None
            if flight and not self._goes_on(flight, what, ref):
                final.append((flight.key, _final(flight, what)))
        return final

    def _ended(self) -> list[Any]:
        """Whatever has ended, after half a second at the latest; of thousands, one at a time were too slow."""
        refs = list(self.under_way)
        first, others = ray.wait(refs, num_returns=1, timeout=WAIT_SECONDS)
        return first + (ray.wait(others, num_returns=len(others), timeout=0)[0] if first and others else [])

    def _end_silent(self, ended: Collection[Any]) -> dict[Any, Silence]:
        """Give up the runs whose worker stands still; they are told to end, and do when they go on."""
        if not NODES.beacon:
            return {}
        seconds = NODES.beacon.silence_seconds
        tasks = (_task(ref) for ref in self.under_way if ref not in ended)
        if not (silent := self._pulse.silent(tasks, seconds)):
            return {}
        found = [ref for ref in self.under_way if _task(ref) in silent]
        for ref in found:
            ray.cancel(ref, force=True)
        return dict.fromkeys(
            found, Silence(f"It gave no sign of life for {seconds:g} seconds (SCRAY_SILENCE_SECONDS).")
        )

    def _goes_on(self, flight: Flight[Key], what: Any, run: Any) -> bool:
        """Whether the call is still under way: elsewhere already, or once more from here."""
        rivals = [ref for ref, other in self.under_way.items() if other.key == flight.key]
        again = _again(flight, what)
        if not again:
            self._cancel(rivals)
        elif not rivals and isinstance(what, (*DEATHS, ReaderCrashed)):
            self._rest(again, how(what, run))
        elif not rivals:
            if isinstance(what, LOSSES):
                self._on_death(str(flight.key), again.losses, f"{how(what, run)} It is tried again at once.")
            self._launch(again)
        return again is not None

    def _rest(self, flight: Flight[Key], says: str) -> None:
        """Whatever ended a worker or reader gets time to pass, and somebody else the CPU."""
        times = flight.attempt - 1 + flight.crashes
        seconds = delay_seconds(times, self._random)
        self.resting.append(replace(flight, not_before=time.monotonic() + seconds))
        self._on_death(str(flight.key), times, f"{says} It is tried again in {seconds:.1f} seconds.")

    def _wake(self) -> None:
        """Make the calls again that have rested long enough."""
        now = time.monotonic()
        rested = [flight for flight in self.resting if flight.not_before <= now]
        self.resting = [flight for flight in self.resting if flight.not_before > now]
        for flight in rested:
            self._launch(replace(flight, since=now))

    @property
    def open(self) -> int:
        """How many have not ended, a second run beside the first included."""
        return len(self.under_way) + len(self.resting)

    def _cancel(self, refs: Iterable[Any]) -> None:
        for ref in list(refs):
            ray.cancel(ref, force=True)
            del self.under_way[ref]

    def cancel(self) -> None:
        """Stop what is under way, the workers too; returns when Ray has been told."""
        self.resting.clear()
        self._cancel(self.under_way)


def _again(flight: Flight[Key], what: Any) -> Flight[Key] | None:
    """The next attempt after what happened to this one; None where there is none."""
    now = time.monotonic()
    if isinstance(what, StorageMissing | Unsealed) and NODES.leave_out(what.node, what.message):
        return replace(flight, since=now)
    if isinstance(what, DEATHS) and flight.attempt < ATTEMPTS:
        return replace(flight, attempt=flight.attempt + 1, since=now)
    if isinstance(what, ReaderCrashed) and flight.crashes + 1 < READER_ATTEMPTS:
        return replace(flight, crashes=flight.crashes + 1, since=now)
    if isinstance(what, LOSSES) and flight.losses < NODES_LOST:
        return replace(flight, losses=flight.losses + 1, since=now)
    return None


def _task(ref: Any) -> str:
    """Ray's number of the task of a run."""
    return str(ref.task_id().hex())


def _outcome(ref: Any) -> Any:
    """What a call returned, or what it raised, or how its worker died; TimedOut where it left word of that."""
    try:
        return ray.get(ref)
    except exceptions.RayTaskError as error:
        return cause(error)
    except DEATHS as error:
        word = NODES.take_word(_task(ref))
        return TimedOut(word) if word else error
    except exceptions.RayError as error:
        return error


def _final(flight: Flight[Any], what: Any) -> Any:
    """A worker that died at every attempt makes its work poison."""
    if isinstance(what, DEATHS):
        return PoisonBrick(f"{flight.key} ended its worker {flight.attempt} times: {_first_line(what)}")
    if isinstance(what, LOSSES):
        return WorkerLost(f"{flight.key} lost its node {flight.losses + 1} times: {_first_line(what)}")
    return what


def how(what: BaseException, run: Any) -> str:
    """The sentence about what died, and where if that is known."""
    place = (getattr(what, "__notes__", None) or [NODES.take_place(_task(run))])[-1]
    where = f" on {place}" if place else ""
    if isinstance(what, ReaderCrashed):
        return f"Its reader{where} died: {what.message}"
    kind = "node" if isinstance(what, LOSSES) else "worker"
    return f"Its {kind}{where} died: {_first_line(what)}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def cause(error: exceptions.RayTaskError) -> BaseException:
    """What a remote function raised, without Ray's wrapping."""
    inner = getattr(error, "cause", None)
    return inner if isinstance(inner, BaseException) else ScrayError(str(error))


def run_all(
    calls: Iterable[tuple[Key, Start]],
    window: int | Callable[[], int],
    stop: Callable[[], None],
    on_death: Died = say_died,
) -> Iterator[tuple[Key, Any]]:
    """Make all calls, at most `window` (as of now) at a time, fewer beside others; yields results as they come, raises
    the first error.

    `stop` is asked twice a second and raises to give up; what is under way is cancelled then.
    """
    waiting, flights = iter(calls), Flights[Key](on_death)
    SHARING.join(flights)
    try:
        while True:
            most = window() if callable(window) else window
            for key, start in _next(waiting, SHARING.window(flights, most) - flights.open):
                flights.launch(key, start)
            if not flights.open:
                return
            stop()
            for key, what in flights.wait():
                if isinstance(what, BaseException):
                    raise what
                yield key, what
    finally:
        SHARING.leave(flights)
        flights.cancel()


def _next(calls: Iterator[tuple[Key, Start]], count: int) -> Iterator[tuple[Key, Start]]:
    for _, call in zip(range(count), calls, strict=False):
        yield call


def call(name: str, start: Start, stop: Callable[[], None], on_death: Died = say_died) -> Any:
    """Make one remote call and wait for its result; raises what it raised."""
    return next(result for _, result in run_all([(name, start)], 1, stop, on_death))


def cluster_resource(name: str) -> float:
    """How much of a resource the living nodes declare together."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources.get(name, 0.0)


def cluster_cpus() -> int:
    """How many CPUs the usable nodes have together, as of now; at least one."""
    return max(1, int(sum(node["Resources"].get("CPU", 0) for node in NODES.usable())))


def two_a_cpu() -> int:
    """As of now: one task runs, and the next one is there when it ends."""
    return 2 * cluster_cpus()


def largest_node_bytes() -> int:
    """The most memory any one usable node declares; a task that wants more would wait for ever.

    Raises WorkerLost while there is none: nodes come and go.
    """
    nodes = NODES.usable()
    if not nodes:
        raise WorkerLost(" ".join(["No node of the cluster takes tasks just now.", *sorted(NODES.left_out().values())]))
    return int(max(node["Resources"].get("memory", 0) for node in nodes))
