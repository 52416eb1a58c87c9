"""How many tasks each dataset may hand to the cluster at once: a huge one fills it, and small ones are not behind it.

The cluster takes tasks in the order in which they come. Each dataset has its fair share of what may be under way, and
besides whatever the others leave of it: no CPU is idle while anything could run, and what a dataset hands over waits
behind a few tasks a CPU, however many datasets there are and however large they are.
"""

from __future__ import annotations

import threading
from typing import Protocol
from weakref import WeakSet


class Party(Protocol):
    """Who hands tasks to the cluster."""

    @property
    def open(self) -> int:
        """How many of its tasks have not ended."""


class Sharing:
    """The parties of this process; any thread may ask. Who is forgotten has left."""

    def __init__(self) -> None:
        self._parties: WeakSet[Party] = WeakSet()
        self._lock = threading.Lock()

    def join(self, party: Party) -> None:
        with self._lock:
            self._parties.add(party)

    def leave(self, party: Party) -> None:
        with self._lock:
            self._parties.discard(party)

    def window(self, party: Party, most: int) -> int:
        """How many tasks this one may have under way, where all together should not have more than `most`."""
        with self._lock:
            others = [other for other in self._parties if other is not party]
        fair = -(-most // (len(others) + 1))
        return max(fair, most - sum(other.open for other in others))


SHARING = Sharing()
