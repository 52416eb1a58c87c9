"""The client over bad lines and through crashes, against real servers: what was acknowledged is not sent again."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo.database import Database

from scray.client import AsyncScrayClient, Manner, Progress, ScientistCloudUploadClient, ScrayClient
from scray.errors import NotFound, SourceChanged, Unreachable
from tests.api_server import EMAIL, Api, serving, until
from tests.proxy import Proxy

Mongo = Database[dict[str, Any]]
FIELDS: dict[str, Any] = {"sensor": "TIFF", "name": "scan", "user_email": EMAIL}
MEBIBYTE = 1 << 20
QUICK = Manner(form_bytes=MEBIBYTE, chunk_bytes=4 * MEBIBYTE)
SIZE = 120 * MEBIBYTE + 12_345

SENDER = """
import json, signal, sys
from pathlib import Path
from scray.client import Manner, ScrayClient
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background of a shell
url, path, state, fields = sys.argv[1:]
manner = Manner(form_bytes=1 << 20, chunk_bytes=4 << 20)
with ScrayClient(url, manner=manner, state_folder=Path(state)) as client:
    upload = client.upload(Path(path), **json.loads(fields))
print(upload.dataset_uuid)
"""


@pytest.fixture
def proxy(api: Api) -> Iterator[Proxy]:
    with Proxy(api.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.tif"
    path.write_bytes(os.urandom(SIZE))
    return path


def client(url: str, tmp_path: Path, **more: Any) -> ScrayClient:
    return ScrayClient(url, state_folder=tmp_path / "state", **{"manner": QUICK, **more})


def stored(api: Api, uuid: str, name: str = "large.tif") -> bytes:
    return (api.data / "upload" / uuid / name).read_bytes()


def test_a_large_file_goes_in_chunks_with_progress(api: Api, large: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    with client(api.url, tmp_path) as sender:
        upload = sender.upload(large, on_progress=seen.append, **FIELDS)
        assert sender.jobs(EMAIL, limit=1)[0]["job_id"] == upload.job_id
    assert stored(api, upload.dataset_uuid) == large.read_bytes()
    last = seen[-1]
    assert (last.sent_bytes, last.total_bytes, last.file_sent_bytes, last.files_done) == (SIZE, SIZE, SIZE, 1)
    assert all(one.sent_bytes <= two.sent_bytes for one, two in itertools.pairwise(seen))
    assert any(one.speed_bytes_per_second > 0 and one.eta_seconds is not None for one in seen)
    record = api.database.uploads.find_one({"_id": upload.job_id}) or {}
    assert (record["total_chunks"], record["file_hash"] is not None) == (31, True)
    assert api.row(upload.dataset_uuid)["status"] == "upload queued"
    assert list((tmp_path / "state").iterdir()) == [], "the diary goes when all is sent"


@pytest.mark.parametrize("reset", [False, True])
def test_cuts_cost_hardly_any_byte(api: Api, proxy: Proxy, large: Path, tmp_path: Path, reset: bool) -> None:
    with client(proxy.url, tmp_path, stall_seconds=20) as sender, Slow(proxy), proxy.cutting(1.0, reset=reset):
        upload = sender.upload(large, **FIELDS)
    assert stored(api, upload.dataset_uuid) == large.read_bytes()
    assert proxy.cuts >= 3
    assert proxy.sent_bytes <= 1.05 * SIZE


def test_a_line_that_stalls_is_given_up(api: Api, proxy: Proxy, large: Path, tmp_path: Path) -> None:
    stalls = threading.Event()

    def wake() -> None:
        proxy.cut()
        proxy.flow()

    def report(progress: Progress) -> None:
        if progress.sent_bytes > SIZE // 2 and not stalls.is_set():
            stalls.set()
            proxy.stall()
            threading.Timer(3, wake).start()

    with client(proxy.url, tmp_path, stall_seconds=1.0) as sender:
        upload = sender.upload(large, on_progress=report, **FIELDS)
    assert stalls.is_set()
    assert stored(api, upload.dataset_uuid) == large.read_bytes()


def test_a_form_that_breaks_again_and_again_goes_in_chunks(api: Api, proxy: Proxy, large: Path, tmp_path: Path) -> None:
    manner = Manner(form_bytes=SIZE, chunk_bytes=4 * MEBIBYTE)
    with client(proxy.url, tmp_path, manner=manner) as sender, Slow(proxy), proxy.cutting(1.0):
        upload = sender.upload(large, **FIELDS)
    assert stored(api, upload.dataset_uuid) == large.read_bytes()
    assert (api.database.uploads.find_one({"_id": upload.job_id}) or {})["session"] == "chunks"
    assert api.database.visstoredatas.count_documents({"uuid": upload.dataset_uuid}) == 1


def test_what_was_carried_out_and_not_answered_is_one_dataset(
    api: Api, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers get lost: of a file in one form, and of imports under both names."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("ours.tif", "theirs.tif"):
        (tmp_path / name).write_bytes(b"pixels")
    mail = f"{uuid4().hex[:8]}@example.org"
    fields = {**FIELDS, "user_email": mail}
    source = {"anonymous": True}
    names = (mail, "scan", "TIFF")
    with client(proxy.url, tmp_path) as ours, ScientistCloudUploadClient(proxy.url) as theirs:
        sends: list[Callable[[], Any]] = [
            lambda: ours.upload(tmp_path / "ours.tif", dataset_identifier=None, **fields),
            lambda: ours.import_s3("bucket", "x", source=source, **fields),
            lambda: theirs.upload_file(str(tmp_path / "theirs.tif"), *names),
            lambda: theirs.initiate_s3_upload("bucket", "x", "key", "secret", *names),
        ]
        for count, send in enumerate(sends, 1):
            proxy.answers_lost = 2
            send()
            assert proxy.answers_lost == 0
            assert api.database.visstoredatas.count_documents({"user_email": mail}) == count


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_died_goes_on_where_it_was(
    api: Api, proxy: Proxy, large: Path, tmp_path: Path, how: signal.Signals
) -> None:
    words = [sys.executable, "-c", SENDER, proxy.url, str(large), str(tmp_path / "state"), json.dumps(FIELDS)]
    with Slow(proxy):
        first = subprocess.Popen(words, stderr=subprocess.PIPE)
        until(lambda: proxy.sent_bytes > SIZE // 3, what="a third of the file")
        first.send_signal(how)
        _, said = first.communicate()
    assert first.returncode != 0
    assert b"was destroyed" not in said
    session = api.database.uploads.find_one({"session": "chunks", "state": "receiving"}) or {}
    uuid = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    assert uuid == session["dataset_uuid"]
    assert stored(api, uuid) == large.read_bytes()
    assert proxy.sent_bytes <= SIZE + 4 * 4 * MEBIBYTE + MEBIBYTE, "at most what was under way"
    assert list((tmp_path / "state").iterdir()) == []


def test_a_folder_goes_on_at_the_file_where_it_was(api: Api, proxy: Proxy, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for number in range(40):
        (folder / "sub" / f"{number:02}.tif").write_bytes(os.urandom(500_000))

    def report(progress: Progress) -> None:
        if progress.files_done == 20:
            raise KeyboardInterrupt

    with client(proxy.url, tmp_path) as sender:
        with pytest.raises(KeyboardInterrupt):
            sender.upload(folder, on_progress=report, **FIELDS)
        before = proxy.sent_bytes
        upload = sender.upload(folder, **FIELDS)
    assert before >= 10_000_000
    # three more were under way: their rest may still come in, and be in the way of them when they are sent again
    assert proxy.sent_bytes - before <= 26 * 500_000 + 100_000
    for number in range(40):
        name = f"sub/{number:02}.tif"
        assert stored(api, upload.dataset_uuid, name) == (folder / name).read_bytes()
    assert api.row(upload.dataset_uuid)["file_count"] == 40


def test_a_file_that_changed_since_is_sent_anew(api: Api, proxy: Proxy, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(os.urandom(20 * MEBIBYTE))

    def report(progress: Progress) -> None:
        if progress.sent_bytes > 2 * MEBIBYTE:
            raise KeyboardInterrupt

    with client(proxy.url, tmp_path) as sender, Slow(proxy):
        with pytest.raises(KeyboardInterrupt):
            sender.upload(path, on_progress=report, **FIELDS)
        path.write_bytes(os.urandom(9 * MEBIBYTE))
        upload = sender.upload(path, **FIELDS)
    assert stored(api, upload.dataset_uuid, "x.tif") == path.read_bytes()


def test_a_file_that_changes_meanwhile_is_told(api: Api, proxy: Proxy, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(os.urandom(30 * MEBIBYTE))

    def report(progress: Progress) -> None:
        if progress.sent_bytes > 10 * MEBIBYTE:
            os.truncate(path, MEBIBYTE)

    with client(proxy.url, tmp_path) as sender, Slow(proxy), pytest.raises(SourceChanged, match=r"x\.tif"):
        sender.upload(path, on_progress=report, **FIELDS)


def test_a_session_that_is_gone_is_begun_anew(api: Api, proxy: Proxy, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(os.urandom(20 * MEBIBYTE))

    def report(progress: Progress) -> None:
        if progress.sent_bytes > 2 * MEBIBYTE:
            raise KeyboardInterrupt

    with client(proxy.url, tmp_path) as sender, Slow(proxy):
        with pytest.raises(KeyboardInterrupt):
            sender.upload(path, on_progress=report, **FIELDS)
        session = next(iter(api.database.uploads.find({"session": "chunks", "state": "receiving"}).sort("_id", -1)))
        api.http.delete(f"/api/upload/large/cancel/{session['_id']}")
        upload = sender.upload(path, **FIELDS)
    assert upload.job_id != session["_id"]
    assert stored(api, upload.dataset_uuid, "x.tif") == path.read_bytes()


def test_two_processes_do_not_send_the_same(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(os.urandom(20 * MEBIBYTE))
    words = [sys.executable, "-c", SENDER, api.url, str(path), str(tmp_path / "state"), json.dumps(FIELDS)]
    others: list[subprocess.CompletedProcess[bytes]] = []

    def report(progress: Progress) -> None:
        if not others:
            others.append(subprocess.run(words, capture_output=True, check=False))

    with client(api.url, tmp_path) as sender:
        sender.upload(path, on_progress=report, **FIELDS)
    assert b"Conflict: Another process is sending" in others[0].stderr


def test_a_server_that_restarts_meanwhile_is_sat_out(
    mongo_url: str, database: Mongo, large: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with serving(mongo_url, database, data) as first, Proxy(first.port) as proxy:
        sender = client(proxy.url, tmp_path)
        with Slow(proxy):
            sending = threading.Thread(target=lambda: sender.upload(large, **FIELDS))
            sending.start()
            until(lambda: proxy.sent_bytes > SIZE // 3, what="a third of the file")
            first.process.kill()
            first.process.wait()
        with serving(mongo_url, database, data) as second:
            proxy.target = second.port
            sending.join(120)
            row = second.rows()[0]
            assert stored(second, row["uuid"]) == large.read_bytes()
        sender.close()


def test_a_service_that_does_not_come_back(tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(1) as nobody, client(nobody.url, tmp_path) as sender:
        monkeypatch.setattr("scray.client.wire.TRIES", 2)
        with pytest.raises(Unreachable):
            sender.health()


def test_the_asynchronous_client_is_the_same(api: Api, large: Path, tmp_path: Path) -> None:
    async def run() -> str:
        async with AsyncScrayClient(api.url, manner=QUICK, state_folder=tmp_path) as sender:
            upload = await sender.upload(large, **FIELDS)
            assert (await sender.status(upload.dataset_uuid))["status"] == "upload queued"
            with pytest.raises(NotFound):
                await sender.job("nobody")
            return upload.dataset_uuid

    assert stored(api, asyncio.run(run())) == large.read_bytes()


class Slow:
    """Slows a line down to some 10 MiB/s a connection within the block, so that things can happen meanwhile."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def __enter__(self) -> None:
        self._proxy.pause_seconds = 0.004

    def __exit__(self, *_: object) -> None:
        self._proxy.pause_seconds = 0.0
