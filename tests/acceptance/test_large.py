"""Files sent in chunks, through the whole stack: checked, proved, converted; or told what to send again."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from cluster.state import State
from converters.verify import verify
from scray.catalog import Catalog
from scray.client import ScrayClient
from scray.database import connect
from scray.settings import Settings
from tests.api_server import until

SAMPLE = Path(__file__).parents[2] / "examples" / "data" / "img3d.tif"
CHUNK = 10_000


def begin(stack: State, content: bytes, **more: Any) -> dict[str, Any]:
    asked = {
        "user_email": "a@example.org", "dataset_name": "large", "sensor": "TIFF", "filename": "img3d.tif",
        "file_size": len(content), "file_hash": hashlib.sha256(content).hexdigest(), "chunk_size": CHUNK, **more,
    }  # fmt: skip
    found: dict[str, Any] = httpx.post(f"{stack.api}/api/upload/large/initiate", json=asked).json()
    return found


def send(stack: State, upload_id: str, index: int, content: bytes) -> None:
    data = content[index * CHUNK : (index + 1) * CHUNK]
    digest = {"chunk_hash": hashlib.sha256(data).hexdigest()}
    url = f"{stack.api}/api/upload/large/chunk/{upload_id}/{index}"
    assert httpx.put(url, content=data, params=digest).status_code == 200


def complete(stack: State, upload_id: str) -> None:
    reply = httpx.post(f"{stack.api}/api/upload/large/complete/{upload_id}")
    assert reply.status_code == 200, reply.text


def sent(stack: State, content: bytes, **more: Any) -> tuple[str, str]:
    """The session and the dataset of a file that was sent whole, but not completed."""
    session = begin(stack, content, **more)
    for index in range(session["total_chunks"]):
        send(stack, session["upload_id"], index, content)
    return session["upload_id"], session["dataset_uuid"]


def database_of(stack: State) -> Any:
    return connect(stack.mongo, Settings().db_name)


def test_a_file_in_chunks_becomes_a_verified_dataset(stack: State, client: ScrayClient) -> None:
    upload_id, uuid = sent(stack, SAMPLE.read_bytes())
    complete(stack, upload_id)
    assert client.wait(uuid, 90)["status"] == "done"
    assert verify(Path(stack.data) / "converted" / uuid, SAMPLE) == []
    job = client.job(upload_id)
    assert (job["status"], job["progress_percentage"]) == ("completed", 100)
    with database_of(stack).client as mongo:
        record = mongo[Settings().db_name].uploads.find_one({"_id": upload_id})
    assert (record["checked"], record["whole"]) == (True, "same")


def test_a_chunk_that_differs_on_the_disk_is_named_and_may_be_sent_again(stack: State, client: ScrayClient) -> None:
    content = SAMPLE.read_bytes()
    upload_id, uuid = sent(stack, content)
    part = Path(stack.data) / "upload" / ".incoming" / f"{upload_id}.part"
    with part.open("r+b") as file:
        file.seek(2 * CHUNK + 5)
        file.write(bytes([content[2 * CHUNK + 5] ^ 1]))
    complete(stack, upload_id)
    ended = client.wait(uuid, 90)
    assert (ended["status"], ended["error_code"]) == ("upload error", "chunk-damaged")
    assert "chunks 2)" in ended["error_message"]
    assert not (Path(stack.data) / "upload" / uuid / "img3d.tif").exists()
    wanted = httpx.get(f"{stack.api}/api/upload/large/resume/{upload_id}").json()
    assert (wanted["missing_chunks"], wanted["can_resume"]) == ([2], True)
    send(stack, upload_id, 2, content)
    complete(stack, upload_id)
    assert client.wait(uuid, 90)["status"] == "done"
    assert (Path(stack.data) / "upload" / uuid / "img3d.tif").read_bytes() == content


@pytest.mark.parametrize("convert", [True, False])
def test_a_file_that_was_changed_while_it_was_sent_is_not_published(
    stack: State, client: ScrayClient, convert: bool
) -> None:
    upload_id, uuid = sent(stack, SAMPLE.read_bytes(), file_hash="0" * 64, convert=convert)
    complete(stack, upload_id)
    ended = client.wait(uuid, 90)
    assert (ended["status"], ended["error_code"]) == ("upload error", "source-changed")
    assert not (Path(stack.data) / "converted" / uuid).exists()
    again = httpx.post(f"{stack.api}/api/upload/large/complete/{upload_id}")
    assert (again.status_code, again.json()["code"]) == (400, "source-changed")
    assert "File hash validation failed" in again.json()["detail"]
    assert httpx.get(f"{stack.api}/api/upload/large/status/{upload_id}").json()["is_complete"] is True


def test_without_conversion_a_checked_file_is_done(stack: State, client: ScrayClient) -> None:
    content = os.urandom(5 * CHUNK + 1)
    upload_id, uuid = sent(stack, content, convert=False, dataset_identifier=str(uuid4()))
    complete(stack, upload_id)
    assert client.wait(uuid, 90)["status"] == "done"
    assert client.job(upload_id)["status"] == "completed"


def test_a_killed_driver_goes_on_with_the_check(stack: State, client: ScrayClient) -> None:
    upload_id, uuid = sent(stack, SAMPLE.read_bytes())
    pid = until(lambda: pid_of_driver(stack), 60, "a driver")
    assert pid is not None
    complete(stack, upload_id)
    os.kill(pid, signal.SIGKILL)
    ended = client.wait(uuid, 120)
    assert (ended["status"], ended["error_message"]) == ("done", None)


def pid_of_driver(stack: State) -> int | None:
    """The process of a driver that beats. Just after another test has killed one, its record still names the dead."""
    database = connect(stack.mongo, Settings().db_name)
    with database.client:
        alive = [one["pid"] for one in Catalog(database).drivers() if one["alive"]]
    return next((pid for pid in alive if psutil.pid_exists(pid)), None)
