"""The driver: a thin actor that claims datasets, runs a thread for each, and keeps their leases.

Everything it knows can be rebuilt from the database and the disk; killing it loses nothing but time. What it does next
is decided by `scray.reconcile`, which is pure; here it is done.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import Any

from cluster import copying, reaping
from cluster.conversion import Conversion
from cluster.desk import Desk
from cluster.flights import cluster_cpus
from cluster.lookout import Lookout
from cluster.nodes import NODES, Beacon
from cluster.tally import Tally
from cluster.version import code_version
from scray import reconcile
from scray.catalog import Catalog
from scray.copies import Copies
from scray.crash import reach
from scray.database import connect
from scray.errors import DatabaseError
from scray.limits import time_limits
from scray.log import Action, configure, event
from scray.orders import Orders
from scray.queue import Claim, Queue
from scray.reconcile import (
    BEATS_A_LEASE,
    NEVER,
    Beat,
    Expire,
    Forget,
    Leave,
    Reap,
    Renew,
    Snapshot,
    Stop,
    Take,
    Work,
    decide,
)
from scray.sessions import Sessions
from scray.settings import Settings, load_settings

log = logging.getLogger(__name__)
LEAVE_SECONDS = 8.0  # how long a driver that is told to end may take to give its work back
DATASETS_PER_CPU = 2  # while one waits for its last brick, another fills the workers
MOST_DATASETS = 200  # each is a thread; on a larger cluster they are not needed to fill it
CLAIMING_SECONDS = 0.1  # so that leases are renewed in time, however much there is to claim
LISTEN_AGAIN_SECONDS = 30.0
LEAST_PAUSE_SECONDS = 0.05


@dataclass
class Held:
    """A conversion and what the driver knows of its lease."""

    conversion: Conversion
    work: Work


class Driver:
    """Works on the datasets of one queue until it is drained or killed. Its methods answer while it works."""

    def __init__(self, name: str) -> None:
        configure()
        settings = load_settings()
        database = connect(settings.mongo_url, settings.db_name)
        queue = Queue(database, lease_seconds=settings.lease_seconds)
        sessions = Sessions(database, settings.session_seconds)
        self.owner = owner_name(name, settings)
        tally = Tally(self.owner)
        self.desk = Desk(queue, Catalog(database), settings, settings.storage(), sessions, tally)
        self.desk.storage.create()
        self.orders, self.lookout = Orders(database), Lookout()
        NODES.limits = time_limits(settings.time_limits)
        NODES.beacon = Beacon.light(self.desk.storage, self.owner, settings.silence_seconds)
        self.version = code_version()
        self.held: dict[str, Held] = {}
        self.draining, self.left = threading.Event(), threading.Event()
        self.wake = threading.Event()
        self.state = Snapshot((), self._slots(), settings.lease_seconds, settings.poll_seconds)
        self.adopted, self.reaper = False, threading.Thread()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(not self.drain(LEAVE_SECONDS)))
        event(Action.DRIVER_STARTED, f"code {self.version}", driver=self.owner)
        threading.Thread(target=self._live, name="driver", daemon=True).start()
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        if settings.publish_url:
            copying.Copier(self.desk, Copies(database), self.draining.is_set).start()

    def about(self) -> dict[str, Any]:
        """Who it is and what it works on."""
        return {"owner": self.owner, "version": self.version, "pid": os.getpid(), "datasets": sorted(self.held)}

    def drain(self, seconds: float) -> bool:
        """Claim nothing more and give everything back; whether that was done in time."""
        self.draining.set()
        return self.left.wait(seconds)

    # --- the loop ------------------------------------------------------------------------------------

    def _live(self) -> None:
        while not self.left.is_set():
            try:
                self._round()
            except Exception:
                log.exception("a round of the driver failed")
            time.sleep(min(LEAST_PAUSE_SECONDS, self.desk.settings.poll_seconds))
            if self.wake.wait(self.desk.settings.poll_seconds):
                self.wake.clear()
                self.state = replace(self.state, claimed_at=NEVER)

    def _listen(self) -> None:
        """Be woken by changes of the queue, where the database tells them; looking at it is what counts."""
        while not self.left.is_set():
            with suppress(DatabaseError):
                self.desk.queue.follow(self.wake.set)
            self.left.wait(LISTEN_AGAIN_SECONDS)

    def _slots(self) -> int:
        """How many datasets at a time: enough small ones to fill the cluster, whose bricks a large one fills alone."""
        return min(MOST_DATASETS, DATASETS_PER_CPU * (self.desk.settings.workers or cluster_cpus()))

    def _round(self) -> None:
        if not self.adopted:
            with _database_may_be_away():
                self._adopt()
        with _database_may_be_away():
            self._obey(self.orders.drained(self.owner))
        cancels: set[str] = set()
        with _database_may_be_away():
            cancels = self.desk.queue.cancels() if self.held else cancels
        for held in self.held.values():
            self._look_at(held, cancels)
        works = tuple(held.work for held in self.held.values())
        self.state = replace(self.state, draining=self.draining.is_set())
        for action in decide(replace(self.state, works=works), time.monotonic()):
            with _database_may_be_away():
                self._perform(action)

    def _adopt(self) -> None:
        """A restarted driver goes on with what it held, at once."""
        asked = time.monotonic()
        for claim in self.desk.queue.adopt(self.owner):
            self._begin(claim, asked, Action.ADOPTED)
        self.adopted = True

    def _obey(self, resting: bool) -> None:
        """Everybody hears at once of a driver that rests, or works again."""
        if resting != self.state.resting:
            self.state = replace(self.state, resting=resting, beat_at=NEVER)
            event(Action.DRIVER_RESTED if resting else Action.DRIVER_RESUMED, driver=self.owner)

    def _look_at(self, held: Held, cancels: set[str]) -> None:
        conversion = held.conversion
        wanted = not conversion.ended and conversion.claim.token in cancels
        lost = held.work.lost or conversion.order == "lost"
        held.work = replace(held.work, cancel_wanted=wanted, lost=lost, ended=conversion.ended)

    def _perform(self, action: reconcile.Action) -> None:
        now = time.monotonic()
        match action:
            case Renew(uuid):
                self._renew(self.held[uuid], now)
            case Stop(uuid, order):
                self.held[uuid].conversion.stop(order)
                self.held[uuid].work = replace(self.held[uuid].work, ordered=order)
            case Forget(uuid):
                del self.held[uuid]
            case Take(count):
                self._take(count, now)
            case Beat():
                self.desk.catalog.beat(self.owner, self._pulse())
                self.state = replace(self.state, beat_at=now, slots=self._slots())
            case Expire():
                self._expire()
                self.state = replace(self.state, expired_at=now)
            case Reap():
                self._reap()
                self.state = replace(self.state, reaped_at=now)
            case Leave():
                self.left.set()

    def _reap(self) -> None:
        """Beside the loop: a large result takes minutes to remove, and leases are to be renewed meanwhile."""
        if not self.reaper.is_alive():
            self.reaper = threading.Thread(target=self._reap_once, args=(set(self.held),), name="reaper", daemon=True)
            self.reaper.start()

    def _reap_once(self, in_work: set[str]) -> None:
        try:
            with _database_may_be_away():
                reaping.reap(self.desk, in_work)
        except Exception:
            log.exception("a round of the reaper failed")

    def _expire(self) -> None:
        for uuid in self.desk.queue.expire():
            event(Action.EXPIRED, dataset=uuid, driver=self.owner)
            self.desk.tally.hear(Action.EXPIRED, {})

    def _renew(self, held: Held, now: float) -> None:
        held.work = replace(held.work, tried_at=now)
        if self.desk.queue.renew(held.conversion.claim):
            held.work = replace(held.work, renewed_at=now)
        else:
            held.work = replace(held.work, lost=True)

    def _take(self, count: int, now: float) -> None:
        running, queue = Counter(held.conversion.claim.dataset.user for held in self.held.values()), self.desk.queue
        line = self.lookout.line(lambda: queue.look(running), lambda seconds: queue.news(seconds, running))
        for claim in islice(queue.take(line, self.owner, running), count):
            reach("claimed")
            self._begin(claim, now, Action.CLAIMED)
            if time.monotonic() > now + CLAIMING_SECONDS:
                break
        self.state = replace(self.state, claimed_at=now)

    def _begin(self, claim: Claim, asked: float, action: Action) -> None:
        if former := self.held.get(claim.uuid):
            former.conversion.stop("lost")  # the database took it from us, and nobody told it yet
        conversion = Conversion(claim, self.desk)
        conversion.tell(action, str(claim.status), driver=self.owner, attempt=claim.attempt)
        self.held[claim.uuid] = Held(conversion, Work(claim.uuid, renewed_at=asked))
        conversion.start()

    def _pulse(self) -> dict[str, Any]:
        period = self.desk.settings.lease_seconds / BEATS_A_LEASE
        speed = sum(held.conversion.meter.speed for held in self.held.values())
        self.desk.tally.speed(speed)
        return {
            **self.about(),
            "period_seconds": period,
            "host": socket.gethostname(),
            "slots": self.state.slots,
            "resting": self.state.resting,
            "cpus": cluster_cpus(),
            "speed_bytes_per_second": speed,
            "counts": self.desk.tally.counts(),
            "left_out": sorted(set(NODES.left_out().values())),
        }


@contextmanager
def _database_may_be_away() -> Iterator[None]:
    """What needs the database waits; what does not, above all stopping work whose lease ran out, goes on."""
    try:
        yield
    except DatabaseError as error:
        event(Action.DATABASE_AWAY, error.message, level=logging.WARNING, code=error.code)


def owner_name(name: str, settings: Settings) -> str:
    """The same after every restart, another on each host and for each data folder."""
    folder = sha256(str(settings.storage().converted).encode()).hexdigest()[:6]
    return f"{name}@{socket.gethostname()}-{folder}"
