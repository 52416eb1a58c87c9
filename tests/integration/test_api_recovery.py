"""Uploads whose server dies between any two lines: brought to their end by another, once."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import pytest
from pymongo.database import Database

from api import sessions
from api.arrival import Arrival
from api.backend import Backend
from api.landing import land, sweep, take_over_silent
from scray.errors import Conflict, LeaseLost, StorageError, UnsafePath
from scray.manifest import FileDigest, digest_file
from scray.settings import Settings
from scray.uploads import FAILED, RECEIVING, STORED
from tests.api_server import FORM, serving, until

Mongo = Database[dict[str, Any]]
CONTENT = b"pixels" * 1000


@pytest.fixture
def open_backend(mongo_url: str, database: Mongo, tmp_path: Path) -> Iterator[Callable[[], Backend]]:
    """Backends of several API processes over one system, with the shortest lease."""
    settings = Settings(mongo_url=mongo_url, db_name=database.name, visus_datasets=tmp_path, lease_seconds=1)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Backend.open(settings)))


def begin(backend: Backend, uuid: str, **more: str) -> Arrival:
    """A file whose bytes are all in, and nothing concluded."""
    arrival = Arrival(backend, len(CONTENT))
    arrival.fields = {**FORM, "dataset_identifier": uuid, **more}
    arrival.open("x.tif")
    arrival.write(CONTENT)
    arrival._close()
    return arrival


def placed(arrival: Arrival, backend: Backend) -> None:
    digest = FileDigest("x.tif", len(CONTENT), arrival._digests.hex())
    assert backend.uploads.place(arrival.job_id, digest)


def landed(arrival: Arrival, backend: Backend) -> None:
    placed(arrival, backend)
    record = backend.uploads.get(arrival.job_id)
    root = backend.storage.upload_dir(record["dataset_uuid"])
    land(backend.part(arrival.job_id), root, PurePosixPath("x.tif"), record["root"])


def recorded(arrival: Arrival, backend: Backend) -> None:
    landed(arrival, backend)
    assert backend.uploads.end(arrival.job_id, "placing", STORED, {})


def unlinked(arrival: Arrival, backend: Backend) -> None:
    recorded(arrival, backend)
    backend.part(arrival.job_id).unlink()


def told(arrival: Arrival, backend: Backend) -> None:
    unlinked(arrival, backend)
    record = backend.uploads.get(arrival.job_id)
    backend.queue.upload_closed(record["dataset_uuid"], arrival.job_id)


@pytest.mark.parametrize("reached", [placed, landed, recorded, unlinked, told])
def test_a_file_that_was_whole_is_kept(
    open_backend: Callable[[], Backend], reached: Callable[[Arrival, Backend], None]
) -> None:
    first, second = open_backend(), open_backend()
    uuid = str(uuid4())
    arrival = begin(first, uuid)
    reached(arrival, first)
    assert take_over_silent(second) == [], "it may still be alive"
    assert until(lambda: take_over_silent(second), what="the end of the lease") == [arrival.job_id]
    assert second.uploads.get(arrival.job_id)["state"] == STORED
    assert (second.storage.upload_dir(uuid) / "x.tif").read_bytes() == CONTENT
    assert list(second.incoming.iterdir()) == []
    dataset = second.queue.dataset(uuid)
    assert (dataset.status.value, dataset.open_uploads) == ("conversion queued", ())
    assert take_over_silent(second) == []


def test_a_file_that_was_not_whole_is_given_up(open_backend: Callable[[], Backend]) -> None:
    first, second = open_backend(), open_backend()
    uuid = str(uuid4())
    arrival = begin(first, uuid)
    assert until(lambda: take_over_silent(second), what="the end of the lease") == [arrival.job_id]
    assert second.uploads.get(arrival.job_id)["state"] == FAILED
    assert (list(second.incoming.iterdir()), second.storage.upload_dir(uuid).exists()) == ([], False)
    dataset = second.queue.dataset(uuid)
    assert (dataset.status.value, dataset.error_code) == ("upload error", "upload-broken")


def flush_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, the disk keeps what is in files, and cannot keep their names."""
    flush = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flush(fd)

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_form_whose_name_cannot_be_flushed_leaves_none(
    open_backend: Callable[[], Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, uuid = open_backend(), str(uuid4())
    arrival = Arrival(backend, len(CONTENT))
    arrival.fields = {**FORM, "dataset_identifier": uuid}
    arrival.open("x.tif")
    arrival.write(CONTENT)
    flush_no_names(monkeypatch)
    with pytest.raises(StorageError) as caught:
        arrival.finish()
    arrival.abandon(caught.value)
    assert backend.uploads.get(arrival.job_id)["state"] == FAILED
    assert not [path for path in backend.storage.upload.rglob("*") if path.is_file()]


@pytest.mark.parametrize("stays", [False, True])
def test_a_session_whose_name_cannot_be_flushed_leaves_none(
    open_backend: Callable[[], Backend], monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    """Its bytes stay for another try; cancelled, it leaves nothing, not even a name that could not be taken back."""
    backend, digest = open_backend(), hashlib.sha256(CONTENT).hexdigest()
    file = {**FORM, "filename": "x.tif", "file_size": len(CONTENT), "file_hash": digest}
    record = sessions.begin(backend, sessions.NewSession.model_validate(file))
    part = backend.part(record["_id"])
    part.write_bytes(CONTENT)
    assert backend.sessions.record_chunk(record, 0, digest, len(CONTENT))
    target = backend.storage.upload_dir(record["dataset_uuid"]) / "x.tif"
    flush_no_names(monkeypatch)
    with pytest.raises(StorageError):
        sessions.complete(backend, record)
    assert (part.read_bytes(), target.exists()) == (CONTENT, False)
    if stays:
        os.link(part, target)
    monkeypatch.undo()
    again = sessions.begin(backend, sessions.NewSession.model_validate(file))
    other = backend.storage.upload_dir(again["dataset_uuid"]) / "x.tif"
    other.parent.mkdir()
    other.write_bytes(b"another file")
    for one in (record, again):
        sessions.cancel(backend, backend.sessions.get(one["_id"]))
    assert [path for path in backend.storage.upload.rglob("*") if path.is_file()] == [other]


def test_a_late_server_changes_nothing(open_backend: Callable[[], Backend]) -> None:
    first, second = open_backend(), open_backend()
    arrival = begin(first, uuid := str(uuid4()))
    until(lambda: take_over_silent(second), what="the end of the lease")
    with pytest.raises(LeaseLost):
        arrival._report()
    arrival.abandon(LeaseLost())
    assert second.uploads.get(arrival.job_id)["state"] == FAILED
    assert not second.storage.upload_dir(uuid).exists()


def test_an_upload_that_is_under_way_is_kept_alive(open_backend: Callable[[], Backend], database: Mongo) -> None:
    first, second = open_backend(), open_backend()
    arrival = begin(first, str(uuid4()))
    began = database.uploads.find_one({"_id": arrival.job_id})
    assert began is not None

    def beaten() -> bool:
        first.uploads.beat(first.active)
        assert take_over_silent(second) == []
        found = database.uploads.find_one({"_id": arrival.job_id})
        assert found is not None
        return bool((found["beat_at"] - began["beat_at"]).total_seconds() > 2)

    until(beaten, what="two leases of beating")
    assert second.uploads.get(arrival.job_id)["state"] == RECEIVING


def test_a_killed_server_leaves_no_open_upload(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    uuid = str(uuid4())
    head = (
        "POST /api/upload/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    form = {**FORM, "dataset_identifier": uuid}
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in form.items()]
    file = '--b\r\nContent-Disposition: form-data; name="file"; filename="x.tif"\r\n\r\n'
    with (
        serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1") as api,
        socket.create_connection(("127.0.0.1", api.port)) as connection,
    ):
        connection.sendall((head + "".join(parts) + file).encode() + b"\1" * 3_000_000)
        until(lambda: api.database.uploads.count_documents({"state": RECEIVING}), what="the upload")
        until(lambda: any(len(data) > 2_000_000 for data in api.files().values()), what="its bytes")
        api.process.kill()
        api.process.wait()
    with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1") as api:
        until(lambda: api.row(uuid)["status"] == "upload error", what="the end of the upload")
        assert "server stopped" in api.row(uuid)["error_message"]
        until(lambda: api.database.uploads.count_documents({"open": True}) == 0)
        assert api.files() == {}


def test_a_part_without_a_record_is_swept_away_when_it_is_old(open_backend: Callable[[], Backend]) -> None:
    backend = open_backend()
    arrival = begin(backend, str(uuid4()))
    orphan, fresh = backend.part("upload_1_orphan"), backend.part("upload_2_fresh")
    for part in (orphan, fresh):
        part.write_bytes(b"x")
    for part in (orphan, backend.part(arrival.job_id)):
        os.utime(part, (1, 1))
    assert sweep(backend) == [orphan.name]
    assert sorted(backend.incoming.iterdir()) == sorted([fresh, backend.part(arrival.job_id)])


# --- placing a file --------------------------------------------------------------------------------


def test_land_is_harmless_when_repeated_and_never_overwrites(tmp_path: Path) -> None:
    root = tmp_path / "upload" / "u"
    part = tmp_path / "one.part"
    part.write_bytes(b"one")
    digest = digest_file(tmp_path, "one.part").root
    assert land(part, root, PurePosixPath("a/b/x"), digest)
    assert land(part, root, PurePosixPath("a/b/x"), digest)
    part.unlink()
    part.write_bytes(b"one")
    assert not land(part, root, PurePosixPath("a/b/x"), digest), "the same bytes from another file"
    part.write_bytes(b"two")
    for path in ("a/b/x", "a/b", "a/b/x/y"):
        with pytest.raises(Conflict):
            land(part, root, PurePosixPath(path), digest_file(tmp_path, "one.part").root)
    assert (root / "a/b/x").read_bytes() == b"one"


def test_land_does_not_follow_links_out_of_the_dataset(tmp_path: Path) -> None:
    root, outside = tmp_path / "upload" / "u", tmp_path / "outside"
    root.mkdir(parents=True)
    outside.mkdir()
    (root / "link").symlink_to(outside)
    part = tmp_path / "one.part"
    part.write_bytes(b"one")
    with pytest.raises(UnsafePath):
        land(part, root, PurePosixPath("link/x"), "")
    assert list(outside.iterdir()) == []
