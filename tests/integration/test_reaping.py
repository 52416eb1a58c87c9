"""What a driver removes because nobody needs it any more."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pymongo.database import Database

from cluster import publishing
from cluster.conversion import describe
from cluster.desk import Desk
from cluster.reaping import LOGS_SECONDS, reap, reap_logs, superseded
from cluster.tally import Tally
from converters.plan import Choices, Plan
from converters.prepare import Job, find_files, prepare
from converters.run import Serial, execute, load_plan
from converters.seal import seal
from converters.verify import verify
from scray.catalog import Catalog
from scray.log import Action
from scray.manifest import digest_file
from scray.queue import Queue
from scray.runlog import RunLog, runs
from scray.sessions import Sessions
from scray.settings import Settings
from scray.storage import Storage, data_folders, reap_staging

RUN = "20260101T000000Z-0123abcd"


def desk_in(folder: Path, database: Database[dict[str, Any]]) -> Desk:
    storage = Storage(*(folder / name for name in ("upload", "converted", "sync", "auth", "tmp", "logs")))
    storage.create()
    settings = Settings(visus_datasets=folder, grace_seconds=0)
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


def publish(desk: Desk, uuid: str, sensor: str, source: Path) -> Plan:
    """What a run of a dataset does, from its upload to `done`."""
    root, files = find_files([source])
    job = Job(root, files, sensor, {}, Choices())
    staging = prepare(job, tuple(digest_file(root, name) for name in files), desk.storage.staging_dir(uuid))
    execute(staging, Serial())
    seal(staging)
    plan, target = load_plan(staging), desk.storage.converted_dir(uuid)
    publishing.publish(publishing.take(staging, "0" * 32), target, plan)
    claim = desk.queue.claim("driver")
    assert claim is not None
    assert claim.uuid == uuid
    assert desk.queue.finish(claim, {"conversion": describe(plan, target), **superseded(desk, target)})
    reap_staging(desk.storage, uuid)
    return plan


def picture(folder: Path, seed: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 999, (5, 20, 30)).astype("<u2")
    tifffile.imwrite(folder / "a.tif", image, photometric="minisblack")
    return folder


def test_the_data_of_a_dataset_that_was_kept_as_it_is_stay(tmp_path: Path, database: Database[dict[str, Any]]) -> None:
    """Its folders may be called like those of our results, and are when it is one."""
    desk = desk_in(tmp_path, database)
    desk.queue.add({"uuid": "first", "status": "conversion queued"})
    publish(desk, "first", "TIFF", picture(tmp_path / "source", 1))
    desk.queue.add({"uuid": "again", "status": "conversion queued"})
    publish(desk, "again", "IDX", desk.storage.converted_dir("first"))
    reap(desk, set())
    assert verify(desk.storage.converted_dir("again")) == []


def test_data_of_former_results_go_after_their_grace(tmp_path: Path, database: Database[dict[str, Any]]) -> None:
    desk = desk_in(tmp_path, database)
    target = desk.storage.converted_dir("one")
    desk.queue.add({"uuid": "one", "status": "conversion queued"})
    plans = [publish(desk, "one", "TIFF", picture(tmp_path / "source", 1))]
    desk.queue.requeue("one")
    plans.append(publish(desk, "one", "TIFF", picture(tmp_path / "source", 2)))
    assert {path.name for path in data_folders(target)} == {plan.folder for plan in plans}
    reap(desk, set())
    assert [path.name for path in data_folders(target)] == [plans[1].folder]
    assert verify(target) == []
    assert (desk.catalog.get("one") or {})["superseded_until"] is None
    (target / "manifest.json").write_text("damaged")
    assert superseded(desk, target) == {"superseded_until": None}


def test_a_result_that_came_while_others_were_reaped_stays(
    tmp_path: Path, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removing what was replaced takes minutes: meanwhile the next dataset on the list is converted anew."""
    desk = desk_in(tmp_path, database)
    for uuid in ("slow", "next"):
        desk.queue.add({"uuid": uuid, "status": "conversion queued"})
        publish(desk, uuid, "TIFF", picture(tmp_path / uuid, 1))
        desk.queue.requeue(uuid)
        publish(desk, uuid, "TIFF", picture(tmp_path / uuid, 2))
    removed = shutil.rmtree

    def slowly(path: Path, ignore_errors: bool) -> None:
        monkeypatch.undo()
        removed(path, ignore_errors)
        for uuid in ("slow", "next"):
            desk.queue.requeue(uuid)
            publish(desk, uuid, "TIFF", picture(tmp_path / uuid, 3))

    monkeypatch.setattr(shutil, "rmtree", slowly)
    reap(desk, set())
    for uuid in ("slow", "next"):
        assert verify(desk.storage.converted_dir(uuid)) == []
        assert (desk.catalog.get(uuid) or {})["superseded_until"] is not None, "it has a grace of its own"
