"""Looks at the queue beside the thread that renews leases: with ten thousand datasets waiting a look may take a second.

What a look found is used until it has aged; a claim shows anyway what is no longer true of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from scray.queue import Line
from scray.reconcile import NEVER

MOMENT_SECONDS: Final = 0.05  # a short look is waited for
TIMES: Final = (
    10.0  # a look is good for so many times what it took: looking keeps the database busy a tenth of the time
)


class _Look:
    """One look under way, in a thread of its own."""

    def __init__(self, ask: Callable[[], Line]) -> None:
        self._ask = ask
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)
        self.took_seconds = 0.0
        self.line: Line = {}
        self.error: Exception | None = None
        self._thread.start()

    def _run(self) -> None:
        try:
            self.line = self._ask()
        except Exception as error:
            self.error = error
        self.took_seconds = time.monotonic() - self._began

    def ended(self, within_seconds: float) -> bool:
        self._thread.join(within_seconds)
        return not self._thread.is_alive()


class Lookout:
    """Knows what waits; one thread asks it."""

    def __init__(self) -> None:
        self._line: Line = {}
        self._good_until = NEVER
        self._look: _Look | None = None

    def line(self, ask: Callable[[], Line]) -> Line:
        """What is known to wait, of which the caller removes what it tried; where that has aged, or is used up, `ask`
        is called, and its answer returned if it comes within a moment, else by a later call. Raises what `ask` raised.
        """
        if not self._look and (not self._line or time.monotonic() >= self._good_until):
            self._look = _Look(ask)
        if self._look and self._look.ended(MOMENT_SECONDS):
            look, self._look = self._look, None
            if look.error:
                raise look.error
            self._line, self._good_until = look.line, time.monotonic() + TIMES * look.took_seconds
        return self._line
