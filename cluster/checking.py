"""Files that came in chunks: read back before they are converted, proved by their own SHA-256 before that is published.

The chunks are hashed in groups by Ray tasks and compared with what was recorded while they came; how far that is, is
noted page by page, so that another driver goes on there. The hash of the whole file, which nothing can share, runs
beside the conversion as one task.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.flights import call, run_all, two_a_cpu
from cluster.run import Run
from cluster.tasks import hash_task
from scray.errors import ChunkDamaged, ScrayError, SourceChanged
from scray.log import Action
from scray.sessions import DIFFERENT, SAME, Sessions, chunk_span, portion_indexes, portion_numbers
from scray.spans import Span, group_spans
from scray.storage import Storage, fsync_folder

GROUP_BYTES = 1 << 30
NAMED_CHUNKS = 20  # so many damaged chunks are told by number

Stop = Callable[[], None]


def check(work: Run) -> None:
    """The claim of a dataset whose uploads are complete: read back what came in chunks, then send it on."""
    sessions, uuid = work.desk.sessions, work.claim.uuid
    records = sessions.unchecked(uuid)
    work.meter.enter("checking", sum(record["expected_bytes"] for record in records))
    for record in records:
        _check_file(work, record)
    if not work.claim.dataset.convert:
        with WholeHashes(work) as whole:
            whole.require()
    if not work.insist(lambda: work.desk.queue.finish(work.claim, {})):
        work.lost()
    work.tell(Action.CHECKED, count=len(records))
    work.record(Action.CHECKED, {"files": len(records)})


def _check_file(work: Run, record: dict[str, Any]) -> None:
    """Raises ChunkDamaged, and wants the damaged chunks again."""
    sessions, root = work.desk.sessions, work.desk.storage.upload_dir(work.claim.uuid)
    path = root / record["path"]
    if not path.exists():
        _ask_again(work, record, {})  # a driver died while it put the file back
    for portion in portion_numbers(record["total_chunks"]):
        indexes = portion_indexes(portion, record["total_chunks"])
        spans = {index: chunk_span(record, index) for index in indexes}
        if portion < record["checked_portions"]:
            work.meter.skip(sum(span.size for span in spans.values()))
            continue
        recorded = sessions.digests(record["_id"], indexes)
        found = _hash(work, root, record["path"], tuple(spans.values()))
        damaged = {index: span for index, span in spans.items() if found[span] != recorded.get(index)}
        if damaged:
            _ask_again(work, record, damaged)
        sessions.note(record["_id"], {"checked_portions": portion + 1})
    sessions.note(record["_id"], {"checked": True})


def _hash(work: Run, root: Path, name: str, spans: tuple[Span, ...]) -> dict[Span, str]:
    groups = {f"check-{number}": group for number, group in enumerate(group_spans(spans, GROUP_BYTES))}
    found: dict[Span, str] = {}
    calls = (
        (task, partial(hash_task.remote, str(root), [(name, span) for span in group])) for task, group in groups.items()
    )
    for task, digests in run_all(calls, two_a_cpu, work.check, work.tell_death):
        found.update(zip(groups[task], digests, strict=True))
        work.meter.add(sum(span.size for span in groups[task]), name)
    return found


def _ask_again(work: Run, record: dict[str, Any], damaged: dict[int, Span]) -> None:
    """Take the file out of the dataset, back to where chunks arrive, and forget the chunks that differ."""
    put_back(work.desk.storage, work.claim.uuid, record)
    work.desk.sessions.reject(record, damaged)
    names = ", ".join(map(str, sorted(damaged)[:NAMED_CHUNKS])) + (", …" if len(damaged) > NAMED_CHUNKS else "")
    raise ChunkDamaged(
        f"On the disk, '{record['path']}' is not what was received (chunks {names or 'unknown'}). Send these chunks "
        f"of {record['_id']} again and complete it once more."
    )


def put_back(storage: Storage, uuid: str, record: dict[str, Any]) -> None:
    """Rename a stored file to the part of its session; done again, harmless."""
    stored, part = storage.upload_dir(uuid) / record["path"], storage.upload / ".incoming" / f"{record['_id']}.part"
    if stored.exists():
        stored.rename(part)
        fsync_folder(stored.parent)
        fsync_folder(part.parent)


class WholeHashes:
    """The SHA-256 that senders promised of whole files, found beside other work by tasks that outlive dead workers."""

    def __init__(self, work: Run) -> None:
        self._work = work
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"hash-{work.claim.uuid}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()

    def require(self) -> None:
        """Wait until all are known. Raises SourceChanged when one is not what was promised."""
        while self._thread.is_alive():
            self._work.check()
            self._thread.join(0.2)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            desk, uuid = self._work.desk, self._work.claim.uuid
            for record in desk.sessions.unproved(uuid, desk.settings.whole_hash_max_bytes):
                self._prove(desk.sessions, desk.storage.upload_dir(uuid), record)
        except Exception as error:
            self._error = error

    def _prove(self, sessions: Sessions, root: Path, record: dict[str, Any]) -> None:
        whole, tell = [(record["path"], Span(0, record["expected_bytes"]))], self._work.tell_death
        [found] = call(f"hash of {record['_id']}", lambda: hash_task.remote(str(root), whole), self._stop, tell)
        same = found == record["file_hash"]
        sessions.note(record["_id"], {"whole": SAME if same else DIFFERENT})
        if not same:
            raise SourceChanged(
                f"File hash validation failed: '{record['path']}' was changed while it was being sent. Send it anew."
            )

    def _stop(self) -> None:
        self._work.check()
        if self._closed.is_set():
            raise ScrayError("The whole hash is not needed any more.")
