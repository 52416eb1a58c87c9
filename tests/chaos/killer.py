"""Kills processes of one stack while they work, and notes each kill with what its victim was doing.

Victims come from the stack's own process tree alone. A worker is stopped first, looked at, and killed only if it has a
task in hand; one that idles is let go. No task is killed a third time on the same worker's account: that is poison.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil

from cluster import head
from cluster.state import Places, State, read_state
from scray.catalog import Catalog
from scray.crash import POINTS

# `ray` with a second node on loopback: what keeps Ray on loopback also keeps its command from joining a cluster
RAY = """
from ray._private import ray_constants, services
ray_constants.ENABLE_RAY_CLUSTER = True
services.get_node_ip_address = lambda address=None: "127.0.0.1"
from ray.scripts.scripts import main
main()
"""
DEATHS_OF_A_TASK = 2  # a third would be poison, and rightly so
TASK = re.compile(r"ray::([0-9a-f]{8}:\S+)")  # how Ray shows a worker that has a task of a dataset in hand
AT_POINT = "driver at a crash point"
DATABASE_PAUSE_SECONDS = 62.0  # the stack gives up on what falls over five times in five minutes


@dataclass(frozen=True)
class Orders:
    """How many of each are to die."""

    workers: int
    drivers: int
    databases: int
    nodes: int
    points: tuple[str, ...] = POINTS

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind, as `Killer.killed` names them."""
        counts = {"worker": self.workers, "driver": self.drivers, "database": self.databases, "node": self.nodes}
        return {kind: count for kind, count in {**counts, AT_POINT: len(self.points)}.items() if count}


@dataclass
class Killer:
    stack: State
    catalog: Catalog
    faults: Path
    random: Random
    node: Node | None = None
    killed: Counter[str] = field(default_factory=Counter)
    victims: list[str] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)
    database_died: float = float("-inf")

    def note(self, kind: str, victim: str) -> None:
        self.killed[kind] += 1
        self.victims.append(f"{kind}: {victim}")

    def share(self, orders: Orders) -> float:
        """How much is done of the kind that is done least."""
        return min(self.killed[kind] / count for kind, count in orders.counts.items())

    def ahead(self, kind: str, orders: Orders) -> bool:
        """Whether more of a kind died than of the workers, whose deaths the others are spread over."""
        return self.killed[kind] / orders.counts[kind] > self.killed["worker"] / orders.counts["worker"]

    def may_strike(self, orders: Orders) -> bool:
        """Whether anything would die now if it were at work."""
        left = [kind for kind, count in orders.counts.items() if self.killed[kind] < count]
        return left != ["database"] or self.database_may_die()

    def database_may_die(self) -> bool:
        return time.monotonic() > self.database_died + DATABASE_PAUSE_SECONDS

    # --- who works ---

    def workers(self) -> list[psutil.Process]:
        """Ray's worker processes of this stack and its further node."""
        roots = [psutil.Process(self.stack.pid)] + ([psutil.Process(self.node.pid)] if self.node else [])
        return [child for root in roots for child in root.children(recursive=True)]

    def strike_worker(self) -> bool:
        """Kill one that has a task in hand; whether there was one."""
        victims = [one for one in self.workers() if task_of(one)]
        self.random.shuffle(victims)
        for victim in victims:
            with stopped(victim) as task:
                if task and self.deaths[task] < DEATHS_OF_A_TASK:
                    victim.kill()
                    self.deaths[task] += 1
                    self.note("worker", task)
                    return True
        return False

    def strike_driver(self) -> bool:
        """Kill the driver's process while it holds datasets."""
        with suppress(StopIteration, psutil.Error):
            beat = next(one for one in self.catalog.drivers() if one["alive"] and one["datasets"])
            driver = psutil.Process(beat["pid"])
            if title(driver).startswith("ray::Driver"):
                driver.kill()
                self.note("driver", f"{len(beat['datasets'])} datasets in work")
                return True
        return False

    def strike_database(self) -> bool:
        if not self.database_may_die():
            return False
        working = self.catalog.datasets({"status": {"$in": ["converting", "unzipping"]}}, limit=1)[1]
        state = read_state(Places(Path(self.stack.data)))
        if not working or state is None:
            return False
        with suppress(psutil.Error):
            psutil.Process(state.children["database"]).kill()
            self.database_died = time.monotonic()
            self.note("database", f"{working} datasets in work")
            return True
        return False

    def strike_node(self) -> bool:
        """Kill all processes of the further Ray node at once, while one of its workers has a task in hand."""
        assert self.node is not None
        tree = self.node.processes()
        working = [one for one in tree if task_of(one)]
        if not working:
            return False
        with stopped(working[0]) as task:
            if not task:
                return False
            for process in tree:
                with suppress(psutil.Error):
                    process.kill()
        self.note("node", task)
        self.node.start()
        return True

    # --- crash points ---

    def arm(self, point: str) -> None:
        (self.faults / point).touch()

    def struck(self, point: str) -> bool:
        """Whether somebody has died there."""
        if (self.faults / point).exists():
            return False
        self.note(AT_POINT, point)
        return True

    def perform(self, orders: Orders, seconds: float, idle: Any) -> None:
        """Carry out all orders in random order, as soon as there is a victim; ends early when `idle()` says so."""
        kinds = {
            "worker": self.strike_worker,
            "driver": self.strike_driver,
            "database": self.strike_database,
            "node": self.strike_node,
        }
        points = list(orders.points)
        self.random.shuffle(points)
        if points:
            self.arm(points[0])
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            left = [kind for kind in kinds if self.killed[kind] < orders.counts.get(kind, 0)]
            turn = [kind for kind in left if not self.ahead(kind, orders)] or left
            self.random.shuffle(turn)
            if not (left or points) or idle():
                return
            if points and self.struck(points[0]):
                points.pop(0)
                if points:
                    self.arm(points[0])
            for kind in turn:
                with suppress(psutil.Error, OSError):
                    if kinds[kind]():
                        break
            time.sleep(self.random.uniform(0.05, 0.3))


def title(process: psutil.Process) -> str:
    with suppress(psutil.Error, IndexError, OSError):
        return str(process.cmdline()[0])
    return ""


def task_of(process: psutil.Process) -> str:
    """The task that a worker has in hand; empty where it has none, or is no worker."""
    found = TASK.match(title(process))
    return found[1] if found else ""


@contextmanager
def stopped(process: psutil.Process) -> Iterator[str]:
    """The task a worker has in hand, while it stands still; empty where it has none."""
    try:
        process.suspend()
        yield task_of(process)
    except psutil.Error:
        yield ""
    finally:
        with suppress(psutil.Error):
            process.resume()


class Node:
    """A further Ray node on this machine, with a CPU of its own; it dies and comes back as a whole."""

    def __init__(self, stack: State, environment: dict[str, str], log: Path) -> None:
        self.stack, self.environment, self.log = stack, environment, log
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        if self.process:
            self.process.wait(20)
        agent, grpc, metrics, runtime = head.free_ports(4)
        options = {
            "address": self.stack.ray,
            "node-ip-address": head.LOOPBACK,
            "dashboard-agent-listen-port": agent,
            "dashboard-agent-grpc-port": grpc,
            "metrics-export-port": metrics,
            "runtime-env-agent-port": runtime,
            "object-store-memory": head.OBJECT_STORE_BYTES,
            "num-cpus": 1,
        }
        command = [sys.executable, "-c", RAY, "start", "--block"]
        command += [f"--{name}={value}" for name, value in options.items()]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def processes(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            me = psutil.Process(self.pid)
            return [me, *me.children(recursive=True)]
        return []

    def stop(self) -> None:
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
        if self.process:
            self.process.wait(20)
