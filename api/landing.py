"""The last steps of an upload: the file gets its place, then the queue is told. Each may be done again.

A part lies in `upload/.incoming` until it is whole and flushed. An upload that this process, or one that
died, left anywhere between two lines is brought to its end by `conclude`.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from api.backend import Backend
from scray.errors import (
    Conflict,
    DatabaseError,
    DiskFull,
    NotFound,
    ScrayError,
    StorageError,
    UploadBroken,
    every_error,
)
from scray.log import Action, event
from scray.manifest import digest_file
from scray.retry import FULL
from scray.sessions import BY_CHUNKS, BY_OFFSET
from scray.storage import fsync_folder, inside
from scray.uploads import FAILED, PLACING, RECEIVING, STORED

ORPHAN_SECONDS = 86_400
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


def conclude(backend: Backend, record: dict[str, Any]) -> ScrayError | None:
    """Bring an upload that gets no more bytes to its end; returns what it failed with, if it did.

    A session whose file cannot be placed is not over: its bytes wait for another try.
    """
    job_id, uuid = record["_id"], record["dataset_uuid"]
    error = _place(backend, record) if record["state"] == PLACING else error_of(record)
    if record["state"] == PLACING and error is not None and _waits(record, error):
        backend.sessions.keep_unplaced(job_id)
        return error
    take_back(backend, record) if error else backend.part(job_id).unlink(missing_ok=True)
    lonely = error is not None and not backend.uploads.stored(uuid)
    failed = error if lonely else None
    to_check = error is None and record.get("session") == BY_CHUNKS
    with suppress(NotFound):  # its dataset never came to be
        backend.queue.upload_closed(
            uuid, job_id, settle_seconds=record["settle_seconds"], failed=failed, needs_check=to_check
        )
    backend.uploads.settle(job_id)
    _tell(record, error)
    return error


def _waits(record: dict[str, Any], error: ScrayError) -> bool:
    """Whether the bytes of a session stay: its sender can give another name, or what kept them back passes."""
    session = record.get("session")
    passing = isinstance(error, DatabaseError | DiskFull | StorageError)
    return session == BY_CHUNKS or (session == BY_OFFSET and passing)


def _tell(record: dict[str, Any], error: ScrayError | None) -> None:
    if error:
        event(Action.UPLOAD_FAILED, error.message, dataset=record["dataset_uuid"], code=error.code)
    else:
        event(Action.UPLOAD_STORED, dataset=record["dataset_uuid"], bytes=record["received_bytes"])


def take_over_silent(backend: Backend) -> list[str]:
    """Conclude the uploads of API processes that are gone; returns their job ids."""
    concluded = []
    for record in backend.uploads.take_over(backend.settings.lease_seconds, backend.active):
        if record["state"] == RECEIVING:
            end_failed(backend, record, UploadBroken("The server stopped during the upload; send it again."))
            record = backend.uploads.get(record["_id"])
        conclude(backend, record)
        concluded.append(record["_id"])
    return concluded


def sweep(backend: Backend) -> list[str]:
    """Remove the parts of uploads that died before they had a record; returns their names."""
    old = time.time() - ORPHAN_SECONDS
    parts = [part for part in backend.incoming.iterdir() if part.stat().st_mtime < old]
    orphans = [part for part in parts if backend.uploads.find(part.stem) is None]
    for part in orphans:
        part.unlink(missing_ok=True)
    return [part.name for part in orphans]


def end_failed(backend: Backend, record: dict[str, Any], error: ScrayError, state: str = FAILED) -> bool:
    """Record that an upload ends without a file. False: it is no longer ours."""
    reason = {"error_code": error.code, "error_message": error.message}
    return backend.uploads.end(record["_id"], record["state"], state, reason)


def _place(backend: Backend, record: dict[str, Any]) -> ScrayError | None:
    job_id, uuid, path = record["_id"], record["dataset_uuid"], record["path"]
    root = backend.storage.upload_dir(uuid)
    try:
        if land(backend.part(job_id), root, PurePosixPath(path), record["root"]):
            backend.catalog.add_file(uuid, _entry(root / path, record))
    except ScrayError as error:
        if not _waits(record, error):
            end_failed(backend, record, error)
        return error
    backend.uploads.end(job_id, PLACING, STORED, {})
    return None


def land(part: Path, root: Path, path: PurePosixPath, digest: str) -> bool:
    """Give the flushed file `part` its name `root / path`, never over another file; done again, harmless.

    False: the same bytes (`digest` is their root digest) are already there, and stay. Raises Conflict when
    other bytes are, UnsafePath when the path leads out of `root`, DiskFull, StorageError; then the name is not there.
    """
    target = root / path
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(part, inside(root, Path(path.parent)) / path.name)
        except (FileExistsError, NotADirectoryError) as error:
            if not _is_ours(part, target):
                return _is_same(part, root, path, digest, error)
        _flush(part, root, target)
    except OSError as error:
        kind = DiskFull if error.errno in FULL else StorageError
        raise kind(f"{path.name} could not be stored: {error.strerror}.") from error
    return True


def _flush(part: Path, root: Path, target: Path) -> None:
    """Flush the names of a file that has its place; what cannot be flushed has none."""
    try:
        for folder in (target.parent, *target.parent.parents):
            fsync_folder(folder)
            if folder == root.parent:
                break
    except OSError:
        with suppress(OSError):
            target.unlink() if part.exists() else target.rename(part)
        raise


def take_back(backend: Backend, record: dict[str, Any]) -> None:
    """The bytes of an upload that is given up go, and the name that its file had got, if it has one."""
    part = backend.part(record["_id"])
    if record["path"]:  # a partial upload has none
        target = backend.storage.upload_dir(record["dataset_uuid"]) / record["path"]
        if _is_ours(part, target):
            target.unlink()
    part.unlink(missing_ok=True)


def _is_ours(part: Path, target: Path) -> bool:
    """Whether this very file has the name already."""
    return part.exists() and target.is_file() and not target.is_symlink() and target.samefile(part)


def _is_same(part: Path, root: Path, path: PurePosixPath, digest: str, error: OSError) -> bool:
    target = root / path
    if target.is_file() and not target.is_symlink():
        as_long = part.exists() and target.stat().st_size == part.stat().st_size
        if digest and as_long and digest_file(root, str(path)).root == digest:
            return False
    raise Conflict(
        f"The dataset already has another '{path}'; send the file under another name, or as a new dataset."
    ) from error


def _link(part: Path, target: Path) -> None:
    try:
        os.link(part, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        part.rename(target)


def _entry(target: Path, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "job_id": record["_id"],
        "source_path": record["filename"],
        "destination_path": str(target),
        "source_type": "local",
        "total_size_bytes": record["size_bytes"],
        "created_at": record["updated_at"],
    }


def error_of(record: dict[str, Any]) -> ScrayError | None:
    """The error a record tells of."""
    code = record.get("error_code")
    found = (cls for cls in every_error() if cls.code == code)
    return next(found, ScrayError)(record["error_message"]) if code else None
