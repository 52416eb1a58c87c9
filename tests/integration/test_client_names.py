"""The clients under the names that existing programs know, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from scray.client import (
    AsyncLargeFileUploadClient,
    AsyncScientistCloudUploadClient,
    JobStatus,
    LargeFileUploadClient,
    ScientistCloudUploadClient,
    ScrayClient,
    UploadResult,
)
from scray.errors import BadParameter, NotFound, ScrayError
from tests.api_server import EMAIL, Api, serving

CHUNK = 300_000
FORM = (EMAIL, "scan", "TIFF")


@pytest.fixture(scope="module")
def api(mongo_url: str, mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    database = mongo[f"test_{uuid4().hex[:12]}"]
    roots = tmp_path_factory.mktemp("roots")
    (roots / "x.tif").write_bytes(b"of the server")
    settings = {"SCRAY_IMPORT_ROOTS": str(roots), "SCRAY_ALLOWED_ADDRESSES": "127.0.0.1"}
    with serving(mongo_url, database, tmp_path_factory.mktemp("api"), **settings) as server:
        yield server
    mongo.drop_database(database.name)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.tif"
    path.write_bytes(os.urandom(1_000_000))
    return path


def stored(api: Api, job_id: str) -> bytes:
    record = api.database.uploads.find_one({"_id": job_id}) or {}
    return Path(api.data, "upload", record["dataset_uuid"], record["path"]).read_bytes()


def test_a_file_is_sent_and_followed(api: Api, scan: Path) -> None:
    seen: list[float] = []
    with ScientistCloudUploadClient(f"{api.url}/") as client:
        result = client.upload_file(str(scan), *FORM, convert=False, folder="lab", progress_callback=seen.append)
        assert isinstance(result, UploadResult)
        assert (result.status, result.upload_type, seen[-1]) == ("queued", "standard", 1.0)
        found = client.wait_for_completion(result.job_id, timeout=60, poll_interval=0.1)
        assert isinstance(found, JobStatus)
        assert (found.status, found.progress_percentage, found.bytes_total) == ("completed", 100, 1_000_000)
        assert (result["job_id"], found["status"], found["speed_mbps"]) == (result.job_id, "completed", 0)
        assert json.loads(json.dumps(result)) == asdict(result)
        assert stored(api, result.job_id) == scan.read_bytes()
        jobs = client.list_upload_jobs(EMAIL, status="completed")
        assert result.job_id in {job["job_id"] for job in jobs["jobs"]}
        with pytest.raises(NotFound):
            client.get_upload_status("nobody")
    uuid = (api.database.uploads.find_one({"_id": result.job_id}) or {})["dataset_uuid"]
    assert api.row(uuid)["folder_uuid"] == "lab"


def test_a_file_joins_a_dataset_in_a_folder(api: Api, scan: Path) -> None:
    uuid = str(uuid4())
    with ScientistCloudUploadClient(api.url) as client:
        client.upload_file(str(scan), *FORM, dataset_identifier=uuid)
        client.upload_file(str(scan), *FORM, dataset_identifier=uuid, add_to_existing=True, folder="sub")
    assert (api.data / "upload" / uuid / "sub" / "scan.tif").read_bytes() == scan.read_bytes()
    assert api.row(uuid)["file_count"] == 2


def test_a_directory_is_one_dataset(api: Api, tmp_path: Path) -> None:
    for name in ("a.tif", "sub/a.tif"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(name.encode())
    with ScientistCloudUploadClient(api.url) as client:
        results = client.upload_directory(str(tmp_path / "tree"), *FORM)
        assert [stored(api, result.job_id) for result in results] == [b"a.tif", b"sub/a.tif"]
        refused = client.upload_directory(str(tmp_path / "tree"), "nobody", "scan", "TIFF")
        assert {result.status for result in refused} == {"failed"}
        again = client.upload_directory_from_source("local", {"directory_path": str(tmp_path / "tree")}, *FORM)
        assert len(again) == 2
        with pytest.raises(BadParameter):
            client.upload_directory_from_source("url", {"url": "http://127.0.0.1/"}, *FORM)


def test_what_the_service_fetches_itself(api: Api, tmp_path: Path) -> None:
    with ScientistCloudUploadClient(api.url) as client:
        results = [
            client.initiate_url_upload("http://127.0.0.1:1/x.tif", *FORM),
            client.initiate_s3_upload("bucket", "x.tif", "key", "secret", *FORM),
            client.upload_from_source("s3", {"bucket_name": "b", "object_key": "x", "anonymous": True}, *FORM),
        ]
        for result in results:
            assert client.get_upload_status(result.job_id).status == "queued"
            assert (result.status, result.estimated_duration is not None) == ("queued", True)
            assert "cancelled" in client.cancel_upload(result.job_id)["message"]
        with pytest.raises(ScrayError):
            client.initiate_google_drive_upload("id", "no key", *FORM)
        root = next(path for path in tmp_path.parent.glob("roots*"))
        assert client.upload_file_by_path(str(root / "x.tif"), *FORM).status == "queued"


def test_imports_of_our_own_client(api: Api) -> None:
    fields: dict[str, Any] = {"user_email": EMAIL, "name": "scan", "sensor": "TIFF", "parameters": {"Xs": "x"}}
    with ScrayClient(api.url) as client:
        for upload in (
            client.import_url("http://127.0.0.1:1/x.tif", **fields),
            client.import_s3("bucket", "x/", source={"anonymous": True}, **fields),
        ):
            assert client.status(upload.dataset_uuid)["status"] == "sync queued"
            assert client.dataset(upload.dataset_uuid)["conversion_parameters"] == {"Xs": "x"}


def test_the_general_questions(api: Api) -> None:
    with ScientistCloudUploadClient(api.url) as client:
        assert client.get_api_info()["large_file_threshold_mb"] == "100"
        assert client.health_check()["database"] == "ok"
        assert "TIFF" in client.get_supported_sources()["sensor_types"]
        assert client.get_upload_limits()["chunk_size_bytes"] == 104_857_600
        assert client.estimate_upload_time("s3", 10.5)["estimated_seconds"] == 180 + 21
        assert client.estimate_upload_time("local")["estimated_minutes"] == 1


def test_large_files(api: Api, scan: Path) -> None:
    seen: list[float] = []
    with LargeFileUploadClient(api.url, chunk_size=CHUNK) as client:
        upload_id = client.upload_file_chunked(str(scan), *FORM, progress_callback=seen.append)
        assert stored(api, upload_id) == scan.read_bytes()
        assert seen[-1] == 1.0
        assert client.wait_for_completion(upload_id, timeout=10)["is_complete"] is True
        assert client.health_check()["status"] == "healthy"
        assert client.get_upload_limits()["chunk_size_bytes"] == 104_857_600


def test_a_large_file_step_by_step(api: Api, scan: Path) -> None:
    with LargeFileUploadClient(api.url, chunk_size=CHUNK) as client:
        begun = client.initiate_large_upload(str(scan), *FORM)
        upload_id = begun["upload_id"]
        assert (begun["chunk_size"], begun["total_chunks"]) == (CHUNK, 4)
        assert client.upload_chunk(upload_id, 2, scan.read_bytes()[2 * CHUNK : 3 * CHUNK])["uploaded_chunks"] == 1
        assert client.get_resume_info(upload_id)["missing_chunks"] == [0, 1, 3]
        with pytest.raises(TimeoutError):
            client.wait_for_completion(upload_id, timeout=0, poll_interval=0.01)
        assert client.upload_file_chunked(str(scan), *FORM, resume_upload_id=upload_id) == upload_id
        assert client.get_chunk_status(upload_id)["is_complete"] is True
        assert client.complete_upload(upload_id)["job_submitted"] is True
        assert stored(api, upload_id) == scan.read_bytes()
        gone = client.initiate_large_upload(str(scan), *FORM)["upload_id"]
        assert "cancelled" in client.cancel_upload(gone)["message"]
        with pytest.raises(ScrayError, match="over"):
            client.upload_file_chunked(str(scan), *FORM, resume_upload_id=gone)


def test_the_same_with_asyncio(api: Api, scan: Path) -> None:
    async def run() -> tuple[str, str]:
        async with AsyncScientistCloudUploadClient(api.url) as client:
            result = await client.upload_file(str(scan), *FORM, convert=False)
            assert (await client.wait_for_completion(result.job_id, poll_interval=0.1)).status == "completed"
            directory = await client.upload_directory(str(scan.parent), *FORM)
            assert len(directory) == 1
        async with AsyncLargeFileUploadClient(api.url, chunk_size=CHUNK) as large:
            return result.job_id, await large.upload_file_parallel(str(scan), *FORM)

    for job in asyncio.run(run()):
        assert stored(api, job) == scan.read_bytes()
