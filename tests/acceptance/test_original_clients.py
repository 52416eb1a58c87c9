"""What existing clients send, all of it at once, against a whole stack, until their own loops say that it is over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.state import State
from converters.verify import verify
from scray.settings import Settings
from scray.sources.bucket import Keys, s3_client
from tests.original_clients import CHUNK_BYTES, Original, upload_file_async
from tests.range_server import serving_files
from tests.swift_server import KEY, SECRET, Swift

SAMPLES = Path(__file__).parents[2] / "examples" / "data"
PICTURE, TABLE = SAMPLES / "img3d.tif", SAMPLES / "tooth.h5"
EMAIL = "ada@example.org"


@pytest.fixture
def original(stack: State) -> Iterator[Original]:
    client = Original(stack.api)
    yield client
    client.close()


def bucket(swift: Swift) -> dict[str, str]:
    """Where a picture lies, said as these clients say it: they know no endpoint."""
    store = s3_client(Keys(KEY, SECRET, endpoint_url=swift.url), Settings(), trusted=True)
    store.create_bucket(Bucket="originals")
    store.put_object(Bucket="originals", Key="data/img3d.tif", Body=PICTURE.read_bytes())
    where = {"bucket_name": "originals", "object_key": "data/img3d.tif"}
    return {**where, "access_key_id": KEY, "secret_access_key": SECRET}


def tree(folder: Path) -> set[str]:
    """A stack of pages in nested folders, with names that need care in a form; and a file of nothing."""
    names = {"a/0.tif", "a/b c/1.tif", "Übung (2).tif"}
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PICTURE.read_bytes())
    (folder / "a/done").touch()
    return {*names, "a/done"}


def test_everything_they_send_completes(stack: State, original: Original, swift: Swift, tmp_path: Path) -> None:
    names = tree(tmp_path / "tree")
    large = tmp_path / "large.dat"
    large.write_bytes(os.urandom(1 << 20) * 101)
    with serving_files() as web:
        web.put("/img3d.tif", PICTURE.read_bytes())
        upload_id = original.begin_large(large, EMAIL, "large", "OTHER")["upload_id"]
        assert original.send_missing(large, upload_id, 4) == [0, 1]
        sent = [
            original.complete(upload_id),
            original.upload_file(PICTURE, EMAIL, "unified", "TIFF"),
            original.upload_local_file(TABLE, EMAIL, "plain", "HDF5"),
            asyncio.run(upload_file_async(stack.api, large, EMAIL, "asynchronous", "OTHER")),
            *original.upload_directory(tmp_path / "tree", EMAIL, "tree", "TIFF"),
            original.upload_by_path(str(PICTURE), EMAIL, "near", "TIFF"),
            original.initiate("url", {"url": web.url("/img3d.tif")}, EMAIL, "far", "TIFF"),
            original.initiate("s3", bucket(swift), EMAIL, "farther", "TIFF"),
        ]
        ended = [original.wait(found["job_id"], 120) for found in sent]
    assert [(job["status"], job["progress_percentage"]) for job in ended] == [("completed", 100)] * len(sent)
    assert original.chunk_status(upload_id)["is_complete"] is True
    assert {job["dataset_uuid"] for job in original.jobs(EMAIL, status="completed")} >= {
        found["dataset_uuid"] for found in sent
    }
    results = Path(stack.data) / "converted"
    uploads = Path(stack.data) / "upload" / sent[4]["dataset_uuid"]
    assert {str(path.relative_to(uploads)) for path in uploads.rglob("*") if path.is_file()} == names
    assert (results / sent[0]["dataset_uuid"] / "large.dat").stat().st_size > CHUNK_BYTES
    for found, source in ((sent[1], PICTURE), (sent[2], TABLE), (sent[-1], PICTURE)):
        assert verify(results / found["dataset_uuid"], source) == []


def test_what_fails_and_what_is_cancelled_ends_their_loops(original: Original, tmp_path: Path) -> None:
    (tmp_path / "broken.tif").write_bytes(b"nothing like a picture")
    broken = original.upload_file(tmp_path / "broken.tif", EMAIL, "broken", "TIFF")
    unwanted = original.upload_file(TABLE, EMAIL, "unwanted", "HDF5")
    original.ask("POST", f"/api/upload/cancel/{unwanted['job_id']}", {"message"})
    assert original.wait(unwanted["job_id"])["status"] == "cancelled"
    assert original.wait(broken["job_id"])["error"].endswith(".")
    assert original.status(broken["job_id"])["status"] == "failed"
