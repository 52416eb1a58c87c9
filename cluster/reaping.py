"""Removing what nobody needs any more: staging of datasets that have ended, data that a newer result replaced, logs of
datasets that were deleted, notes of nodes that are gone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from cluster import syncing
from cluster.desk import Desk
from cluster.nodes import NODES
from scray import manifest
from scray.errors import NotFound
from scray.log import Action, event
from scray.runlog import forget
from scray.status import ENDS
from scray.storage import reap_staging, remove_superseded

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
    for document in desk.catalog.datasets(condition, limit=AT_ONCE)[0]:
        reap_data(desk, document["uuid"], condition)


def reap_data(desk: Desk, uuid: str, condition: Mapping[str, Any]) -> None:
    """Remove what a result has replaced, if its dataset still fits `condition` once it is known what that is: the next
    result may be there by now, and what it replaced has a grace of its own.
    """
    target = desk.storage.converted_dir(uuid)
    folders = manifest.superseded(target)
    for document in desk.catalog.datasets({**condition, "uuid": uuid}, limit=1)[0]:
        remove_superseded(target, folders)
        event(Action.REAPED, ", ".join(map(str, folders)), dataset=uuid, count=len(folders))
        desk.catalog.amend(uuid, {UNTIL: None}, {UNTIL: document[UNTIL]})


def reap_logs(desk: Desk, share: str) -> None:
    """Remove old logs of datasets that are not in the catalog, among those whose name begins with `share`."""
    for folder in sorted(desk.storage.logs.glob(f"{share}*/")):
        if time.time() - folder.stat().st_mtime > LOGS_SECONDS and desk.catalog.get(folder.name) is None:
            forget(folder, time.time() - LOGS_SECONDS)


def superseded(desk: Desk, target: Path) -> dict[str, Any]:
    """The field that says until when replaced data stay for readers that still hold the old header."""
    grace = timedelta(seconds=desk.settings.grace_seconds)
    return {UNTIL: desk.queue.now() + grace if manifest.superseded(target) else None}


def _has_ended(desk: Desk, uuid: str) -> bool:
    try:
        dataset = desk.queue.dataset(uuid)
    except NotFound:
        return True
    return dataset.status in ENDS and not dataset.running
