"""Chunks that broke off go on where they were, and what is said of a file only at its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pymongo import MongoClient

from tests.api_server import Api, serving, until
from tests.integration.test_large_uploads import begin, finish, missing, part_of, send, sha

SIZE = 40_000_000
CONTENT = os.urandom(SIZE)
HINT_BYTES = 1 << 24


def here(api: Api, upload_id: str, index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(f"/api/upload/large/chunk/{upload_id}/{index}").json()
    return found


def put(api: Api, upload_id: str, content: bytes, offset: int = 0) -> int:
    path = f"/api/upload/large/chunk/{upload_id}/0"
    asked = {"chunk_hash": sha(CONTENT), "offset": str(offset)}
    return api.http.put(path, content=content, params=asked).status_code


def broken(api: Api, upload_id: str, content: bytes) -> int:
    """Send a part of the chunk and go; how much of it the server says it has."""
    head = f"PUT /api/upload/large/chunk/{upload_id}/0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SIZE}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(head.encode() + content)
    return int(until(lambda: here(api, upload_id)["received_bytes"], what="the end of the broken request"))


def test_a_chunk_that_broke_off_goes_on_where_it_was(api: Api) -> None:
    session = begin(api, CONTENT, chunk_size=SIZE)
    upload_id = session["upload_id"]
    assert here(api, upload_id) == {"received": False, "received_bytes": 0}
    offset = broken(api, upload_id, CONTENT[:5_000_000])
    assert 0 < offset <= 5_000_000
    assert put(api, upload_id, CONTENT[offset + 1 :], offset + 1) == 409, "nobody has seen that byte"
    assert put(api, upload_id, CONTENT[offset:], offset) == 200
    assert here(api, upload_id) == {"received": True, "received_bytes": SIZE}
    assert put(api, upload_id, CONTENT[offset:], offset) == 409, "it is here already"
    assert finish(api, upload_id).status_code == 200
    assert (api.data / "upload" / session["dataset_uuid"] / "x.tif").read_bytes() == CONTENT


def test_a_wrong_beginning_is_found_out_and_forgotten(api: Api) -> None:
    upload_id = begin(api, CONTENT, chunk_size=SIZE)["upload_id"]
    offset = broken(api, upload_id, b"0" + CONTENT[1:5_000_000])
    assert put(api, upload_id, CONTENT[offset:], offset) == 400
    assert (here(api, upload_id), missing(api, upload_id)) == ({"received": False, "received_bytes": 0}, [0])
    assert put(api, upload_id, CONTENT) == 200


def test_what_a_killed_server_had_of_a_chunk_is_not_sent_again(
    mongo_url: str, mongo: MongoClient[dict[str, Any]], tmp_path: Path
) -> None:
    database = mongo[f"test_{uuid4().hex[:12]}"]
    with serving(mongo_url, database, tmp_path) as api:
        upload_id = begin(api, CONTENT, chunk_size=SIZE)["upload_id"]
        half_send = api.http.build_request("PUT", f"/api/upload/large/chunk/{upload_id}/0", content=_dying(api))
        with pytest.raises(httpx.TransportError):
            api.http.send(half_send)
    with serving(mongo_url, database, tmp_path) as api:
        offset = here(api, upload_id)["received_bytes"]
        assert offset >= HINT_BYTES
        assert put(api, upload_id, CONTENT[offset:], offset) == 200
        assert part_of(api, upload_id).read_bytes() == CONTENT
    mongo.drop_database(database.name)


def _dying(api: Api) -> Iterator[bytes]:
    """A body whose receiver is killed in its middle."""
    yield CONTENT[:36_000_000]
    upload_id = next(iter(api.database.uploads.find()))["_id"]
    until(lambda: here(api, upload_id)["received_bytes"] >= HINT_BYTES, what="the first note")
    api.process.kill()
    api.process.wait()


def test_a_taken_name_does_not_cost_the_bytes(api: Api) -> None:
    uuid = str(uuid4())
    content = CONTENT[:300_000]
    session = begin(api, content, dataset_identifier=uuid)
    upload_id = session["upload_id"]
    for index in range(2):
        assert send(api, upload_id, index, content[index * 200_000 : (index + 1) * 200_000]).status_code == 200
    (api.data / "upload" / uuid).mkdir(exist_ok=True)
    (api.data / "upload" / uuid / "x.tif").write_bytes(b"somebody else's")
    for _ in range(2):
        refused = finish(api, upload_id)
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert part_of(api, upload_id).read_bytes() == content
    path = f"/api/upload/large/complete/{upload_id}"
    assert api.http.post(path, json={"filename": "../y.tif"}).status_code == 200
    assert api.http.post(path).json()["file_path"] == "y.tif"
    assert (api.data / "upload" / uuid / "y.tif").read_bytes() == content
    assert (api.data / "upload" / uuid / "x.tif").read_bytes() == b"somebody else's"


def test_the_digest_of_a_file_may_be_said_at_its_end(api: Api) -> None:
    content = CONTENT[:1000]
    asked = {"user_email": "a@example.org", "dataset_name": "x", "sensor": "TIFF", "filename": "x", "file_size": 1000}
    upload_id = api.http.post("/api/upload/initiate-chunked", json=asked).json()["upload_id"]
    assert send(api, upload_id, 0, content).status_code == 200
    path = f"/api/upload/large/complete/{upload_id}"
    assert api.http.post(path, json={"file_hash": "x"}).status_code == 422
    assert api.http.post(path, json={"file_hash": sha(content)}).json()["verification"] == "sha256"
    record = api.database.uploads.find_one({"_id": upload_id}) or {}
    assert record["file_hash"] == sha(content)
