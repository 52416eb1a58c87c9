"""What a driver removes because nobody needs it any more."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from cluster.desk import Desk
from cluster.reaping import LOGS_SECONDS, reap, reap_logs
from cluster.tally import Tally
from scray.catalog import Catalog
from scray.log import Action
from scray.queue import Queue
from scray.runlog import RunLog, runs
from scray.sessions import Sessions
from scray.settings import Settings
from scray.storage import Storage

RUN = "20260101T000000Z-0123abcd"


def desk_in(folder: Path, database: Database[dict[str, Any]]) -> Desk:
    storage = Storage(*(folder / name for name in ("upload", "converted", "sync", "auth", "tmp", "logs")))
    storage.create()
    settings = Settings(visus_datasets=folder)
    return Desk(Queue(database), Catalog(database), settings, storage, Sessions(database, 60), Tally("driver"))


def log_of(desk: Desk, uuid: str, age_seconds: float) -> Path:
    """The log of a run that ended so long ago."""
    folder = desk.storage.log_dir(uuid)
    RunLog(folder, RUN).write(Action.CONVERTED)
    assert runs(folder) == [RUN]
    for path in (folder / f"{RUN}.jsonl", folder):
        os.utime(path, (time.time() - age_seconds,) * 2)
    return folder


def test_logs_of_deleted_datasets_are_removed_after_a_while(
    tmp_path: Path, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_in(tmp_path, database)
    desk.queue.add({"uuid": "ab-kept", "status": "conversion queued"})
    kept, new = log_of(desk, "ab-kept", 2 * LOGS_SECONDS), log_of(desk, "ab-new", 60)
    gone, other = log_of(desk, "ab-gone", 2 * LOGS_SECONDS), log_of(desk, "cd-gone", 2 * LOGS_SECONDS)
    (mixed := log_of(desk, "ab-mixed", 2 * LOGS_SECONDS)).joinpath("notes.txt").touch()
    os.utime(mixed, (0, 0))
    reap_logs(desk, "ab")
    assert [path.exists() for path in (kept, new, gone, other)] == [True, True, False, True]
    assert [path.name for path in mixed.iterdir()] == ["notes.txt"], "what is no log of ours stays"
    monkeypatch.setattr(random, "choices", lambda digits, k: ["c", "d"])
    reap(desk, set())
    assert not other.exists(), "a round looks at a share"
    assert kept.exists()
