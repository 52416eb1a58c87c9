"""Removing what nobody needs any more: staging of datasets that have ended, data that a newer result replaced, logs of
datasets that were deleted, notes of nodes that are gone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

from cluster import syncing
from cluster.desk import Desk
from cluster.nodes import NODES
from scray.errors import NotFound
from scray.log import Action, event
from scray.runlog import forget
from scray.status import ENDS
from scray.storage import data_folders, reap_staging, remove_superseded

AT_ONCE = 100
UNTIL = "superseded_until"
LOGS_SECONDS = 30 * 86400.0  # so long logs outlive their dataset
HEX_DIGITS = "0123456789abcdef"  # of the names of datasets: a round looks at one share of the logs


def reap(desk: Desk, in_work: Collection[str]) -> None:
    """One round; `in_work` are the datasets this driver holds. What others hold has a lease and is left alone."""
    for folder in sorted(desk.storage.staging_root.iterdir()):
        if folder.name not in in_work and _has_ended(desk, folder.name):
            reap_staging(desk.storage, folder.name)
    syncing.reap(desk)
    if NODES.beacon:
        NODES.beacon.sweep()
    reap_logs(desk, "".join(random.choices(HEX_DIGITS, k=2)))
    condition = {UNTIL: {"$lte": desk.queue.now()}, "status": "done"}
    documents, _ = desk.catalog.datasets(condition, limit=AT_ONCE)
    for document in documents:
        removed = remove_superseded(desk.storage.converted_dir(document["uuid"]), {folder_of(document)})
        event(Action.REAPED, ", ".join(removed), dataset=document["uuid"], count=len(removed))
        desk.catalog.amend(document["uuid"], {UNTIL: None})


def reap_logs(desk: Desk, share: str) -> None:
    """Remove old logs of datasets that are not in the catalog, among those whose name begins with `share`."""
    for folder in sorted(desk.storage.logs.glob(f"{share}*/")):
        if time.time() - folder.stat().st_mtime > LOGS_SECONDS and desk.catalog.get(folder.name) is None:
            forget(folder, time.time() - LOGS_SECONDS)


def superseded(desk: Desk, target: Path, current: str) -> dict[str, Any]:
    """The field that says until when replaced data stay for readers that still hold the old header."""
    replaced = any(folder.name != current for folder in data_folders(target))
    return {UNTIL: desk.queue.now() + timedelta(seconds=desk.settings.grace_seconds) if replaced else None}


def folder_of(document: dict[str, Any]) -> str:
    """The name of the data folders of a dataset's present result."""
    return str(document["conversion"]["plan"])[:8]


def _has_ended(desk: Desk, uuid: str) -> bool:
    try:
        dataset = desk.queue.dataset(uuid)
    except NotFound:
        return True
    return dataset.status in ENDS and not dataset.running
