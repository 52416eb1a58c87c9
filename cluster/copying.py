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
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from cluster.desk import Desk
from cluster.flights import run_all
from cluster.nodes import errand
from scray.copies import AGAIN, COPYING, FAILED, PUBLISHED, WAITING, Copies
from scray.errors import DatabaseError, LeaseLost
from scray.publish import Target, rounds, send
from scray.retry import Verdict, delay_seconds, explain, judge
from scray.settings import load_settings

log = logging.getLogger(__name__)
AT_ONCE = 4
SEND_CPUS = 0.25
FOR_EVER_SECONDS = 3_153_600_000.0  # a copy that has ended is not taken up again


@errand(num_cpus=SEND_CPUS)
def send_task(folder: str, uuid: str, names: tuple[str, ...]) -> int:
    """Send some files; their bytes."""
    return send(Path(folder), uuid, names, load_settings())


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
            self._copy(document["uuid"], token)

    def _copy(self, uuid: str, token: str) -> None:
        tell = partial(self._tell, uuid, token)
        try:
            target = Target.of(self.desk.settings)
            size = self._send(uuid, tell)
        except (LeaseLost, _Draining, DatabaseError):
            raise
        except Exception as error:
            self._fail(error, tell)
            return
        self.tries = 0
        tell({"state": PUBLISHED, "link": target.link(uuid), "bytes": size}, FOR_EVER_SECONDS)

    def _send(self, uuid: str, tell: Callable[..., None]) -> int:
        folder = self.desk.storage.converted_dir(uuid)
        told, done = time.monotonic(), 0
        tell({"state": COPYING, "bytes": 0})

        def stop() -> None:
            nonlocal told
            if self.leaving():
                raise _Draining
            if time.monotonic() - told > self.desk.settings.lease_seconds / 3:
                told = time.monotonic()
                tell({"state": COPYING, "bytes": done})

        for portions in rounds(folder):
            calls = ((names, partial(send_task.remote, str(folder), uuid, names)) for names in portions)
            for _, size in run_all(calls, AT_ONCE, stop):
                done += size
        return done

    def _fail(self, error: Exception, tell: Callable[..., None]) -> None:
        """Told for good, or to be tried again after a while."""
        code, message = explain(error)
        self.tries += 1
        final = judge(error) is Verdict.PERMANENT
        state = {"state": FAILED if final else WAITING, "error_code": code, "error_message": message}
        tell(state, FOR_EVER_SECONDS if final else delay_seconds(self.tries, self.random))

    def _tell(self, uuid: str, token: str, publication: dict[str, Any], seconds: float | None = None) -> None:
        """Raises LeaseLost when a newer result, or another driver, has taken the copy over."""
        seconds = self.desk.settings.lease_seconds if seconds is None else seconds
        if not self.copies.tell(uuid, token, publication, seconds):
            raise LeaseLost(f"The copy of {uuid} is somebody else's now.")
