"""What the routes work with: the settings, the folders, and the rooms of the database."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from scray.catalog import Catalog
from scray.database import connect
from scray.keys import Keys
from scray.queue import Queue
from scray.secrets import Sealer
from scray.sessions import Sessions
from scray.settings import Settings
from scray.storage import Storage
from scray.uploads import Uploads

NOTES = 4  # at a time


@dataclass(frozen=True)
class Backend:
    """One API process's hold on the system.

    `uploads.owner` names it in the records of uploads; `active` are the jobs of those under way here,
    `traffic` what has come since the start of the process; `notes` writes what no byte shall wait for.
    """

    settings: Settings
    storage: Storage
    catalog: Catalog
    uploads: Uploads
    queue: Queue
    sessions: Sessions
    sealer: Sealer
    keys: Keys
    active: set[str] = field(default_factory=set)
    traffic: Counter[str] = field(default_factory=Counter)
    notes: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(NOTES, "note"))

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connects, and makes what is missing: folders and indexes."""
        database = connect(settings.mongo_url, settings.db_name)
        owner = f"api-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        queue = Queue(database, lease_seconds=settings.lease_seconds)
        catalog, uploads = Catalog(database), Uploads(database, owner)
        sessions = Sessions(database, settings.session_seconds)
        keys = Keys(database, settings.session_seconds)
        backend = cls(settings, settings.storage(), catalog, uploads, queue, sessions, Sealer(settings), keys)
        backend.storage.create()
        backend.incoming.mkdir(exist_ok=True)
        for room in (queue, catalog, uploads, sessions):
            room.ensure_indexes()
        return backend

    def close(self) -> None:
        self.notes.shutdown()
        self.catalog.close()

    @property
    def incoming(self) -> Path:
        """Where the bytes of unfinished uploads lie: on one file system with their final place."""
        return self.storage.upload / ".incoming"

    def part(self, job_id: str) -> Path:
        return self.incoming / f"{job_id}.part"


def new_job_id() -> str:
    """`upload_<unix seconds>_<8 hex>`, as clients know it."""
    return f"upload_{int(time.time())}_{secrets.token_hex(4)}"
