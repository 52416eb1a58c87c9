"""What existing clients do, request by request, against a real server; without a driver, so nothing is converted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from pymongo import MongoClient

from tests.api_server import EMAIL, Api, serving
from tests.original_clients import CHUNK_BYTES, Original, chunk_of, upload_file_async

SIZE = CHUNK_BYTES + 45_000_000  # a file of 150 million bytes: two chunks, the second one shorter


@pytest.fixture(scope="module")
def api(mongo_url: str, mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    database = mongo[f"test_{uuid4().hex[:12]}"]
    roots = tmp_path_factory.mktemp("roots")
    (roots / "x.tif").write_bytes(b"of the server")
    with serving(mongo_url, database, tmp_path_factory.mktemp("api"), SCRAY_IMPORT_ROOTS=str(roots)) as server:
        yield server
    mongo.drop_database(database.name)


@pytest.fixture
def client(api: Api) -> Iterator[Original]:
    client = Original(f"{api.url}/")
    yield client
    client.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.tif"
    with path.open("wb") as file:
        file.write(os.urandom(1 << 20) * (SIZE >> 20))
        file.write(b"1" * (SIZE - file.tell()))
    return path


def same(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(1 << 20):
            if block != second.read(1 << 20):
                return False
        return not second.read(1)


def test_the_general_questions(client: Original) -> None:
    assert client.ask("GET", "/", {"message"})["large_file_threshold_mb"] == "100"
    assert "status" in client.session.get(f"{client.base_url}/health").json()
    sources = client.ask("GET", "/api/upload/supported-sources", {"source_types", "sensor_types"})
    assert "4D_NEXUS" in sources["sensor_types"]
    assert client.ask("GET", "/api/upload/limits", {"chunk_size_bytes"})["chunk_size_bytes"] == CHUNK_BYTES
    assert client.ask("GET", "/api/upload/large/limits", {"chunk_size_bytes"})["chunk_size_bytes"] == CHUNK_BYTES
    estimate = {"source_type", "estimated_seconds", "estimated_minutes", "file_size_mb"}
    assert (
        client.ask("GET", "/api/upload/estimate-time", estimate, params={"source_type": "url"})["file_size_mb"] is None
    )
    assert client.session.get(f"{client.base_url}/api/upload/estimate-time").status_code == 422
    assert client.ask("GET", "/health/large-files", {"active_uploads"})["status"] == "healthy"


@pytest.mark.parametrize("plain", [False, True])
def test_one_file(client: Original, api: Api, tmp_path: Path, plain: bool) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(b"pixels")
    send = client.upload_local_file if plain else client.upload_file
    result = send(path, EMAIL, "scan", "TIFF")
    assert client.status(result["job_id"])["status"] == "processing"
    assert result["job_id"] in {job["job_id"] for job in client.jobs(EMAIL)}
    client.ask("POST", f"/api/upload/cancel/{result['job_id']}", {"message"})
    assert client.wait(result["job_id"])["status"] == "cancelled"


def test_a_large_file_in_one_request(client: Original, api: Api, large: Path) -> None:
    result = client.upload_file(large, EMAIL, "large", "TIFF", convert="false")
    assert result["upload_type"] == "chunked"
    found = client.wait(result["job_id"])
    assert (found["status"], found["progress_percentage"], found["bytes_total"]) == ("completed", 100, SIZE)
    assert same(large, api.data / "upload" / result["dataset_uuid"] / "large.tif")


def test_a_directory(client: Original, api: Api, tmp_path: Path) -> None:
    for name in ("a.tif", "sub/a.tif", "sub/deep/b.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    results = client.upload_directory(tmp_path, EMAIL, "folder", "TIFF", convert="false")
    assert len({result["dataset_uuid"] for result in results}) == 1
    root = api.data / "upload" / results[0]["dataset_uuid"]
    for name in ("a.tif", "sub/a.tif", "sub/deep/b.tif"):
        assert (root / name).read_bytes() == name.encode()
    assert {client.wait(result["job_id"])["status"] for result in results} == {"completed"}


@pytest.mark.parametrize(
    ("source", "config"),
    [
        ("url", {"url": "https://example.org/x.tif"}),
        ("s3", {"bucket_name": "lab", "object_key": "x.tif", "access_key_id": "k", "secret_access_key": "s"}),
    ],
)
def test_what_the_service_fetches(client: Original, source: str, config: dict[str, Any]) -> None:
    job = client.initiate(source, config, EMAIL, "far", "TIFF")["job_id"]
    assert client.status(job)["status"] == "queued"
    client.ask("POST", f"/api/upload/cancel/{job}", {"message"})
    assert client.wait(job)["status"] == "cancelled"


def test_a_file_of_the_server(client: Original, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = next(tmp_path_factory.getbasetemp().glob("roots?/x.tif"))
    assert client.upload_by_path(str(path), EMAIL, "near", "TIFF")["upload_type"] == "path"


def test_the_asynchronous_client(client: Original, api: Api, large: Path) -> None:
    result = asyncio.run(upload_file_async(api.url, large, EMAIL, "large", "TIFF"))
    assert result.keys() >= {"job_id", "status", "message", "upload_type"}
    assert client.status(result["job_id"])["status"] == "processing"
    assert same(large, api.data / "upload" / result["dataset_uuid"] / "large.tif")


@pytest.mark.parametrize("workers", [1, 4])
def test_a_large_file_in_chunks(client: Original, api: Api, large: Path, workers: int) -> None:
    session = client.begin_large(large, EMAIL, "large", "TIFF")
    upload_id = session["upload_id"]
    assert (session["chunk_size"], session["total_chunks"]) == (CHUNK_BYTES, 2)
    assert client.send_missing(large, upload_id, workers) == [0, 1]
    assert client.chunk_status(upload_id)["is_complete"] is True
    done = client.complete(upload_id)
    assert (done["file_size"], done["job_submitted"]) == (SIZE, True)
    assert client.chunk_status(upload_id)["is_complete"] is True, "a client waits for this after it completed"
    assert same(large, api.data / "upload" / done["dataset_uuid"] / "large.tif")
    assert client.status(upload_id)["status"] == "queued", "the driver's check is next"


def test_a_client_that_died_goes_on_where_it_was(client: Original, api: Api, large: Path) -> None:
    upload_id = client.begin_large(large, EMAIL, "large", "TIFF")["upload_id"]
    client.send_chunk(upload_id, 1, chunk_of(large, 1))
    with pytest.raises(requests.HTTPError, match="400"):
        client.complete(upload_id)
    assert client.send_missing(large, upload_id, 4) == [0]
    assert client.complete(upload_id)["file_size"] == SIZE
    with pytest.raises(ValueError, match="cannot resume"):
        client.send_missing(large, upload_id)


def test_a_large_file_that_is_given_up(client: Original, large: Path) -> None:
    upload_id = client.begin_large(large, EMAIL, "large", "TIFF")["upload_id"]
    client.cancel_large(upload_id)
    assert client.status(upload_id)["status"] == "cancelled"
