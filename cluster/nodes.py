"""Which nodes get tasks: those that see the storage of the driver.

The driver lays a file with a random word (a beacon) beside the uploads and beside the results. Every task reads both
before it does anything else, and leaves a note of its node beside the results. Where that cannot be done the storage
is not mounted: the node is left out for a minute, and the task goes elsewhere, which counts as no attempt.
"""

from __future__ import annotations

import functools
import platform
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ray

from cluster.limited import within
from cluster.tally import took
from scray.errors import StorageMissing
from scray.limits import time_limits
from scray.log import Action, configure, event
from scray.storage import Storage, write_atomic

FOLDER = ".nodes"
NEAR = "scray_storage"  # where any node declares this resource, tasks go to such nodes alone
NEAR_SHARE = 0.001
NODE_LABEL = "ray.io/node-id"  # Ray gives it to every node
AGAIN_SECONDS = 60.0  # so long a node is left out before it is tried again
LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Beacon:
    """A word that only a node with the driver's storage can read: in `<folder>/.nodes/<owner>` of each folder."""

    folders: tuple[str, ...]
    owner: str
    word: str

    @classmethod
    def light(cls, storage: Storage, owner: str) -> Self:
        """Write a new word; the former one is no longer good."""
        beacon = cls((str(storage.upload), str(storage.converted)), owner, secrets.token_hex(16))
        for folder in beacon.folders:
            (Path(folder) / FOLDER).mkdir(exist_ok=True)
            write_atomic(Path(folder) / FOLDER / owner, beacon.word.encode())
        return beacon

    def see(self, node: str) -> None:
        """Read the word, leave a note of this node. Raises StorageMissing."""
        try:
            words = [(Path(folder) / FOLDER / self.owner).read_text() for folder in self.folders]
            _leave_note(self, node)
        except OSError as error:
            raise StorageMissing(f"{platform.node()} does not see the storage: {error}.", node) from error
        if words != [self.word] * len(words):
            raise StorageMissing(f"{platform.node()} has another storage at {' and '.join(self.folders)}.", node)


@functools.cache
def _leave_note(beacon: Beacon, node: str) -> None:
    """Once a process: it also shows that this node may write."""
    write_atomic(Path(beacon.folders[-1]) / FOLDER / f"{platform.node()}-{node[:8]}", beacon.word.encode())


Node = Mapping[str, Any]  # one of `ray.nodes()`


class Nodes:
    """The nodes of the cluster as the driver knows them; several threads. `look` asks Ray."""

    def __init__(self, look: Callable[[], Sequence[Node]]) -> None:
        self.limits = time_limits(())  # how long each kind of task may take
        self.beacon: Beacon | None = None  # None: nobody asks whether the storage is seen, as on one machine
        self._look = look
        self._out: dict[str, float] = {}
        self._looked = float("-inf")
        self._alive: dict[str, Node] = {}

    def leave_out(self, node: str) -> bool:
        """Give this node no tasks for a while; whether any other is left."""
        self._out = {**self._out, node: time.monotonic() + AGAIN_SECONDS}
        return bool(self.usable())

    def left_out(self) -> dict[str, str]:
        """The hosts that are left out now, by the number of their node."""
        now = time.monotonic()
        self._out = {node: until for node, until in self._out.items() if until > now}
        return {node: self._living()[node]["NodeManagerHostname"] for node in self._out if node in self._living()}

    def usable(self) -> list[Node]:
        """What Ray knows of every node that gets tasks."""
        out, wanted = self.left_out(), NEAR if self._near() else "CPU"
        return [node for name, node in self._living().items() if name not in out and node["Resources"].get(wanted)]

    def placement(self) -> dict[str, Any]:
        """The options that keep a task on usable nodes; where there is none, it goes anywhere and says so."""
        out = sorted(self.left_out()) if self.usable() else []
        options: dict[str, Any] = {"label_selector": {NODE_LABEL: f"!in({','.join(out)})"}} if out else {}
        if self._near():
            options["resources"] = {NEAR: NEAR_SHARE}
        return options

    def _near(self) -> bool:
        return any(node["Resources"].get(NEAR) for node in self._living().values())

    def _living(self) -> dict[str, Node]:
        if time.monotonic() > self._looked + LOOK_SECONDS:
            self._alive = {node["NodeID"]: node for node in self._look() if node["Alive"]}
            self._looked = time.monotonic()
        return self._alive


NODES = Nodes(lambda: ray.nodes())  # type: ignore[no-untyped-call]  # of the cluster this process is connected to


class Errand:
    """A function that runs as a task on a node that sees the storage. Ray does not retry it: the driver does."""

    def __init__(self, call: Any, options: Mapping[str, Any]) -> None:
        self._call, self._options = call, options

    def options(self, **more: Any) -> Errand:
        """The same errand with further options of Ray."""
        return Errand(self._call, {**self._options, **more})

    def remote(self, *arguments: Any) -> Any:
        """Send it off; the reference to its result."""
        return self._call.options(**self._options, **NODES.placement()).remote(NODES.beacon, NODES.limits, *arguments)


def errand(**options: Any) -> Callable[[Callable[..., Any]], Errand]:
    """Make a function an Errand with these options of Ray."""
    return lambda function: Errand(ray.remote(max_retries=0, **options)(_looking_first(function)), {})


def _looking_first(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(beacon: Beacon | None, limits: Mapping[str, float], *arguments: Any) -> Any:
        if beacon:
            beacon.see(ray.get_runtime_context().get_node_id())
        configure()
        began = time.monotonic()
        with within(stage, limits[stage]):
            result = function(*arguments)
        seconds = round(time.monotonic() - began, 3)
        took(stage, seconds)
        event(Action.TASK_DONE, stage=stage, task=ray.get_runtime_context().get_task_name() or "", seconds=seconds)
        return result

    stage = function.__name__.removesuffix("_task")
    functools.update_wrapper(run, function)
    del run.__wrapped__  # type: ignore[attr-defined]  # Ray would take the signature from it
    return run
