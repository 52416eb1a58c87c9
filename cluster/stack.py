"""A whole local scray on loopback, one per data folder: database, Ray head, API and the driver's watchdog.

One process, the stack, starts the others and stays: it starts again what falls over, and ends everything when it is
told to (SIGINT, SIGTERM, SIGHUP) or dies itself. Two stacks on two data folders do not see each other.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from urllib.request import urlopen

import psutil

from cluster import embedded, head
from cluster.children import MARK, TETHER, Child, sweep
from cluster.environment import for_child, stack_settings, write_settings
from cluster.state import Places, State, holds, is_held, only_one, read_state, without_password
from scray.catalog import Catalog
from scray.database import connect
from scray.errors import DatabaseError, ScrayError
from scray.settings import Settings, load_settings
from scray.sizes import size_text
from scray.storage import free_bytes

START_SECONDS = 120.0
STOP_SECONDS = 60.0
RESTARTS, RESTARTS_WITHIN_SECONDS = 5, 300.0
TICK_SECONDS = 0.2
LOOK_SECONDS = 3.0
LEAST_FREE_BYTES = 64 << 20


class StackFailed(ScrayError):
    """The local stack could not be started."""

    code = "stack-failed"


class StackRuns(ScrayError):
    """A stack runs on this data folder already."""

    code = "stack-runs"


class Stopped(Exception):
    """Somebody asked the stack to end."""


class Stack:
    """The stack of one data folder. `run` returns when it was told to stop, with every process of it ended."""

    def __init__(self, data: Path) -> None:
        self.places = Places(data.resolve())
        self.id = new_id()
        self.children: dict[str, Child] = {}
        self.stopping = threading.Event()
        self.ports: head.Ports  # Ray's, chosen when it starts
        self.raylet, self.looked = False, 0.0  # whether Ray's was there when it was last looked for, and when
        self.state = State(self.id, "starting", os.getpid(), str(self.places.data))
        self.state.token_file, self.state.settings_file = str(self.places.token), str(self.places.settings)

    def run(self, on_ready: Callable[[State], None] = lambda _: None) -> None:
        """Start, report, watch, stop. Raises StackRuns, StackFailed, NoDatabase."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stopping.set())
        self.places.create()
        with only_one(self.places) as alone:
            if not alone:
                raise StackRuns
            try:
                self._clear_remains()
                self._start_all()
                on_ready(self.state)
                self._watch()
            except Stopped:
                pass
            finally:
                self._stop_all()

    def _clear_remains(self) -> None:
        """What a stack left that was killed: its processes and its state file."""
        if old := read_state(self.places):
            sweep(old.id)
        self.state.write(self.places)

    def _start_all(self) -> None:
        require_space(self.places.data)
        settings = stack_settings(self.places)
        embedded_database = not settings.get("MONGO_URL")
        if embedded_database:
            self._start_database()
        else:
            ask_database(load_settings())
        self._start_ray(int(settings.get("SCRAY_WORKERS", 0)))
        if embedded_database:
            settings["MONGO_URL"] = self._await_database()
        write_settings(self.places.settings, settings)
        self.state.mongo = without_password(settings["MONGO_URL"])
        self.state.api = f"http://{head.LOOPBACK}:{settings['SCRAY_API_PORT']}"
        self._add("api", lambda: [sys.executable, "-m", "api"])
        self._await("ray", self._ray_answers)
        self._add("driver", lambda: [sys.executable, "-m", "cluster.driver"])
        self._await("api", lambda: succeeds(f"{self.state.api}/healthz"))
        self._await("driver", lambda: "runs code" in self.children["driver"].last_words())
        self._await("driver", lambda: succeeds(f"{self.state.api}/readyz"))
        self._enter("ready")

    def _start_database(self) -> None:
        server, folder, log = embedded.find_server(), self.places.database, self.places.log("database")
        self._add("database", lambda: embedded.command(server, folder, embedded.port_in(log) or 0))

    def _await_database(self) -> str:
        log = self.places.log("database")
        self._await("database", lambda: embedded.port_in(log) is not None)
        return embedded.url(embedded.port_in(log) or 0)

    def _start_ray(self, cpus: int) -> None:
        ports, folder = head.Ports.choose(), head.temporary_folder(self.places.data)
        head.write_token(self.places.token)
        self.state.ray, self.state.dashboard = ports.address, ports.dashboard_url
        self.state.temporary, self.ports = str(folder), ports
        self._add("ray", lambda: head.command(ports, folder, cpus or os.cpu_count() or 1))

    def _ray_answers(self) -> bool:
        return answers(self.ports.gcs) and answers(self.ports.dashboard)

    def _environment(self) -> dict[str, str]:
        environment = for_child(self.id, self.places.settings)
        return {**head.environment(environment, self.places.token), "RAY_ADDRESS": self.state.ray}

    def _add(self, name: str, command: Callable[[], list[str]]) -> None:
        if self.stopping.is_set():
            raise Stopped
        log = self.places.log(name)
        log.unlink(missing_ok=True)
        child = self.children[name] = Child(name, command, self._environment(), log)
        child.start()
        self._enter("starting")

    def _enter(self, phase: str) -> None:
        self.state.phase = phase  # type: ignore[assignment]
        self.state.children = {name: child.pid for name, child in self.children.items() if child.pid}
        self.state.write(self.places)

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait for one child; all of them must live meanwhile."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            for child in self.children.values():
                if not child.running:
                    raise StackFailed(f"{child.name} did not start. The end of {child.log}: {child.last_words()}")
            if time.monotonic() > deadline:
                raise StackFailed(
                    f"{name} was not ready after {START_SECONDS:.0f} seconds. See {self.places.log(name)}"
                )
            if self.stopping.wait(TICK_SECONDS):
                raise Stopped

    def _watch(self) -> None:
        """Start again what falls over, until told to stop; what keeps falling over ends the stack."""
        while not self.stopping.wait(TICK_SECONDS):
            for child in self.children.values():
                if self._fell(child):
                    self._start_again(child)

    def _fell(self, child: Child) -> bool:
        """Whether it is to be started again now: the driver not before there is a Ray for it."""
        if child.running:
            return child.name == "ray" and self._lost_raylet(child)
        return child.name != "driver" or self._ray_answers()

    def _start_again(self, child: Child) -> None:
        if child.restarts_within(RESTARTS_WITHIN_SECONDS) > RESTARTS:
            raise StackFailed(f"{child.name} keeps ending. The end of {child.log}: {child.last_words()}")
        child.stop()
        if child.name == "ray":
            self.children["driver"].kill()  # by itself it would notice after a minute that its Ray is gone
        child.start()
        with suppress(OSError):  # a disk that is full ends nothing
            self._enter("ready")

    def _lost_raylet(self, ray: Child) -> bool:
        """Whether Ray's raylet has ended since the last look: `ray start --block` may stay without it."""
        if time.monotonic() < self.looked + LOOK_SECONDS:
            return False
        before, self.looked = self.raylet, time.monotonic()
        with suppress(psutil.Error):
            self.raylet = any(p.name() == "raylet" for p in psutil.Process(ray.pid).children(recursive=True))
            return before and not self.raylet
        return False

    def _stop_all(self) -> None:
        """In the order of dependence, the database last; then whatever else carries the mark."""
        with suppress(OSError):
            self._enter("stopping")
        for name in ("driver", "api", "ray", "database"):
            if child := self.children.get(name):
                child.stop()
        sweep(self.id)
        if self.state.temporary:
            rmtree(self.state.temporary, ignore_errors=True)
        self.places.state.unlink(missing_ok=True)


def new_id() -> str:
    """The mark of a new stack: that of this process where it has one, else a random one."""
    return os.environ.get(MARK) or os.urandom(8).hex()


def require_space(folder: Path) -> None:
    """Raises StackFailed where the disk is as good as full: a database that cannot write waits and says nothing."""
    if (free := free_bytes(folder)) < LEAST_FREE_BYTES:
        raise StackFailed(
            f"Only {size_text(free)} are free at {folder}: make room, or name another folder with --data."
        )


def ask_database(settings: Settings) -> None:
    """Raises StackFailed, with what to do, where the database that was named does not answer; BadParameter for a name
    of none.
    """
    database = connect(settings.mongo_url, settings.db_name)
    with database.client:
        try:
            Catalog(database).ping()
        except DatabaseError as error:
            raise StackFailed(
                f"{error.message}. MONGO_URL names it: start it, correct the name, or unset it for the embedded one."
            ) from error


def answers(port: int) -> bool:
    """Whether something listens on this port of loopback."""
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((head.LOOPBACK, port)) == 0


def succeeds(url: str) -> bool:
    with suppress(OSError), urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


# --- from outside ------------------------------------------------------------------------------------


def spawn(data: Path, *, detach: bool) -> tuple[subprocess.Popen[bytes], State]:
    """Start a stack in a process of its own and wait until it is ready. Unless detached it dies with the caller."""
    places = Places(data.resolve())
    places.create()
    if is_held(places):
        raise StackRuns
    stack_id = new_id()
    process = None
    try:
        process = _launch(places, stack_id, [] if detach else [sys.executable, "-S", str(TETHER), str(os.getpid())])
        return process, _await_ready(process, places, stack_id)
    except BaseException:
        end(process, stack_id)
        raise


def _launch(places: Places, stack_id: str, tether: list[str]) -> subprocess.Popen[bytes]:
    with places.log("stack").open("wb") as log:
        return subprocess.Popen(
            [*tether, sys.executable, "-m", "cluster.stack", str(places.data)],
            env={**os.environ, MARK: stack_id},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _await_ready(process: subprocess.Popen[bytes], places: Places, stack_id: str) -> State:
    while process.poll() is None:
        state = read_state(places)
        if state and state.id == stack_id and state.phase == "ready":
            return state
        time.sleep(TICK_SECONDS)
    lines = places.log("stack").read_text(errors="replace").strip().splitlines()
    raise StackFailed(lines[-1] if lines else None)


def end(process: subprocess.Popen[bytes] | None, stack_id: str) -> None:
    """End a stack that this process spawned, and anything that is left of it."""
    if process:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    sweep(stack_id)


@contextmanager
def running(data: Path) -> Iterator[State]:
    """A ready stack for the length of a block."""
    process, state = spawn(data, detach=False)
    try:
        yield state
    finally:
        end(process, state.id)


def down(data: Path) -> bool:
    """End the stack of a data folder; False when none ran. Returns when no process of it is left."""
    places = Places(data.resolve())
    state, ran = read_state(places), is_held(places)
    if state is None:
        return False
    with suppress(psutil.Error):
        process = psutil.Process(state.pid)
        if holds(process, places):
            process.terminate()
            process.wait(STOP_SECONDS)
    ended = sweep(state.id)
    places.state.unlink(missing_ok=True)
    return ran or ended > 0


def main() -> int:
    try:
        Stack(Path(sys.argv[1])).run()
    except ScrayError as error:
        print(error.message, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
