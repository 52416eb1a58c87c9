"""One run of a dataset: what a claim allows, and how its end comes; all that its work asks of the driver and tells it.

Importing, checking and converting are work of such runs, and know nothing else of the thread that does it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar, Unpack

from cluster.desk import Desk
from cluster.meter import Meter
from scray.dataset import Progress
from scray.errors import DatabaseError
from scray.log import Action, Facts, event
from scray.queue import Claim
from scray.reconcile import Order
from scray.runlog import RunLog, run_name

RETRY_SECONDS = 1.0
T = TypeVar("T")


class Stopped(Exception):
    """This run was told to stop; `Run.order` says why."""


class Run:
    """What is done under one claim. `stop(order)` ends it soon: "lost", "cancel" or "drain"."""

    def __init__(self, claim: Claim, desk: Desk) -> None:
        self.claim, self.desk = claim, desk
        self.label = claim.uuid[:8]  # of its tasks, as Ray shows them
        self.order: Order | None = None
        self.began = time.monotonic()
        self.meter = Meter(self._tell)
        self.log = RunLog(desk.storage.log_dir(claim.uuid), run_name(claim.token, datetime.now(UTC)))
        self.stage = ""

    def stop(self, order: Order) -> None:
        """Having lost the dataset goes over the other orders."""
        if order == "lost" or not self.order:
            self.order = order

    def check(self) -> None:
        """Raises Stopped once an order is there."""
        if self.order:
            raise Stopped

    def lost(self) -> NoReturn:
        """The queue does not know this claim any more."""
        self.stop("lost")
        raise Stopped

    def _tell(self, progress: Progress, advanced: bool) -> None:
        """What the database does not hear now it hears next time; the lease says when it is too late."""
        self.check()
        if progress.stage != self.stage:
            self.stage = progress.stage
            self.tell(Action.STAGE_BEGUN, stage=self.stage, bytes=progress.total_bytes)
        with suppress(DatabaseError):
            if not self.desk.queue.progress(self.claim, progress, advanced=advanced):
                self.lost()

    def insist(self, ask: Callable[[], T]) -> T | None:
        """Ask again while the database is away and the lease may still be ours; None when it is lost."""
        while self.order != "lost":
            with suppress(DatabaseError):
                return ask()
            time.sleep(RETRY_SECONDS)
        return None

    def tell(self, action: Action, message: str = "", *, level: int = logging.INFO, **more: Unpack[Facts]) -> None:
        """Something happened in this run: for the program's log, the run's own, and the counters."""
        facts: Facts = {"dataset": self.claim.uuid, "run": self.log.run, **more}
        event(action, message, level=level, **facts)
        self.log.write(action, message, level=level, **facts)
        self.desk.tally.hear(action, facts)

    def tell_death(self, task: str, times: int, says: str) -> None:
        """A task of this run was interrupted, and is tried again."""
        self.tell(Action.TASK_DIED, says, level=logging.WARNING, task=task, count=times)

    def record(self, action: Action, values: Mapping[str, Any]) -> None:
        """Append to the dataset's history."""
        known = {"event": action.value, "run": self.log.run, "attempt": self.claim.attempt}
        with suppress(DatabaseError):  # history only
            self.desk.catalog.record_run(self.claim.uuid, {**known, **values})
