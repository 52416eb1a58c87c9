"""One claimed import: the files of a remote source are fetched by Ray tasks, checked, and given to the dataset.

What was fetched lies in `upload/.importing/<uuid>` with a mark for every range: another driver goes on where this one
was stopped. Credentials stay sealed on the way to the tasks, and are forgotten with the end of the import.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from cluster.desk import Desk
from cluster.flights import call, run_all, two_a_cpu
from cluster.nodes import NODES, errand
from cluster.run import Run
from scray.errors import ChecksumMismatch, DatabaseError, NotFound, RemoteChanged
from scray.log import Action
from scray.secrets import Sealer
from scray.settings import load_settings
from scray.sources import Source, open_source
from scray.sources.intake import Check, Intake
from scray.spans import Span
from scray.status import Status
from scray.storage import Storage, remove_tree

IMPORTING = ".importing"
SEALED = "source_sealed"
LINES = 8  # ranges that one task fetches at a time; to start a worker costs as much as many of them
MOST_PORTIONS = 4 * LINES  # of one task
MOST_TASKS = 8  # of one import under way, each on a node of its own
FETCH_CPUS = 0.5  # a task that waits for the network most of the time
STARTS = 3  # how often a source may change, or differ from its checksum, before it is given up


@dataclass(frozen=True)
class Errand:
    """What a task needs to know: the kind of source, its sealed description, and where the bytes go."""

    kind: str
    sealed: str
    folder: str

    @property
    def origin(self) -> str:
        """What tells one import of a dataset from another."""
        return hashlib.sha256(self.sealed.encode()).hexdigest()


# --- the tasks ---------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _source(kind: str, sealed: str) -> Source:
    settings = load_settings()
    return open_source(kind, Sealer(settings).open(sealed), settings)


@errand(num_cpus=FETCH_CPUS)
def begin_task(errand: Errand) -> None:
    """Ask the source what there is, and note it."""
    source = _source(errand.kind, errand.sealed)
    Intake.begin(Path(errand.folder), source, load_settings().max_bytes, errand.origin)


@errand(num_cpus=FETCH_CPUS, scheduling_strategy="SPREAD")
def fetch_task(errand: Errand, numbers: tuple[int, ...], seconds: float) -> int:
    """Fetch some portions within so many seconds; their bytes."""
    intake, until = Intake(Path(errand.folder)), time.time() + seconds
    return intake.fetch(_source(errand.kind, errand.sealed), numbers, until, LINES)


@errand(num_cpus=1)
def check_task(folder: str, check: Check) -> tuple[str, ...]:
    """The digests of a part of a file, as it lies on the disk."""
    return Intake(Path(folder)).digest(check)


# --- the claim ---------------------------------------------------------------------------------------


def sync(work: Run) -> None:
    """Fetch, check, land, tell the queue. Raises what the source does; Stopped."""
    uuid = work.claim.uuid
    document = work.desk.catalog.get(uuid)
    if document is None:
        raise NotFound(f"There is no dataset {uuid}.")
    errand = Errand(work.claim.dataset.source_type, document.get(SEALED) or "", str(folder(work.desk.storage, uuid)))
    if document.get("link_only"):
        found: dict[str, Any] = {}
    else:
        found = _import(work, errand)
    if not work.insist(lambda: work.desk.queue.finish(work.claim, {**found, SEALED: None})):
        work.lost()
    remove(Path(errand.folder))
    work.tell(Action.IMPORTED)
    work.record(Action.IMPORTED, {name: value for name, value in found.items() if name != "files"})


def _import(work: Run, errand: Errand) -> dict[str, Any]:
    """What the dataset's document says of the files that have come."""
    for left in reversed(range(STARTS)):
        try:
            intake = _begin(work, errand)
            intake.check_free(work.desk.storage.upload_dir(work.claim.uuid))
            _fetch(work, errand, intake)
            _check(work, intake)
            break
        except RemoteChanged:
            remove(Path(errand.folder))
            if not left:
                raise
        except ChecksumMismatch:  # the file comes again; after that, perhaps another one is there by now
            if left == 1:
                remove(Path(errand.folder))
            if not left:
                raise
    return _land(work, intake)


def _begin(work: Run, errand: Errand) -> Intake:
    work.meter.enter("listing")
    with suppress(FileNotFoundError):
        intake = Intake(Path(errand.folder))
        if intake.origin == errand.origin:
            return intake
        remove(intake.folder)  # an earlier import of the dataset left it
    call("list", lambda: begin_task.options(name=f"{_label(work)}:list").remote(errand), work.check, work.tell_death)
    return Intake(Path(errand.folder))


def _fetch(work: Run, errand: Errand, intake: Intake) -> None:
    """Whatever has no mark yet."""
    work.meter.enter("fetching", intake.total_bytes)
    marks = intake.marks()
    work.meter.skip(sum(mark.size for mark in marks.values()))
    missing = dict.fromkeys(number for number in range(len(intake.portions)) if number not in marks)
    until = time.monotonic() + _seconds_left(work)
    task = fetch_task.options(name=f"{_label(work)}:fetch").remote
    calls = (
        (f"fetch-{numbers[0]}", partial(task, errand, numbers, until - time.monotonic()))
        for numbers in share(missing, at_once)
    )
    look = partial(_count, work, intake, missing, MOST_TASKS * MOST_PORTIONS)
    for _ in run_all(calls, at_once, look, work.tell_death):
        look()


def at_once() -> int:
    """How many tasks may be under way, as of now: nodes come and go."""
    return max(1, min(len(NODES.usable()), MOST_TASKS))


def share(numbers: Iterable[int], tasks: Callable[[], int]) -> Iterator[tuple[int, ...]]:
    """Portions in groups, each for a task: of some for every line, if as many tasks as of now can have as many."""
    every, start = list(numbers), 0
    while start < len(every):
        size = min(max(-(-len(every) // tasks()), LINES), MOST_PORTIONS)
        yield tuple(every[start : start + size])
        start += size


def _count(work: Run, intake: Intake, missing: dict[int, None], most: int) -> None:
    """What has come since the last time, of the first so many that are missing: tasks begin with the first."""
    work.check()
    for number in list(islice(missing, most)):
        if mark := intake.mark(number):
            del missing[number]
            work.meter.add(mark.size, intake.files[intake.portions[number][-1].file].path)
    work.meter.keep_told()


def _check(work: Run, intake: Intake) -> None:
    """What is not proved by its ranges is read again, and all of it compared with the source's own checksum."""
    checks = {f"check-{number}": check for number, check in enumerate(intake.checks())}
    work.meter.enter("checking", sum(span.size for check in checks.values() for span in check.spans))
    digests: dict[tuple[int, Span], str] = {}
    calls = ((name, partial(check_task.remote, str(intake.folder), check)) for name, check in checks.items())
    for name, found in run_all(calls, two_a_cpu, work.check, work.tell_death):
        check = checks[name]
        digests |= {(check.file, span): digest for span, digest in zip(check.spans, found, strict=True)}
        work.meter.add(sum(span.size for span in check.spans), intake.files[check.file].path)
    intake.compare(digests)


def _land(work: Run, intake: Intake) -> dict[str, Any]:
    work.meter.enter("landing")
    work.check()
    root, kind = work.desk.storage.upload_dir(work.claim.uuid), work.claim.dataset.source_type
    now = work.desk.queue.now()
    files = [
        {
            "source_path": file.path,
            "destination_path": str(root / file.path),
            "source_type": kind,
            "total_size_bytes": size,
            "created_at": now,
        }
        for file, size in intake.land(root)
    ]
    work.desk.catalog.add_files(work.claim.uuid, files)
    return {"import_notes": list(intake.notes)}


def _label(work: Run) -> str:
    return work.claim.uuid[:8]


def _seconds_left(work: Run) -> float:
    """Since it was queued, by the server's clock: this one, and those of the nodes, may be wrong."""
    now = work.desk.queue.now()
    return work.desk.settings.import_seconds - (now - (work.claim.dataset.queued_at or now)).total_seconds()


# --- afterwards --------------------------------------------------------------------------------------


def folder(storage: Storage, uuid: str) -> Path:
    return storage.upload_dir(uuid).parent / IMPORTING / uuid


def remove(path: Path) -> None:
    """Take the folder of an import away."""
    with suppress(FileNotFoundError):  # nothing was begun, or somebody was faster
        remove_tree(path)


def clear(desk: Desk, uuid: str) -> None:
    """An import that is not gone on with leaves no bytes and no credentials."""
    remove(folder(desk.storage, uuid))
    with suppress(DatabaseError):  # the next round of `reap` forgets them
        desk.catalog.unseal(uuid)


def reap(desk: Desk) -> None:
    """Clear up after imports that ended while nobody was there to do it, or failed and were not tried again."""
    forgotten, _ = desk.catalog.datasets({SEALED: {"$gt": ""}, "status": {"$nin": list(_LIVE)}}, limit=100)
    late = {"status": str(Status.SYNC_ERROR), "updated_at": {"$lte": _oldest(desk)}}
    given_up, _ = desk.catalog.datasets({SEALED: {"$gt": ""}, **late}, limit=100)
    for document in [*forgotten, *given_up]:
        clear(desk, document["uuid"])
    for path in _left(desk):
        remove(path)


_LIVE = (str(Status.SYNC_QUEUED), str(Status.SYNCING), str(Status.SYNC_ERROR))


def _oldest(desk: Desk) -> datetime:
    """Imports that failed before are not gone on with: they are kept as long as uploads that were begun."""
    return desk.queue.now() - timedelta(seconds=desk.settings.session_seconds)


def _left(desk: Desk) -> Iterator[Path]:
    """The folders of imports that are over."""
    root = desk.storage.upload / IMPORTING
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        document = desk.catalog.get(path.name)
        if document is None or document["status"] not in _LIVE or not document.get(SEALED):
            yield path
