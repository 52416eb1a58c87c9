"""Which nodes get tasks: those that see the storage of the driver, and can seal off readers where that is asked for.

The driver lays a file with a random word (a beacon) beside the uploads and beside the results. Every task reads both
before it does anything else, and leaves a note of its node beside the results. Where that cannot be done the storage
is not mounted: the node is left out for a minute, and the task goes elsewhere, which counts as no attempt. So is a
node whose kernel cannot seal off what reads files.
"""

from __future__ import annotations

import functools
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ray

from cluster.limited import within
from cluster.pulse import beat_seconds, beating
from cluster.tally import took
from scray.errors import ReaderCrashed, StorageMissing, Unsealed
from scray.limits import time_limits
from scray.log import Action, configure, event
from scray.storage import Storage, write_atomic

FOLDER = ".nodes"
NEAR = "scray_storage"  # where any node declares this resource, tasks go to such nodes alone
NEAR_SHARE = 0.001
NODE_LABEL = "ray.io/node-id"  # Ray gives it to every node
AGAIN_SECONDS = 60.0  # so long a node is left out before it is tried again
LOOK_SECONDS = 5.0
SWEPT_SECONDS = 86400.0


@dataclass(frozen=True)
class Beacon:
    """A word that only a node with the driver's storage can read: in `<folder>/.nodes/<owner>` of each folder."""

    folders: tuple[str, ...]
    owner: str
    word: str
    silence_seconds: float = 120.0  # so long the worker of a task may give no sign of life

    @classmethod
    def light(cls, storage: Storage, owner: str, silence_seconds: float = silence_seconds) -> Self:
        """Write a new word; the former one is no longer good."""
        folders = (str(storage.upload), str(storage.converted))
        beacon = cls(folders, owner, secrets.token_hex(16), silence_seconds)
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

    def leave_word(self, task: str, says: str) -> None:
        """What a worker that has to end itself wants to be known of it; `task` is Ray's number of its task."""
        write_atomic(self._word_of(task), says.encode())

    def take_word(self, task: str) -> str:
        """The word that was left, once; empty where there is none."""
        with suppress(OSError):
            says = self._word_of(task).read_text()
            self._word_of(task).unlink()
            return says
        return ""

    @contextmanager
    def there(self, task: str) -> Iterator[None]:
        """While a task runs here, a file says where, and is touched; it stays when the worker dies."""
        path = self._place_of(task)
        with suppress(OSError):  # a name in a log is not worth a task
            path.write_text(f"{platform.node()}, process {os.getpid()}")
        try:
            with beating(path, beat_seconds(self.silence_seconds)):
                yield
        finally:
            with suppress(OSError):
                path.unlink()

    def take_place(self, task: str) -> str:
        """Host and process where a task ran whose worker has died, once; empty where nobody knows."""
        with suppress(OSError):
            path = self._place_of(task)
            says = path.read_text()
            path.unlink()
            return says
        return ""

    def last_sign(self, task: str) -> int | None:
        """When the worker of a task was heard of, by the clock of the storage; None where it has not begun."""
        with suppress(OSError):
            return self._place_of(task).stat().st_mtime_ns
        return None

    def sweep(self) -> None:
        """Remove what is a day old and nobody waits for: notes, words, unfinished files. Beacons, with an @, stay."""
        before = time.time() - SWEPT_SECONDS
        for path in (path for folder in self.folders for path in (Path(folder) / FOLDER).iterdir()):
            with suppress(FileNotFoundError):
                if (path.suffix == ".tmp" or "@" not in path.name) and path.stat().st_mtime < before:
                    path.unlink()

    def _place_of(self, task: str) -> Path:
        return Path(self.folders[-1]) / FOLDER / f"task-{task}"

    def _word_of(self, task: str) -> Path:
        return Path(self.folders[-1]) / FOLDER / f"word-{task}"


@functools.cache
def _leave_note(beacon: Beacon, node: str) -> None:
    """Once a process: it shows that this node may write. Its name counts: half of it is as good as all of it."""
    (Path(beacon.folders[-1]) / FOLDER / f"{platform.node()}-{node[:8]}").write_text(beacon.word)


Node = Mapping[str, Any]  # one of `ray.nodes()`


class Nodes:
    """The nodes of the cluster as the driver knows them; several threads. `look` asks Ray."""

    def __init__(self, look: Callable[[], Sequence[Node]]) -> None:
        self.limits = time_limits(())  # how long each kind of task may take
        self.beacon: Beacon | None = None  # None: nobody asks whether the storage is seen, as on one machine
        self._look = look
        self._out: dict[str, tuple[float, str]] = {}  # until when, and why
        self._looked = float("-inf")
        self._alive: dict[str, Node] = {}

    def leave_out(self, node: str, says: str) -> bool:
        """Give this node no tasks for a while, for a reason that names its host; whether any other is left."""
        self._out = {**self._out, node: (time.monotonic() + AGAIN_SECONDS, says)}
        return bool(self.usable())

    def left_out(self) -> dict[str, str]:
        """Why each node that is left out now is, by its number."""
        now = time.monotonic()
        self._out = {node: (until, says) for node, (until, says) in self._out.items() if until > now}
        return {node: says for node, (_, says) in self._out.items() if node in self._living()}

    def take_word(self, task: str) -> str:
        """What the worker that died with this task wanted to be known; empty where it left no word."""
        return self.beacon.take_word(task) if self.beacon else ""

    def last_sign(self, task: str) -> int | None:
        """When the worker of a task was heard of; None where it has not begun, or nobody asks."""
        return self.beacon.last_sign(task) if self.beacon else None

    def take_place(self, task: str) -> str:
        """Where the worker ran that died with this task; empty where nobody knows."""
        return self.beacon.take_place(task) if self.beacon else ""

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
        there = beacon.there(ray.get_runtime_context().get_task_id() or "") if beacon else nullcontext()
        with there, _said_here(), within(stage, limits[stage], _leaving_word(beacon)):
            result = function(*arguments)
        seconds = round(time.monotonic() - began, 3)
        took(stage, seconds)
        event(Action.TASK_DONE, stage=stage, task=ray.get_runtime_context().get_task_name() or "", seconds=seconds)
        return result

    stage = function.__name__.removesuffix("_task")
    functools.update_wrapper(run, function)
    del run.__wrapped__  # type: ignore[attr-defined]  # Ray would take the signature from it
    return run


def _leaving_word(beacon: Beacon | None) -> Callable[[str], None]:
    """How the task that runs now leaves word for the driver."""
    task = ray.get_runtime_context().get_task_id() or ""
    return (lambda says: beacon.leave_word(task, says)) if beacon else lambda _: None


@contextmanager
def _said_here() -> Iterator[None]:
    """That readers cannot be sealed off is said of this node, not of the dataset; where one crashed is noted."""
    try:
        yield
    except ReaderCrashed as error:
        error.add_note(f"{platform.node()}, process {os.getpid()}")
        raise
    except Unsealed as error:
        node = ray.get_runtime_context().get_node_id()
        raise Unsealed(f"{platform.node()} cannot seal off readers: {error.message}", node) from None
