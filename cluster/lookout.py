"""Looks at the queue beside the thread that renews leases: with ten thousand datasets waiting a look may take a second.

What a look found is used until it has aged; a claim shows anyway what is no longer true of it. What was queued since
then is asked for by itself, which is quick: an urgent dataset does not wait for the next whole look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from scray.queue import Line
from scray.reconcile import NEVER

MOMENT_SECONDS: Final = 0.05  # a short look is waited for
NEWS_SECONDS: Final = 0.5  # between two questions for what is new
MARGIN_SECONDS: Final = 5.0  # a document may be in the database so long after the moment that it names
TIMES: Final = (
    10.0  # a look is good for so many times what it took: looking keeps the database busy a tenth of the time
)


class _Look:
    """One look under way, in a thread of its own."""

    def __init__(self, ask: Callable[[], Line]) -> None:
        self._ask = ask
        self.began = time.monotonic()
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
        self.took_seconds = time.monotonic() - self.began

    def ended(self, within_seconds: float) -> bool:
        self._thread.join(within_seconds)
        return not self._thread.is_alive()


class Lookout:
    """Knows what waits; one thread asks it."""

    def __init__(self) -> None:
        self._line: Line = {}
        self._good_until = NEVER
        self._look: _Look | None = None
        self._began = NEVER  # of the look that is used
        self._news: _Look | None = None
        self._news_due = NEVER

    def line(self, ask: Callable[[], Line], news: Callable[[float], Line]) -> Line:
        """What is known to wait, of which the caller removes what it tried; where that has aged, or is used up, `ask`
        is called, and its answer returned if it comes within a moment, else by a later call; `news` gets the seconds in
        which it is to find what is new. Raises what these raised.
        """
        if not self._look and (not self._line or time.monotonic() >= self._good_until):
            self._look = _Look(ask)
        if self._look and self._look.ended(MOMENT_SECONDS):
            look, self._look = self._look, None
            if look.error:
                raise look.error
            self._line, self._good_until = look.line, time.monotonic() + TIMES * look.took_seconds
            self._began, self._news_due = look.began, time.monotonic() + NEWS_SECONDS
        elif self._began != NEVER:
            self._hear(news)
        return self._line

    def _hear(self, news: Callable[[float], Line]) -> None:
        """Add what has come since the look that is used."""
        now = time.monotonic()
        if not self._news and now >= self._news_due:
            seconds = now - self._began + MARGIN_SECONDS
            self._news = _Look(lambda: news(seconds))
        if self._news and self._news.ended(MOMENT_SECONDS):
            heard, self._news = self._news, None
            self._news_due = now + max(NEWS_SECONDS, TIMES * heard.took_seconds)
            if heard.error:
                raise heard.error
            self._line.update(heard.line)
