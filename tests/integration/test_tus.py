"""The tus protocol: with a real client of it, with every extension, and with servers that are killed meanwhile."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pymongo.database import Database

from tests.api_server import FORM, Api, is_locked, serving, until

Mongo = Database[dict[str, Any]]
CONTENT = os.urandom(8_000_000)
PLACE = "/api/upload/tus"
API_SETTINGS = {"SCRAY_LEASE_SECONDS": "2"}
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}

CLIENT = """
import json, sys
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage
url, path, urls, fields, how = sys.argv[1:]
upload = TusClient(url).uploader(
    file_path=path, metadata=json.loads(fields), chunk_size=3_000_000, upload_checksum=True,
    store_url=True, url_storage=FileStorage(urls),
)
start = upload.offset
upload.upload_chunk() if how == "one" else upload.upload()
print(upload.url, start, upload.offset)
"""


def metadata(**more: str) -> str:
    pairs = {**FORM, "filename": "x.tif", **more}
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


def create(api: Api, length: int = len(CONTENT), content: bytes = b"", **headers: str) -> httpx.Response:
    head = {"Upload-Length": str(length), "Upload-Metadata": metadata(), **(BYTES if content else TUS), **headers}
    return api.http.post(PLACE, headers=head, content=content)


def begun(api: Api, length: int = len(CONTENT), **headers: str) -> str:
    reply = create(api, length, b"", **headers)
    assert reply.status_code == 201, reply.text
    return str(reply.headers["location"])


def patch(api: Api, url: str, offset: int, content: bytes, **headers: str) -> httpx.Response:
    return api.http.patch(url, headers={**BYTES, "Upload-Offset": str(offset), **headers}, content=content)


def offset(api: Api, url: str) -> int:
    reply = api.http.head(url, headers=TUS)
    assert reply.status_code == 200
    return int(reply.headers["upload-offset"])


def record_of(api: Api, url: str) -> dict[str, Any]:
    found = api.database.uploads.find_one({"_id": url.rpartition("/")[2]})
    assert found is not None
    return found


def stored(api: Api, url: str) -> bytes:
    record = record_of(api, url)
    return Path(api.data, "upload", record["dataset_uuid"], record["path"]).read_bytes()


def part_of(api: Api, url: str) -> Path:
    return api.data / "upload" / ".incoming" / f"{url.rpartition('/')[2]}.part"


def test_a_real_client_sends_a_file_and_resumes_it(api: Api, tmp_path: Path) -> None:
    source = tmp_path / "scan.tif"
    source.write_bytes(CONTENT)
    fields = json.dumps({**FORM, "filename": "scän.tif", "tags": "a,b"})

    def run(until_chunk: str) -> list[str]:
        """The client in a process of its own, as it leaves its files open."""
        words = [f"{api.url}{PLACE}", str(source), str(tmp_path / "urls"), fields, until_chunk]
        done = subprocess.run([sys.executable, "-c", CLIENT, *words], capture_output=True, text=True, check=True)
        return done.stdout.split()

    first = run("one")
    assert first[1:] == ["0", "3000000"]
    assert run("all") == [first[0], "3000000", str(len(CONTENT))]
    path = first[0].removeprefix(api.url)
    assert stored(api, path) == CONTENT
    row = api.row(record_of(api, path)["dataset_uuid"])
    assert (row["status"], row["tags"], row["files"][0]["source_path"]) == ("conversion queued", ["a", "b"], "scän.tif")
    job = api.http.get(f"/api/upload/status/{path.rpartition('/')[2]}").json()
    assert (job["status"], job["bytes_uploaded"]) == ("processing", len(CONTENT))


def test_what_the_service_can_do(api: Api) -> None:
    reply = api.http.options(PLACE)
    assert reply.status_code == 204
    assert reply.headers["tus-version"] == "1.0.0"
    assert set(reply.headers["tus-extension"].split(",")) == {
        "creation", "creation-defer-length", "creation-with-upload", "checksum", "termination", "expiration",
        "concatenation",
    }  # fmt: skip
    assert reply.headers["tus-checksum-algorithm"] == "sha1,sha256"
    assert int(reply.headers["tus-max-size"]) > 1 << 40


def test_bytes_in_several_requests_become_the_file(api: Api) -> None:
    url = begun(api)
    assert api.row(record_of(api, url)["dataset_uuid"])["status"] == "uploading"
    assert offset(api, url) == 0
    half = patch(api, url, 0, CONTENT[:500_000])
    assert (half.status_code, half.headers["upload-offset"], half.headers["tus-resumable"]) == (204, "500000", "1.0.0")
    assert parsedate_to_datetime(half.headers["upload-expires"]).tzinfo is not None
    head = api.http.head(url, headers=TUS)
    assert (head.headers["upload-length"], head.headers["cache-control"]) == (str(len(CONTENT)), "no-store")
    assert head.headers["upload-metadata"] == metadata()
    assert patch(api, url, 500_000, CONTENT[500_000:]).headers["upload-offset"] == str(len(CONTENT))
    assert (stored(api, url), offset(api, url)) == (CONTENT, len(CONTENT))
    assert not part_of(api, url).exists()
    assert patch(api, url, len(CONTENT), b"").status_code == 204


def test_creation_with_all_or_some_bytes(api: Api) -> None:
    whole = create(api, content=CONTENT)
    assert (whole.status_code, whole.headers["upload-offset"]) == (201, str(len(CONTENT)))
    assert stored(api, whole.headers["location"]) == CONTENT
    some = create(api, content=CONTENT[:10])
    assert (some.status_code, some.headers["upload-offset"]) == (201, "10")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "x"}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "0"}, 422),
        ({"Upload-Length": str((10 << 40) + 1)}, 413),
        ({"Upload-Length": str(9 << 40)}, 507),
        ({"Upload-Metadata": "filename"}, 422),
        ({"Upload-Metadata": "filename ä"}, 400),
        ({"Upload-Metadata": metadata(user_email="x")}, 422),
        ({"Upload-Metadata": metadata(filename=" ")}, 422),
        ({"Upload-Metadata": metadata(relative_path="../x")}, 422),
        ({"Upload-Concat": "final;"}, 400),
        ({"Upload-Concat": "final;/a /a"}, 400),
        ({"Upload-Concat": f"final;{PLACE}/nobody"}, 404),
        ({"Tus-Resumable": "0.2.2"}, 412),
    ],
)
def test_uploads_that_cannot_be_are_refused(api: Api, headers: dict[str, str], status: int) -> None:
    before = (len(api.rows()), api.database.uploads.count_documents({}))
    good = {**TUS, "Upload-Length": "9", "Upload-Metadata": metadata()}
    head = [(name.encode(), value.encode("latin-1")) for name, value in {**good, **headers}.items()]
    reply = api.http.post(PLACE, headers=head)
    assert reply.status_code == status, reply.text
    assert reply.headers["tus-resumable"] == "1.0.0"
    assert (len(api.rows()), api.database.uploads.count_documents({})) == before


def test_wrong_requests_change_nothing(api: Api) -> None:
    url = begun(api, 1000)
    patch(api, url, 0, b"1" * 100)
    for reply, status in (
        (patch(api, url, 0, b"2" * 100), 409),
        (patch(api, url, 101, b"2"), 409),
        (patch(api, url, 100, b"2" * 901), 413),
        (patch(api, url, 100, b"2", **{"Content-Type": "text/plain"}), 415),
        (patch(api, url, 100, b"2", **{"Tus-Resumable": "2.0.0"}), 412),
        (patch(api, url, 100, b"2", **{"Upload-Offset": "x"}), 400),
        (patch(api, url, 100, b"2", **{"Upload-Checksum": "md5 xx"}), 400),
        (patch(api, url, 100, b"2", **{"Upload-Checksum": "sha1 =x"}), 400),
        (patch(api, f"{PLACE}/nobody", 0, b"2"), 404),
    ):
        assert (reply.status_code, reply.headers["tus-resumable"]) == (status, "1.0.0"), reply.text
    assert offset(api, url) == 100
    assert part_of(api, url).read_bytes()[:100] == b"1" * 100


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_checksums(api: Api, algorithm: str) -> None:
    url = begun(api)
    good = base64.b64encode(hashlib.new(algorithm, CONTENT).digest()).decode()
    wrong = patch(api, url, 0, CONTENT[:-1] + b"x", **{"Upload-Checksum": f"{algorithm} {good}"})
    assert (wrong.status_code, offset(api, url)) == (460, 0)
    assert patch(api, url, 0, CONTENT, **{"Upload-Checksum": f"{algorithm} {good}"}).status_code == 204
    assert stored(api, url) == CONTENT


def test_termination(api: Api) -> None:
    url = begun(api)
    patch(api, url, 0, CONTENT[:10])
    assert api.http.delete(url, headers=TUS).status_code == 204
    assert not part_of(api, url).exists()
    assert api.row(record_of(api, url)["dataset_uuid"])["status"] == "cancelled"
    assert api.http.head(url, headers=TUS).status_code == 404
    assert patch(api, url, 10, b"1").status_code == 404


def test_expiration(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1", SCRAY_SESSION_SECONDS="2") as api:
        url = begun(api)
        until(lambda: not part_of(api, url).exists(), what="the end of the session")
        until(lambda: api.http.head(url, headers=TUS).status_code == 410, what="its record")
        assert patch(api, url, 0, b"1").status_code == 410


def test_concatenation(api: Api) -> None:
    parts = [CONTENT[:400_000], CONTENT[400_000:900_000], CONTENT[900_000:]]
    urls = [begun(api, len(part), **{"Upload-Concat": "partial"}) for part in parts]
    concat = {"Upload-Concat": f"final;{urls[0]} {api.url}{urls[1]} {urls[2]}"}
    for url, part in list(zip(urls, parts, strict=True))[::-1]:
        head = {**TUS, "Upload-Metadata": metadata(), **concat}
        assert api.http.post(PLACE, headers=head).status_code == 400, "not all are finished"
        assert patch(api, url, 0, part).status_code == 204
    assert api.http.head(urls[0], headers=TUS).headers["upload-concat"] == "partial"
    reply = api.http.post(PLACE, headers={**TUS, "Upload-Metadata": metadata(), **concat})
    assert reply.status_code == 201, reply.text
    final = joined(api, reply.headers["location"])
    assert stored(api, reply.headers["location"]) == CONTENT
    assert patch(api, reply.headers["location"], len(CONTENT), b"").status_code == 403
    assert (final.headers["upload-concat"], final.headers["upload-length"]) == (
        concat["Upload-Concat"],
        str(len(CONTENT)),
    )
    assert not any(part_of(api, url).exists() for url in urls)


def joined(api: Api, url: str) -> httpx.Response:
    """The answer about an upload of parts once it is put together, which its offset says."""

    def look() -> httpx.Response | None:
        reply = api.http.head(url, headers=TUS)
        assert reply.status_code == 200
        return reply if "upload-offset" in reply.headers else None

    found = until(look, what="the whole")
    until(lambda: record_of(api, url)["state"] == "stored", what="its place")
    assert found is not None
    return found


def finished_parts(api: Api, *parts: bytes) -> list[str]:
    urls = [begun(api, len(part), **{"Upload-Concat": "partial"}) for part in parts]
    for url, part in zip(urls, parts, strict=True):
        assert patch(api, url, 0, part).status_code == 204
    return urls


def test_a_join_whose_server_died_is_taken_up_where_it_was(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    parts = [CONTENT[:3_000_000], CONTENT[3_000_000:5_000_000], CONTENT[5_000_000:]]
    with serving(mongo_url, database, tmp_path) as api:
        urls = finished_parts(api, *parts)
        final = begun(api)
        part_of(api, final).write_bytes(parts[0] + b"not flushed")
        names = [url.rpartition("/")[2] for url in urls]
        pairs = [[name, len(part)] for name, part in zip(names, parts, strict=True)]
        values = {"parts": pairs, "received_bytes": len(parts[0])}
        database.uploads.update_one({"_id": final.rpartition("/")[2]}, {"$set": values})
        part_of(api, urls[0]).unlink()
        assert "upload-offset" not in api.http.head(final, headers=TUS).headers
        assert patch(api, final, len(parts[0]), b"1").status_code == 403
    with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1") as api:
        joined(api, final)
        assert stored(api, final) == CONTENT
        assert api.row(record_of(api, final)["dataset_uuid"])["status"] == "conversion queued"
        assert not any(part_of(api, url).exists() for url in urls)


def test_a_part_belongs_to_one_upload(api: Api) -> None:
    one, other = finished_parts(api, b"1" * 10, b"2" * 20)
    database = api.database.uploads
    database.update_one({"_id": other.rpartition("/")[2]}, {"$set": {"joins": "another"}})
    rows = {row["uuid"] for row in api.rows()}
    reply = api.http.post(
        PLACE, headers={**TUS, "Upload-Metadata": metadata(), "Upload-Concat": f"final;{one} {other}"}
    )
    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")
    [new] = [row for row in api.rows() if row["uuid"] not in rows]
    assert new["status"] == "upload error"


def test_a_part_that_is_gone_ends_the_upload(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1") as api:
        [url] = finished_parts(api, b"1" * 10)
        part_of(api, url).unlink()
        final = {**TUS, "Upload-Metadata": metadata(), "Upload-Concat": f"final;{url}"}
        place = api.http.post(PLACE, headers=final).headers["location"]
        job = until(lambda: failed_job(api, place), what="the end of the upload")
        assert job["error_code"] == "upload-broken"


def failed_job(api: Api, url: str) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(f"/api/upload/status/{url.rpartition('/')[2]}").json()
    return found if found["status"] == "failed" else {}


def test_a_length_that_is_told_later(api: Api) -> None:
    defer = {**TUS, "Upload-Defer-Length": "1", "Upload-Metadata": metadata()}
    for wrong in ({"Upload-Defer-Length": "2"}, {"Upload-Length": "9"}):
        assert api.http.post(PLACE, headers={**defer, **wrong}).status_code == 400
    url = api.http.post(PLACE, headers={**defer, **BYTES}, content=CONTENT[:1000]).headers["location"]
    head = api.http.head(url, headers=TUS).headers
    assert (head["upload-defer-length"], head["upload-offset"], "upload-length" in head) == ("1", "1000", False)
    assert patch(api, url, 1000, CONTENT[1000:2000]).status_code == 204
    for length, status in (("999", 400), ("0", 400), (str(1 << 50), 413), (str(9 << 40), 507)):
        assert patch(api, url, 2000, b"", **{"Upload-Length": length}).status_code == status
    told = {"Upload-Length": str(len(CONTENT))}
    assert patch(api, url, 2000, CONTENT[2000:3000], **told).status_code == 204
    head = api.http.head(url, headers=TUS).headers
    assert (head["upload-length"], "upload-defer-length" in head) == (str(len(CONTENT)), False)
    assert patch(api, url, 3000, b"", **{"Upload-Length": "9000000"}).status_code == 400
    assert patch(api, url, 3000, CONTENT[3000:], **told).status_code == 204
    assert stored(api, url) == CONTENT


def test_an_empty_file_of_a_dataset_is_there_at_once(api: Api) -> None:
    told = metadata(dataset_identifier=str(uuid4()))
    url = begun(api, 0, **{"Upload-Metadata": told})
    assert (offset(api, url), stored(api, url), record_of(api, url)["state"]) == (0, b"", "stored")
    defer = {**TUS, "Upload-Defer-Length": "1", "Upload-Metadata": metadata(dataset_identifier=str(uuid4()))}
    url = api.http.post(PLACE, headers=defer).headers["location"]
    assert patch(api, url, 0, b"", **{"Upload-Length": "0"}).status_code == 204
    assert (stored(api, url), record_of(api, url)["state"]) == (b"", "stored")
    part = {**TUS, "Upload-Length": "0", "Upload-Concat": "partial"}
    assert api.http.post(PLACE, headers=part).status_code == 422


def test_an_upload_that_ends_with_its_length(api: Api) -> None:
    defer = {**TUS, "Upload-Defer-Length": "1", "Upload-Metadata": metadata()}
    url = api.http.post(PLACE, headers=defer).headers["location"]
    assert patch(api, url, 0, CONTENT).headers["upload-offset"] == str(len(CONTENT))
    assert record_of(api, url)["state"] == "receiving"
    assert patch(api, url, len(CONTENT), b"", **{"Upload-Length": str(len(CONTENT))}).status_code == 204
    assert stored(api, url) == CONTENT


def test_bytes_of_no_known_end_count_in_quotas(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    with serving(mongo_url, database, tmp_path, SCRAY_QUOTA_BYTES="10kB") as api:
        defer = {**TUS, "Upload-Defer-Length": "1", "Upload-Metadata": metadata()}
        url = api.http.post(PLACE, headers=defer).headers["location"]
        assert patch(api, url, 0, b"1" * 9000).status_code == 204
        assert patch(api, url, 9000, b"1" * 1001).status_code == 507
        assert create(api, 1001).status_code == 507
        assert patch(api, url, 9000, b"", **{"Upload-Length": "10001"}).status_code == 507
        assert patch(api, url, 9000, b"1" * 1000, **{"Upload-Length": "10000"}).status_code == 204
        assert len(stored(api, url)) == 10_000


def test_partial_uploads_count_in_quotas(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    with serving(mongo_url, database, tmp_path, SCRAY_QUOTA_BYTES="10kB") as api:
        partial = {"Upload-Concat": "partial"}
        assert create(api, 6000, b"", **partial, **{"Upload-Metadata": ""}).status_code == 422, "whose is it?"
        first = begun(api, 6000, **partial)
        assert create(api, 6000, b"", **partial).status_code == 507
        second = begun(api, 4000, **partial)
        assert patch(api, first, 0, b"1" * 6000).status_code == 204
        assert patch(api, second, 0, b"2" * 4000).status_code == 204
        final = {**TUS, "Upload-Metadata": metadata(), "Upload-Concat": f"final;{first} {second}"}
        reply = api.http.post(PLACE, headers=final)
        assert reply.status_code == 201, reply.text
        joined(api, reply.headers["location"])
        assert stored(api, reply.headers["location"]) == b"1" * 6000 + b"2" * 4000
        assert create(api, 1).status_code == 507


def test_a_name_that_is_taken_is_told_before_the_bytes(api: Api) -> None:
    uuid = str(uuid4())
    api.accepted(b"1", "x.tif", dataset_identifier=uuid)
    reply = create(api, 10, b"", **{"Upload-Metadata": metadata(dataset_identifier=uuid)})
    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")


def half_patch(api: Api, url: str, start: int, content: bytes) -> socket.socket:
    head = (
        f"PATCH {url} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {start}\r\n"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(CONTENT) - start}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", api.port))
    connection.sendall(head.encode() + content)
    return connection


def test_what_came_before_a_connection_broke_is_kept(api: Api) -> None:
    url = begun(api)
    half_patch(api, url, 0, CONTENT[:300_000]).close()
    at = until(lambda: offset(api, url), what="the end of the broken request")
    assert 0 < at <= 300_000
    assert until(lambda: patch(api, url, at, CONTENT[at:]).status_code == 204, what="the rest")
    assert stored(api, url) == CONTENT


def test_one_request_at_a_time_adds_to_a_file(api: Api) -> None:
    url = begun(api)
    with half_patch(api, url, 0, b""):
        until(lambda: is_locked(part_of(api, url), 0), what="the lock")
        busy = patch(api, url, 0, b"")
        assert busy.status_code == 423
        assert int(busy.headers["retry-after"]) > 0
    until(lambda: patch(api, url, 0, CONTENT).status_code == 204, what="the end of the first")
    assert stored(api, url) == CONTENT


def test_the_offset_never_lies_after_a_kill(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    url, at = "", 0
    for step in (2_500_000, 5_000_000, 7_500_000):
        with serving(mongo_url, database, tmp_path) as api:
            url = url or begun(api)
            assert offset(api, url) == at
            assert patch(api, url, at, CONTENT[at : at + 1000]).status_code == 204
            at += 1000
            with half_patch(api, url, at, b"\0" * (step - at)):
                until(lambda: part_of(api, url).stat().st_size > at, what="bytes that are not acknowledged")  # noqa: B023
                api.process.kill()
                api.process.wait()
    with serving(mongo_url, database, tmp_path) as api:
        assert offset(api, url) == at
        assert patch(api, url, at, CONTENT[at:]).status_code == 204
        assert stored(api, url) == CONTENT


def test_a_whole_file_whose_server_died_is_placed_by_another(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1") as api:
        url = begun(api, 1000)
        patch(api, url, 0, b"1" * 999)
        with part_of(api, url).open("ab") as file:
            file.write(b"1")
        full = {"$set": {"received_bytes": 1000, "full": True}}
        database.uploads.update_one({"_id": url.rpartition("/")[2]}, full)
        until(lambda: api.row(record_of(api, url)["dataset_uuid"])["status"] == "conversion queued", what="its place")
        assert stored(api, url) == b"1" * 1000


def test_nothing_is_read_from_those_who_may_not(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    with serving(mongo_url, database, tmp_path, SCRAY_API_TOKEN="secret") as api:
        token = {"Authorization": "Bearer secret"}
        url = begun(api, len(CONTENT), **token)
        assert patch(api, url, 0, CONTENT).status_code == 401
        assert create(api, content=CONTENT).status_code == 401
        assert (part_of(api, url).stat().st_size, len(api.rows())) == (0, 1)
        assert patch(api, url, 0, CONTENT, **token).status_code == 204
