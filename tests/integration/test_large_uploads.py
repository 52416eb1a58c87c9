"""Files sent in chunks to real servers: what is on disk whatever is sent, and whoever is killed."""

from __future__ import annotations

import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pymongo.database import Database

from tests.api_server import FORM, Api, is_locked, serving, until

Mongo = Database[dict[str, Any]]
API_SETTINGS = {"SCRAY_MAX_BYTES": "1TiB", "SCRAY_WHOLE_HASH_MAX": "1GiB"}
CHUNK = 200_000
CONTENT = bytes(range(256)) * 3_000  # 768,000 bytes: 3 whole chunks and one shorter


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def piece(index: int, content: bytes = CONTENT) -> bytes:
    return content[index * CHUNK : (index + 1) * CHUNK]


def wanted(content: bytes = CONTENT, **more: Any) -> dict[str, Any]:
    size = {"filename": "x.tif", "file_size": len(content), "file_hash": sha(content), "chunk_size": CHUNK}
    return {**FORM, **size, **more}


def begin(api: Api, content: bytes = CONTENT, **more: Any) -> dict[str, Any]:
    reply = api.http.post("/api/upload/large/initiate", json=wanted(content, **more))
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def send(api: Api, upload_id: str, index: int, data: bytes, digest: str | None = None) -> httpx.Response:
    path = f"/api/upload/large/chunk/{upload_id}/{index}"
    return api.http.post(path, files={"chunk": ("c", data)}, data={"chunk_hash": digest or sha(data)})


def missing(api: Api, upload_id: str) -> list[int]:
    found: list[int] = api.http.get(f"/api/upload/large/resume/{upload_id}").json()["missing_chunks"]
    return found


def finish(api: Api, upload_id: str) -> httpx.Response:
    return api.http.post(f"/api/upload/large/complete/{upload_id}")


def half_send(api: Api, upload_id: str, index: int, data: bytes) -> socket.socket:
    """A sender in the middle of a chunk."""
    head = (
        f"PUT /api/upload/large/chunk/{upload_id}/{index} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {CHUNK}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", api.port))
    connection.sendall(head.encode() + data)
    until(lambda: is_locked(part_of(api, upload_id), index * CHUNK), what="the lock")
    return connection


def part_of(api: Api, upload_id: str) -> Path:
    return api.data / "upload" / ".incoming" / f"{upload_id}.part"


def names(api: Api) -> list[str]:
    return sorted(str(path) for path in (api.data / "upload").rglob("*"))


def test_chunks_in_any_order_become_the_file(api: Api) -> None:
    session = begin(api, folder="lab")
    upload_id, uuid = session["upload_id"], session["dataset_uuid"]
    assert (session["chunk_size"], session["total_chunks"], session["verification"]) == (CHUNK, 4, "sha256")
    assert (session["job_id"], api.row(uuid)["status"]) == (upload_id, "uploading")
    for count, index in enumerate((3, 0, 2), 1):
        reply = send(api, upload_id, index, piece(index)).json()
        assert reply == {
            "message": f"Chunk {index} uploaded successfully", "uploaded_chunks": count, "total_chunks": 4,
        }  # fmt: skip
    assert missing(api, upload_id) == [1]
    status = api.http.get(f"/api/upload/large/status/{upload_id}").json()
    assert (status["uploaded_chunks"], status["is_complete"], status["progress_percentage"]) == ([0, 2, 3], False, 75)
    early = finish(api, upload_id)
    assert (early.status_code, early.json()["detail"]) == (400, "Missing chunks: [1]")
    job = api.http.get(f"/api/upload/status/{upload_id}").json()
    assert (job["status"], job["bytes_uploaded"], job["bytes_total"]) == ("uploading", 568_000, len(CONTENT))
    assert send(api, upload_id, 1, piece(1)).status_code == 200
    assert api.http.get(f"/api/upload/large/resume/{upload_id}").json()["can_resume"] is False
    first, again = finish(api, upload_id), finish(api, upload_id)
    assert first.status_code == 200
    assert first.json() == again.json()
    assert first.json() | {"message": ""} == {
        "message": "", "file_path": "x.tif", "file_size": len(CONTENT), "job_submitted": True,
        "job_id": upload_id, "dataset_uuid": uuid, "verification": "sha256",
    }  # fmt: skip
    assert (api.data / "upload" / uuid / "x.tif").read_bytes() == CONTENT
    assert not part_of(api, upload_id).exists()
    assert (api.row(uuid)["status"], api.row(uuid)["open_uploads"]) == ("upload queued", [])
    assert api.http.get(f"/api/upload/large/status/{upload_id}").json()["is_complete"] is True


def test_a_chunk_as_a_whole_body(api: Api) -> None:
    upload_id = begin(api)["upload_id"]
    path = f"/api/upload/large/chunk/{upload_id}/0"
    assert api.http.put(path, content=piece(0), params={"chunk_hash": sha(piece(1))}).status_code == 400
    assert api.http.put(path, content=piece(0), params={"chunk_hash": sha(piece(0))}).status_code == 200
    assert missing(api, upload_id) == [1, 2, 3]


def test_the_other_spelling_of_the_routes(api: Api) -> None:
    content = CONTENT[:300_000]
    asked = {name: value for name, value in wanted(content).items() if name != "file_hash"}
    session = api.http.post("/api/upload/initiate-chunked", json=asked).json()
    assert session["verification"] == "chunk-root"
    for number in (2, 1):
        fields = {"upload_id": session["upload_id"], "chunk_number": str(number)}
        data = piece(number - 1, content)
        assert api.http.post("/api/upload/chunk", data=fields, files={"chunk": ("c", data)}).status_code == 200
    for wrong in ({"upload_id": session["upload_id"]}, {"upload_id": session["upload_id"], "chunk_number": "x"}):
        assert api.http.post("/api/upload/chunk", data=wrong, files={"chunk": ("c", b"1")}).status_code == 422
    reply = api.http.post("/api/upload/complete-chunked", json={"upload_id": session["upload_id"]})
    assert reply.status_code == 200
    assert (api.data / "upload" / session["dataset_uuid"] / "x.tif").read_bytes() == content


@pytest.mark.parametrize(
    ("index", "data", "digest", "status", "words"),
    [
        (0, piece(0), sha(b""), 400, "Chunk hash mismatch"),
        (0, piece(0) + b"1", None, 400, "Chunk size exceeds expected size"),
        (0, piece(0)[:-1], None, 400, "too short"),
        (0, b"", None, 400, "too short"),
        (3, piece(2), None, 400, "exceeds"),
        (4, b"1", None, 400, "Invalid chunk index"),
        (-1, b"1", None, 400, "Invalid chunk index"),
        (0, piece(0), "xyz", 422, "64 hex digits"),
    ],
)
def test_wrong_chunks_are_refused(
    api: Api, index: int, data: bytes, digest: str | None, status: int, words: str
) -> None:
    upload_id = begin(api)["upload_id"]
    reply = send(api, upload_id, index, data, digest)
    assert (reply.status_code, words in reply.json()["detail"]) == (status, True), reply.text
    assert missing(api, upload_id) == [0, 1, 2, 3]
    assert send(api, upload_id, 0, piece(0)).status_code == 200


def test_unknown_sessions_are_not_found(api: Api) -> None:
    for reply in (
        send(api, "nobody", 0, b"1"),
        finish(api, "nobody"),
        api.http.get("/api/upload/large/status/nobody"),
        api.http.get("/api/upload/large/resume/nobody"),
        api.http.delete("/api/upload/large/cancel/nobody"),
    ):
        assert (reply.status_code, reply.json()["detail"]) == (404, "Upload session not found")


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        ({"file_size": 0}, 422, "empty"),
        ({"file_size": -1}, 422, "file_size"),
        ({"file_size": (10 << 40) + 1}, 413, "exceeds maximum allowed size"),
        ({"file_size": 1 << 39}, 507, "disk cannot hold"),
        ({"file_size": 1 << 33, "chunk_size": 1024}, 422, "larger ones"),
        ({"file_hash": "x"}, 422, "file_hash"),
        ({"file_hash": None}, 422, "file_hash"),
        ({"filename": ""}, 422, "filename"),
        ({"filename": {"$ne": ""}}, 422, "filename"),
        ({"filename": ".."}, 422, "file name"),
        ({"user_email": "x"}, 422, "user_email"),
        ({"relative_path": "../x"}, 422, "relative path"),
    ],
)
def test_sessions_that_cannot_be_are_refused(api: Api, wrong: dict[str, Any], status: int, words: str) -> None:
    before = (len(api.rows()), api.database.uploads.count_documents({}), names(api))
    reply = api.http.post("/api/upload/large/initiate", json=wanted(**wrong))
    assert (reply.status_code, words in reply.json()["detail"]) == (status, True), reply.text
    after = (len(api.rows()), api.database.uploads.count_documents({}), names(api))
    assert before == after


def test_an_empty_file_of_a_dataset_has_no_chunks(api: Api) -> None:
    uuid = str(uuid4())
    api.accepted(b"1", "a.tif", dataset_identifier=uuid)
    begun = begin(api, b"", dataset_identifier=uuid, add_to_existing=True, filename="empty.txt")
    status = api.http.get(f"/api/upload/large/status/{begun['upload_id']}").json()
    assert (begun["total_chunks"], missing(api, begun["upload_id"]), status["is_complete"]) == (0, [], True)
    done = finish(api, begun["upload_id"]).json()
    assert (done["file_size"], done["verification"]) == (0, "sha256")
    assert (api.data / "upload" / uuid / "empty.txt").read_bytes() == b""
    assert api.row(uuid)["status"] == "upload queued"


def test_above_the_limit_the_chunks_prove_the_file_and_the_reply_says_so(api: Api) -> None:
    asked = wanted(file_size=2 << 30, chunk_size=104_857_600)
    session = api.http.post("/api/upload/large/initiate", json=asked).json()
    assert (session["total_chunks"], session["verification"]) == (21, "chunk-root")
    assert "digests of its chunks" in session["message"]
    assert api.http.delete(f"/api/upload/large/cancel/{session['upload_id']}").status_code == 200


def test_room_is_kept_for_what_has_begun(api: Api) -> None:
    free = os.statvfs(api.data)
    most = free.f_bavail * free.f_frsize * 6 // 10
    ids = []
    for expected in (200, 507):
        asked = wanted(file_size=most, file_hash=None, chunk_size=1 << 30)
        reply = api.http.post("/api/upload/large/initiate", json=asked)
        assert reply.status_code == expected, reply.text
        ids += [reply.json().get("upload_id")]
    assert api.http.delete(f"/api/upload/large/cancel/{ids[0]}").status_code == 200
    assert api.http.delete(f"/api/upload/large/cancel/{ids[0]}").status_code == 200


# --- what was acknowledged never changes -------------------------------------------------------------


def damaged(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def abort(api: Api, upload_id: str, index: int, data: bytes) -> None:
    """Send a part of a chunk and go."""
    head = (
        f"PUT /api/upload/large/chunk/{upload_id}/{index} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {len(data) + 1}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(head.encode() + data)


def test_an_acknowledged_chunk_is_never_written_again(api: Api) -> None:
    session = begin(api)
    upload_id = session["upload_id"]
    part = part_of(api, upload_id)
    assert send(api, upload_id, 0, piece(0)).status_code == 200
    before = part.stat().st_mtime_ns
    assert send(api, upload_id, 0, piece(0)).status_code == 200
    wrong = damaged(piece(0))
    differs = send(api, upload_id, 0, wrong)
    assert (differs.status_code, differs.json()["code"]) == (409, "chunk-differs")
    assert send(api, upload_id, 0, wrong, sha(piece(0))).status_code == 400
    assert send(api, upload_id, 0, wrong[:100]).status_code == 400
    abort(api, upload_id, 0, wrong[:150_000])
    assert (part.stat().st_mtime_ns, part.read_bytes()[:CHUNK]) == (before, piece(0))
    for index in (1, 2, 3):
        assert send(api, upload_id, index, piece(index)).status_code == 200
    assert finish(api, upload_id).status_code == 200
    stored = api.data / "upload" / session["dataset_uuid"] / "x.tif"
    for index in range(4):
        assert send(api, upload_id, index, piece(index)).status_code == 200
        assert send(api, upload_id, index, damaged(piece(index))).status_code == 409
    assert stored.read_bytes() == CONTENT


def test_an_aborted_chunk_can_be_sent_again(api: Api) -> None:
    upload_id = begin(api)["upload_id"]
    abort(api, upload_id, 1, piece(1)[:150_000])
    until(lambda: send(api, upload_id, 1, piece(1)).status_code == 200, what="the end of the broken sender")
    assert missing(api, upload_id) == [0, 2, 3]


def test_a_place_that_is_being_filled_is_busy(api: Api) -> None:
    upload_id = begin(api)["upload_id"]
    with half_send(api, upload_id, 2, piece(2)[:1000]) as first:
        busy = send(api, upload_id, 2, piece(2))
        assert busy.status_code == 409
        assert (busy.json()["code"], int(busy.headers["retry-after"]) > 0) == ("chunk-busy", True)
        assert send(api, upload_id, 1, piece(1)).status_code == 200, "its neighbour is free"
        first.sendall(piece(2)[1000:])
        assert b" 200 " in first.recv(4096)
    assert missing(api, upload_id) == [0, 3]


def test_parallel_duplicates_half_of_them_corrupt_never_change_the_file(
    mongo_url: str, database: Mongo, tmp_path: Path
) -> None:
    with serving(mongo_url, database, tmp_path) as one, serving(mongo_url, database, tmp_path) as two:
        content = os.urandom(2_000_000)
        session = begin(one, content, chunk_size=1_000_000)
        upload_id = session["upload_id"]
        good, bad = content[:1_000_000], damaged(content[:1_000_000])

        def attempt(number: int) -> tuple[bool, int]:
            corrupt = number % 2 == 1
            return corrupt, send(
                (one, two)[number % 3 % 2], upload_id, 0, bad if corrupt else good, sha(good)
            ).status_code

        with ThreadPoolExecutor(16) as pool:
            racing = [pool.submit(attempt, number) for number in range(16)]
            until(lambda: send(one, upload_id, 0, good).status_code == 200, what="the acknowledgement")
            part = part_of(one, upload_id)
            acknowledged = part.read_bytes()[:1_000_000]
            replies = [found.result() for found in racing] + list(pool.map(attempt, range(16)))
        assert acknowledged == good
        assert {status for corrupt, status in replies if corrupt} <= {400, 409}
        assert {status for corrupt, status in replies[16:] if not corrupt} == {200}
        assert part.read_bytes()[:1_000_000] == good
        assert send(two, upload_id, 1, content[1_000_000:]).status_code == 200
        assert finish(two, upload_id).status_code == 200
        assert (tmp_path / "upload" / session["dataset_uuid"] / "x.tif").read_bytes() == content
        assert finish(one, upload_id).status_code == 200


# --- death -----------------------------------------------------------------------------------------------


def test_servers_killed_in_the_middle_of_chunks_forget_nothing(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    acknowledged: list[int] = []
    upload_id = ""
    for index in range(4):
        with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1") as api:
            upload_id = upload_id or begin(api)["upload_id"]
            assert sorted({0, 1, 2, 3} - set(missing(api, upload_id))) == sorted(acknowledged)
            assert send(api, upload_id, index, piece(index)).status_code == 200
            acknowledged.append(index)
            following = (index + 1) % 4
            if following in acknowledged:
                continue
            with half_send(api, upload_id, following, damaged(piece(following))[:-10]):
                api.process.kill()
                api.process.wait()
    with serving(mongo_url, database, tmp_path) as api:
        assert missing(api, upload_id) == []
        reply = finish(api, upload_id).json()
        assert (tmp_path / "upload" / reply["dataset_uuid"] / "x.tif").read_bytes() == CONTENT


def test_a_server_killed_while_it_completes_is_finished_by_another(
    mongo_url: str, database: Mongo, tmp_path: Path
) -> None:
    with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1") as api:
        session = begin(api)
        upload_id, uuid = session["upload_id"], session["dataset_uuid"]
        for index in range(4):
            send(api, upload_id, index, piece(index))
        changed = {"$set": {"state": "placing", "owner": "api-that-died", "root": "", "size_bytes": len(CONTENT)}}
        database.uploads.update_one({"_id": upload_id}, changed)
        database.uploads.update_one({"_id": upload_id}, {"$currentDate": {"beat_at": True}})
        assert finish(api, upload_id).status_code == 200, "somebody else is at it"
        until(lambda: api.row(uuid)["status"] == "upload queued", what="the end of the lease")
        assert (tmp_path / "upload" / uuid / "x.tif").read_bytes() == CONTENT
        assert finish(api, upload_id).status_code == 200


@pytest.mark.parametrize("late", [False, True], ids=["at once", "while it is placed"])
def test_a_completion_cut_short_by_a_kill_ends_well(
    mongo_url: str, database: Mongo, tmp_path: Path, late: bool
) -> None:
    with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1") as api:
        session = begin(api)
        upload_id, uuid = session["upload_id"], session["dataset_uuid"]
        for index in range(4):
            send(api, upload_id, index, piece(index))
        head = f"POST /api/upload/large/complete/{upload_id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        with socket.create_connection(("127.0.0.1", api.port)) as connection:
            connection.sendall(head.encode())
            left = {"_id": upload_id, "state": {"$ne": "receiving"}}
            if late:
                until(lambda: database.uploads.count_documents(left), what="the beginning of the end")
            api.process.kill()
            api.process.wait()
    with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1") as api:
        assert missing(api, upload_id) == []
        assert finish(api, upload_id).status_code == 200
        until(lambda: api.row(uuid)["status"] == "upload queued", what="the end")
        until(lambda: not part_of(api, upload_id).exists(), what="the end of the part")
        assert (tmp_path / "upload" / uuid / "x.tif").read_bytes() == CONTENT
        assert (api.row(uuid)["file_count"], api.row(uuid)["open_uploads"]) == (1, [])


@pytest.mark.parametrize("as_form", [False, True])
def test_memory_stays_flat_while_a_chunk_passes(api: Api, tmp_path: Path, as_form: bool) -> None:
    source, size = tmp_path / "chunk", 200_000_000
    with source.open("wb") as file:
        file.truncate(size)
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    small = begin(api)["upload_id"]
    send(api, small, 0, piece(0))
    upload_id = begin(api, file_size=size, chunk_size=size)["upload_id"]
    path, before = f"/api/upload/large/chunk/{upload_id}/0", api.memory_bytes
    with source.open("rb") as file, ThreadPoolExecutor(1) as pool:
        if as_form:
            sent = pool.submit(api.http.post, path, files={"chunk": file}, data={"chunk_hash": digest})
        else:
            sent = pool.submit(api.http.put, path, content=file, params={"chunk_hash": digest})
        peak = before
        while not sent.done():
            peak = max(peak, api.memory_bytes)
        assert sent.result().status_code == 200
    assert peak - before < 64 << 20
    api.http.delete(f"/api/upload/large/cancel/{upload_id}")


def test_many_servers_complete_one_session_at_once(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    with ExitStack() as stack:
        apis = [stack.enter_context(serving(mongo_url, database, tmp_path)) for _ in range(2)]
        session = begin(apis[0])
        for index in range(4):
            send(apis[index % 2], session["upload_id"], index, piece(index))
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda number: finish(apis[number % 2], session["upload_id"]), range(8)))
        assert {reply.status_code for reply in replies} == {200}
        row = apis[0].row(session["dataset_uuid"])
        assert (row["status"], row["file_count"], row["total_size_bytes"]) == ("upload queued", 1, len(CONTENT))


# --- the end of sessions ---------------------------------------------------------------------------------


def test_a_cancelled_session_frees_its_space(api: Api) -> None:
    session = begin(api)
    upload_id = session["upload_id"]
    send(api, upload_id, 0, piece(0))
    reply = api.http.delete(f"/api/upload/large/cancel/{upload_id}")
    assert (reply.status_code, "cancelled and cleaned up" in reply.json()["message"]) == (200, True)
    assert (part_of(api, upload_id).exists(), api.row(session["dataset_uuid"])["status"]) == (False, "cancelled")
    assert api.database.upload_chunks.count_documents({"_id": f"{upload_id}:0"}) == 0
    assert send(api, upload_id, 1, piece(1)).status_code == 404
    assert finish(api, upload_id).json()["code"] == "cancelled"


def test_a_cancelled_job_ends_its_session(mongo_url: str, database: Mongo, tmp_path: Path) -> None:
    with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1") as api:
        upload_id = begin(api)["upload_id"]
        assert api.http.post(f"/api/upload/cancel/{upload_id}").status_code == 200
        until(lambda: not part_of(api, upload_id).exists(), what="the end of the session")
        assert api.http.get(f"/api/upload/status/{upload_id}").json()["status"] == "cancelled"


def test_a_silent_session_expires_and_others_of_its_dataset_go_on(
    mongo_url: str, database: Mongo, tmp_path: Path
) -> None:
    with serving(mongo_url, database, tmp_path, SCRAY_LEASE_SECONDS="1", SCRAY_SESSION_SECONDS="2") as api:
        uuid = str(uuid4())
        api.accepted(b"1", "small.tif", dataset_identifier=uuid)
        joined, alone = begin(api, dataset_identifier=uuid, add_to_existing=True), begin(api)
        assert api.row(uuid)["status"] == "uploading"
        until(lambda: api.row(uuid)["status"] == "conversion queued", what="the end of the session")
        until(lambda: api.row(alone["dataset_uuid"])["status"] == "upload error", what="the end of the other")
        assert api.row(alone["dataset_uuid"])["error_code"] == "session-expired"
        assert not part_of(api, joined["upload_id"]).exists()
        assert send(api, joined["upload_id"], 0, piece(0)).status_code == 410


def test_a_file_that_is_there_is_not_begun_again(api: Api) -> None:
    uuid = str(uuid4())
    api.accepted(b"1", "x.tif", dataset_identifier=uuid)
    reply = api.http.post("/api/upload/large/initiate", json=wanted(dataset_identifier=uuid))
    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")


def test_health_and_limits_of_large_files(api: Api) -> None:
    upload_id = begin(api)["upload_id"]
    send(api, upload_id, 0, piece(0))
    health = api.http.get("/health/large-files").json()
    assert (health["status"], health["active_uploads"] > 0, health["temp_directory_size_mb"] > 0) == (
        "healthy", True, True,
    )  # fmt: skip
    limits = api.http.get("/api/upload/large/limits").json()
    assert (limits["chunk_size_bytes"], limits["recommended_for_files_larger_than_mb"]) == (104_857_600, 100)
    assert limits["resumable_upload_timeout_days"] == 7
