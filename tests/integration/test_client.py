"""The Python client against a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from cluster.commands import app
from scray.client import Progress, ScrayClient
from scray.errors import (
    BadInput,
    Conflict,
    EmptyInput,
    InvalidField,
    NotFound,
    ServiceError,
    TimedOut,
    Unauthorised,
    Unreachable,
)
from scray.queue import Queue
from tests.api_server import EMAIL, Api, serving, until

TOKEN = "t0ken"
API_SETTINGS = {"SCRAY_SETTLE_SECONDS": "0", "SCRAY_API_TOKEN": TOKEN}


@pytest.fixture
def client(api: Api) -> Iterator[ScrayClient]:
    with ScrayClient(api.url, TOKEN) as found:
        yield found


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.tif"
    path.write_bytes(bytes(range(256)) * 2000)
    return path


def send(client: ScrayClient, path: Path, **fields: Any) -> str:
    return client.upload(path, sensor="TIFF", name="scan", user_email=EMAIL, **fields).dataset_uuid


def test_a_file_arrives_with_its_parameters_and_progress(client: ScrayClient, api: Api, scan: Path) -> None:
    seen: list[Progress] = []
    upload = client.upload(
        scan, sensor="TIFF", name="scan", user_email=EMAIL, parameters={"Xs": "x"}, on_progress=seen.append, tags="a,b"
    )
    assert (seen[-1].sent_bytes, upload.size_bytes, upload.job_ids) == (512_000, 512_000, (upload.job_id,))
    row = api.row(upload.dataset_uuid)
    assert (row["conversion_parameters"], row["tags"], row["status"]) == ({"Xs": "x"}, ["a", "b"], "conversion queued")
    assert (api.data / "upload" / upload.dataset_uuid / "scan.tif").read_bytes() == scan.read_bytes()
    assert client.job(upload.job_id)["dataset_uuid"] == client.status(upload.dataset_uuid)["dataset_uuid"]
    assert client.dataset(upload.dataset_uuid)["name"] == "scan"
    assert upload.dataset_uuid in {found["uuid"] for found in client.datasets(user_email=EMAIL)}


def test_a_folder_is_one_dataset(client: ScrayClient, api: Api, tmp_path: Path) -> None:
    tree = {"b.tif": b"1", "sub/a.tif": b"2", "sub/deep/a.tif": b"3", "sub/empty.tif": b""}
    for name, content in {**tree, ".hidden": b"x", "sub/.git/config": b"x"}.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    upload = client.upload(tmp_path / "folder", sensor="TIFF", name="stack", user_email=EMAIL)
    assert (len(upload.job_ids), upload.size_bytes) == (4, 3)
    root = api.data / "upload" / upload.dataset_uuid
    assert {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.tif")} == tree
    assert api.row(upload.dataset_uuid)["file_count"] == 4


def test_a_folder_of_nothing_is_refused_before_anything_is_sent(client: ScrayClient, api: Api, tmp_path: Path) -> None:
    before = len(api.rows())
    with pytest.raises(EmptyInput):
        send(client, tmp_path)
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).touch()
        with pytest.raises(EmptyInput, match=r"empty files only, like .*a\.tif"):
            send(client, tmp_path)
    assert len(api.rows()) == before


def test_an_empty_file_is_added_to_a_dataset(client: ScrayClient, api: Api, scan: Path) -> None:
    uuid = send(client, scan)
    empty = scan.parent / "empty.txt"
    empty.touch()
    assert send(client, empty, dataset_identifier=uuid, add_to_existing=True) == uuid
    assert (api.data / "upload" / uuid / "empty.txt").read_bytes() == b""


def test_following_a_dataset_to_its_end(client: ScrayClient, api: Api, scan: Path) -> None:
    uuid = send(client, scan)
    queue = Queue(api.database)
    seen: list[str] = []
    follower = threading.Thread(target=lambda: seen.extend(one["status"] for one in client.watch(uuid, 60)))
    follower.start()
    until(lambda: seen or not follower.is_alive() or api.row(uuid)["status"] == "conversion queued")
    while (claim := queue.claim("test")) and claim.uuid != uuid:
        queue.finish(claim)
    assert claim is not None
    queue.fail(claim, BadInput("No TIFF."))
    follower.join(60)
    assert seen[-1] == "conversion failed"
    last = client.wait(uuid)
    assert (last["error_code"], last["error_message"]) == ("bad-input", "No TIFF.")
    assert client.convert(uuid)["status"] == "conversion queued"
    client.cancel(f"upload_{uuid}")
    assert client.wait(uuid)["status"] == "cancelled"


def test_a_restart_of_the_service_is_sat_out(
    mongo_url: str, mongo: MongoClient[dict[str, Any]], tmp_path: Path, scan: Path
) -> None:
    database = mongo[f"test_{uuid4().hex[:12]}"]
    with ExitStack() as stack:
        with serving(mongo_url, database, tmp_path / "data") as first:
            client = stack.enter_context(ScrayClient(first.url))
            uuid = send(client, scan)
            statuses = client.watch(uuid, 60)
            assert next(statuses)["status"] == "conversion queued"
        waiting = stack.enter_context(ThreadPoolExecutor(1)).submit(next, statuses)
        with serving(mongo_url, database, tmp_path / "data", SCRAY_API_PORT=str(first.port)):
            assert Queue(database).request_cancel(uuid)
            assert waiting.result(60)["status"] == "cancelled"
    mongo.drop_database(database.name)


def test_waiting_ends(client: ScrayClient, scan: Path) -> None:
    uuid = send(client, scan)
    with pytest.raises(TimedOut, match="conversion queued"):
        client.wait(uuid, timeout_seconds=0.1)


def test_errors_are_those_of_the_service(client: ScrayClient, api: Api, scan: Path) -> None:
    with pytest.raises(NotFound, match="Dataset not found: nothing"):
        client.status("nothing")
    with pytest.raises(InvalidField, match="sensor"):
        client.upload(scan, sensor="X-RAY", name="scan", user_email=EMAIL)
    uuid = send(client, scan)
    with pytest.raises(Conflict):
        client.convert(uuid)
    with ScrayClient(api.url) as stranger, pytest.raises(Unauthorised):
        stranger.datasets()


def test_no_service() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with ScrayClient(f"http://127.0.0.1:{port}") as client, pytest.raises(Unreachable, match=str(port)):
        client.health()


def test_health_and_other_answers(client: ScrayClient) -> None:
    assert client.health()["database"] == "ok"
    with pytest.raises(ServiceError, match="is it a scray service"):
        client.ask("GET", "/docs")


def test_the_command_says_whether_there_is_anything_to_cancel(
    api: Api, client: ScrayClient, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRAY_API_TOKEN", TOKEN)
    waits, kept = send(client, scan), send(client, scan, convert=False)
    said = []
    for dataset in (waits, waits, kept):
        ended = CliRunner().invoke(app, ["cancel", dataset, "--api", api.url])
        said.append((ended.exit_code, (ended.stdout or ended.stderr).strip().replace(dataset, "it")))
    assert said == [
        (0, "it is being cancelled"),
        (0, "it is cancelled already"),
        (1, "Nothing is being done with it, which is 'done': there is nothing to cancel. [conflict]"),
    ]
