"""What every run of a driver shares."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.tally import Tally
from scray.catalog import Catalog
from scray.queue import Queue
from scray.sessions import Sessions
from scray.settings import Settings
from scray.storage import Storage


@dataclass(frozen=True)
class Desk:
    """The database, the folders and the settings that the threads of a driver work with."""

    queue: Queue
    catalog: Catalog
    settings: Settings
    storage: Storage
    sessions: Sessions
    tally: Tally
