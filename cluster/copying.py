"""Results on their way to the operator's bucket, after `done`: one dataset at a time, by Ray tasks, beside the queue.

The copy is a right of its own, with a token and a time: whoever is silent loses it, and a new result takes it from
everybody. What has arrived is recognised by its checksum, so another driver goes on where this one was stopped.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from cluster.desk import Desk
from cluster.flights import run_all
from cluster.nodes import NODES, errand
from scray.copies import AGAIN, COPYING, FAILED, PUBLISHED, WAITING, Copies
from scray.errors import DatabaseError, LeaseLost, RemoteChanged, ScrayError
from scray.log import Action, Facts, event
from scray.manifest import MANIFEST
from scray.publish import Outgoing, Target, clear, outgoing, send
from scray.retry import Verdict, delay_seconds, explain, judge
from scray.runlog import RunLog, runs
from scray.settings import load_settings
from scray.status import ENDS, Status, read_status

log = logging.getLogger(__name__)
AT_ONCE = 4  # tasks a node, and heads of a result
SEND_CPUS = 0.25
SWEEP_SECONDS = 3600.0
FOR_EVER_SECONDS = 3_153_600_000.0  # a copy that has ended is not taken up again


@errand(num_cpus=SEND_CPUS, scheduling_strategy="SPREAD")
def send_task(folder: str, uuid: str, names: tuple[str, ...]) -> int:
    """Send some files; their bytes."""
    return send(Path(folder), uuid, names, load_settings())


def at_once() -> int:
    """How many tasks may be under way, as of now: nodes come and go."""
    return AT_ONCE * max(1, len(NODES.usable()))


def wanted(desk: Desk, uuid: str) -> dict[str, Any]:
    """The fields that ask for a copy of a new result, where the operator and the dataset want one."""
    document = desk.catalog.get(uuid)
    if not desk.settings.publish_url or document is None or document.get("publish") is False:
        return {}
    return AGAIN


class _Draining(Exception):
    """The driver gives its work back."""


class Copier:
    """A thread of the driver; `leaving` tells when to stop."""

    def __init__(self, desk: Desk, copies: Copies, leaving: Callable[[], bool]) -> None:
        self.desk, self.copies, self.leaving = desk, copies, leaving
        self.random = Random()
        self.tries = 0
        self.swept = float("-inf")

    def start(self) -> None:
        threading.Thread(target=self._live, name="copier", daemon=True).start()

    def _live(self) -> None:
        while not self.leaving():
            try:
                self._round()
            except (DatabaseError, LeaseLost, _Draining):
                pass  # the right to copy runs out, and is taken again
            except Exception:
                log.exception("a copy to the bucket failed unforeseen")
            time.sleep(self.desk.settings.poll_seconds)

    def _round(self) -> None:
        token = secrets.token_hex(16)
        document = self.copies.claim(token, self.desk.settings.lease_seconds)
        if document is not None:
            self._copy(Copy(self.desk, self.copies, document["uuid"], token, self.leaving))
        elif time.monotonic() > self.swept + SWEEP_SECONDS:
            self.swept = time.monotonic()
            self.sweep()

    def _copy(self, copy: Copy) -> None:
        try:
            target = Target.of(self.desk.settings)
            size = copy.send()
        except (LeaseLost, _Draining, DatabaseError):
            raise
        except Exception as error:
            self._fail(error, copy)
            return
        self.tries = 0
        self._clear(copy.is_anothers, copy.uuid)
        copy.tell({"state": PUBLISHED, "link": target.link(copy.uuid), "bytes": size}, FOR_EVER_SECONDS)

    def _fail(self, error: Exception, copy: Copy) -> None:
        """Told for good, or to be tried again after a while."""
        code, message = explain(error)
        self.tries += 1
        final = judge(error) is Verdict.PERMANENT and not isinstance(error, RemoteChanged)
        if final:
            self._clear(copy.is_anothers, copy.uuid)
        state = {"state": FAILED if final else WAITING, "error_code": code, "error_message": message}
        copy.tell(state, FOR_EVER_SECONDS if final else delay_seconds(self.tries, self.random))

    def sweep(self) -> None:
        """End the uploads of parts of copies that nobody goes on with: they failed, or their datasets have ended."""
        self._clear(self._goes_on, "")

    def _clear(self, goes_on: Callable[[str, datetime], bool], uuid: str) -> None:
        with suppress(ScrayError):  # it is only space; some keys may not list, and a rule of the bucket may do it
            clear(self.desk.settings, goes_on, uuid)

    def _goes_on(self, uuid: str, begun: datetime) -> bool:
        """What is not in the database may be of another system with the same bucket: it has its time."""
        document = self.desk.catalog.get(uuid)
        if document is None:
            return (self.desk.queue.now() - begun).total_seconds() < self.desk.settings.session_seconds
        status = read_status(document["status"])
        state = (document.get("publication") or {}).get("state")
        return state in {WAITING, COPYING} and (status is Status.DONE or status not in ENDS)


class Copy:
    """One result on its way, under a token. Everything raises LeaseLost when a newer result, or another driver, has
    taken the copy over.
    """

    def __init__(self, desk: Desk, copies: Copies, uuid: str, token: str, leaving: Callable[[], bool]) -> None:
        self.desk, self.copies, self.uuid, self.leaving = desk, copies, uuid, leaving
        self.folder = desk.storage.converted_dir(uuid)
        self._token = token
        self._told, self._sent = time.monotonic(), 0
        self._result: tuple[int, ...] = ()

    def send(self) -> int:
        """Everything; its bytes. What the next result replaces is sent from here, by nobody who may be late."""
        self.tell({"state": COPYING, "bytes": 0})
        self._result = self._look()
        out = outgoing(self.folder)
        for portions in out.rounds:
            task = send_task.options(name=f"{self.uuid[:8]}:send").remote
            calls = ((f"send {names[0]}", partial(task, str(self.folder), self.uuid, names)) for names in portions)
            for _, size in run_all(calls, at_once, self._stop, self._tell_death):
                self._sent += size
        self._send_heads(out)
        return self._sent

    def _send_heads(self, out: Outgoing) -> None:
        """A few at a time; the last of all one after the other."""
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for size in pool.map(self._send_fenced, filter(None, (out.heads[n::AT_ONCE] for n in range(AT_ONCE)))):
                self._sent += size
        finally:
            pool.shutdown(cancel_futures=True)
        self._sent += self._send_fenced(out.last)

    def _send_fenced(self, names: tuple[str, ...]) -> int:
        return send(self.folder, self.uuid, names, self.desk.settings, self._fence)

    def _fence(self) -> None:
        """The copy is still ours, and what is here still the result whose data were sent."""
        self.tell({"state": COPYING, "bytes": self._sent})
        if self.leaving():
            raise _Draining
        if self._look() != self._result:
            raise LeaseLost(f"There is a newer result of {self.uuid}.")

    def is_anothers(self, *_unfinished: object) -> bool:
        """Asked of an upload of parts after it was found: as long as this copy is ours, it is nobody else's."""
        self.tell({"state": COPYING, "bytes": self._sent})
        return False

    def _look(self) -> tuple[int, ...]:
        """What tells one result from the next."""
        found = (self.folder / MANIFEST).stat()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _stop(self) -> None:
        if self.leaving():
            raise _Draining
        if time.monotonic() - self._told > self.desk.settings.lease_seconds / 3:
            self.tell({"state": COPYING, "bytes": self._sent})

    def tell(self, publication: dict[str, Any], seconds: float | None = None) -> None:
        """Say how it is getting on; nobody else takes it for so long."""
        self._told = time.monotonic()
        seconds = self.desk.settings.lease_seconds if seconds is None else seconds
        if not self.copies.tell(self.uuid, self._token, publication, seconds):
            raise LeaseLost(f"The copy of {self.uuid} is somebody else's now.")

    def _tell_death(self, task: str, times: int, says: str) -> None:
        """In the log of the run that made the result, too."""
        folder = self.desk.storage.log_dir(self.uuid)
        for run in runs(folder)[-1:]:
            facts: Facts = {"dataset": self.uuid, "run": run, "task": task, "count": times}
            event(Action.TASK_DIED, says, level=logging.WARNING, **facts)
            RunLog(folder, run).write(Action.TASK_DIED, says, level=logging.WARNING, **facts)
