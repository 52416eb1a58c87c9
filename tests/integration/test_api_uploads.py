"""Files sent to a real server: what is on disk, in the database and in the answer, whatever the sender does."""

from __future__ import annotations

import hashlib
import itertools
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from scray.spans import CHUNK_BYTES, root_digest
from tests.api_server import EMAIL, FORM, Api, until

LIMIT = 400 << 20
BOUNDARY = "b0undary"
API_SETTINGS = {"SCRAY_MAX_BYTES": str(LIMIT), "SCRAY_SETTLE_SECONDS": "30"}


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def post_body(api: Api, body: bytes) -> dict[str, Any]:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    reply = api.http.post("/api/upload/upload", content=body, headers=headers)
    found: dict[str, Any] = reply.json() | {"http": reply.status_code}
    return found


def of(api: Api, uuid: str) -> dict[str, bytes]:
    """The files of one dataset."""
    return {name.removeprefix(f"{uuid}/"): data for name, data in api.files().items() if name.startswith(uuid)}


def record_of(api: Api, uuid: str, **condition: str) -> dict[str, Any]:
    found: dict[str, Any] | None = api.database.uploads.find_one({"dataset_uuid": uuid, **condition})
    assert found is not None
    return found


def leftovers(api: Api) -> list[str]:
    return [name for name in api.files() if name.startswith(".incoming")]


def begin(api: Api, body: bytes, length: int) -> socket.socket:
    """Send a request whose body is announced longer than what is sent now."""
    connection = socket.create_connection(("127.0.0.1", api.port), timeout=30)
    head = (
        "POST /api/upload/upload HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def answer(connection: socket.socket) -> str:
    """What was said before the end, which is a reset where the server did not read everything."""
    said = b""
    with connection, suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            said += piece
    return said.decode(errors="replace")


def fields(**values: str) -> bytes:
    return b"".join(part(name, value.encode()) for name, value in {**FORM, **values}.items())


# --- one file ------------------------------------------------------------------------------------


def test_a_file_is_on_disk_and_queued_when_it_is_acknowledged(api: Api) -> None:
    content = bytes(range(256)) * 1000
    reply = api.accepted(content, "scan 1.tif", tags="a, b", conversion_parameters='{"Xs": "e/x"}')
    assert (reply["status"], reply["upload_type"], reply["estimated_duration"]) == ("queued", "standard", 60)
    assert of(api, reply["dataset_uuid"]) == {"scan 1.tif": content}
    row = api.row(reply["dataset_uuid"])
    assert (row["status"], row["user"], row["user_id"], row["user_email"]) == (
        "conversion queued", EMAIL, EMAIL, EMAIL,
    )  # fmt: skip
    assert (row["name"], row["sensor"], row["tags"], row["convert"]) == ("scan", "TIFF", ["a", "b"], True)
    assert (row["total_size_bytes"], row["file_count"], row["open_uploads"]) == (256_000, 1, [])
    assert row["conversion_parameters"] == {"Xs": "e/x"}
    assert row["not_before"] <= row["updated_at"], "a single file does not wait for others"
    assert row["job_id"] == reply["job_id"]
    job = api.http.get(f"/api/upload/status/{reply['job_id']}").json()
    assert (job["status"], job["bytes_uploaded"], job["bytes_total"]) == ("processing", 256_000, 256_000)
    assert leftovers(api) == []


def test_the_record_has_the_digests_of_the_chunks(api: Api) -> None:
    reply = api.accepted(b"abc", "d.tif")
    record = record_of(api, reply["dataset_uuid"])
    chunk = hashlib.sha256(b"abc").hexdigest()
    assert (record["chunks"].hex(), record["root"]) == (chunk, root_digest(3, [chunk]))
    assert (record["state"], record["open"]) == ("stored", False)


def test_without_conversion_it_is_done_at_once(api: Api) -> None:
    reply = api.accepted(b"1", "x.tif", convert="False")
    assert api.row(reply["dataset_uuid"])["status"] == "done"
    job = api.http.get(f"/api/upload/status/{reply['job_id']}").json()
    assert (job["status"], job["progress_percentage"]) == ("completed", 100)


@pytest.mark.parametrize("text", ["true", "True", "false", "False"])
def test_flags_in_every_spelling(api: Api, text: str) -> None:
    row = api.row(api.accepted(b"1", "x.tif", is_public=text)["dataset_uuid"])
    assert row["is_public"] is (text.lower() == "true")


@pytest.mark.parametrize("alias", ["4D_Probe", "4D_NEXUS"])
def test_the_old_name_of_a_sensor(api: Api, alias: str) -> None:
    assert api.row(api.accepted(b"1", "x.nxs", sensor=alias)["dataset_uuid"])["sensor"] == "4D_NEXUS"


def test_fields_and_file_in_every_order(api: Api) -> None:
    parts = {"form": fields(), "file": part("file", b"abc", "x.tif"), "late": b""}
    for order in itertools.permutations(parts):
        uuid = str(uuid4())
        parts["late"] = part("dataset_identifier", uuid.encode()) + part("folder", b"sub") + part("convert", b"0")
        body = b"".join(parts[name] for name in order) + f"--{BOUNDARY}--\r\n".encode()
        reply = post_body(api, body)
        assert reply["http"] == 200, (order, reply)
        assert of(api, uuid) == {"sub/x.tif": b"abc"}
        assert api.row(uuid)["status"] == "done"
        assert api.row(uuid)["folder_uuid"] is None
    assert all(row["open_uploads"] == [] for row in api.rows())


def test_folder_is_a_label_for_a_dataset_of_one_file(api: Api) -> None:
    reply = api.accepted(b"1", "x.tif", folder="My scans")
    assert api.row(reply["dataset_uuid"])["folder_uuid"] == "My scans"
    assert list(of(api, reply["dataset_uuid"])) == ["x.tif"]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"user_email": "nobody"}, "user_email"),
        ({"user_email": '{"$ne": ""}'}, "user_email"),
        ({"sensor": "tiff"}, "sensor"),
        ({"dataset_name": ""}, "dataset_name"),
        ({"dataset_name": "n" * 256}, "dataset_name"),
        ({"dataset_name": "a\x00b"}, "dataset_name"),
        ({"folder": "f" * 256}, "folder"),
        ({"tags": "t" * 501}, "tags"),
        ({"relative_path": "r" * 501}, "relative_path"),
        ({"convert": "maybe"}, "convert"),
        ({"conversion_parameters": "[1]"}, "conversion_parameters"),
        ({"conversion_parameters": '{"$where": 1}'}, "conversion_parameters"),
        ({"conversion_parameters": '{"a": NaN}'}, "conversion_parameters"),
        ({"conversion_parameters": "[" * 60_000}, "conversion_parameters"),
    ],
)
def test_wrong_fields_are_named_and_leave_nothing(api: Api, wrong: dict[str, str], words: str) -> None:
    before = (len(api.rows()), api.files())
    reply = api.send(b"1", "x.tif", **wrong)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert words in problem["detail"]
    assert problem["errors"][0]["loc"] == ["body", words]
    assert (len(api.rows()), api.files()) == before


@pytest.mark.parametrize("missing", list(FORM))
def test_missing_fields_are_named(api: Api, missing: str) -> None:
    form = {name: value for name, value in FORM.items() if name != missing}
    reply = api.http.post("/api/upload/upload", data=form, files={"file": ("x.tif", b"1")})
    assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (422, ["body", missing])


def test_a_json_body_is_refused(api: Api) -> None:
    reply = api.http.post("/api/upload/upload", json={**FORM, "user_email": {"$ne": ""}, "file": "x"})
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid-field")


@pytest.mark.parametrize("alone", ["true", ""])
def test_an_empty_file_alone_is_refused_and_queues_nothing(api: Api, alone: str) -> None:
    uuid = str(uuid4())
    more = {"dataset_identifier": uuid, "alone": alone} if alone else {}
    reply = api.send(b"", "empty.tif", **more)
    assert (reply.status_code, reply.json()["code"]) == (422, "empty-input")
    row = api.rows()[-1]
    assert (row["status"], row["error_code"], of(api, row["uuid"])) == ("upload error", "empty-input", {})
    api.accepted(b"1", "full.tif", dataset_identifier=row["uuid"], add_to_existing="true")
    assert (api.row(row["uuid"])["status"], api.row(row["uuid"])["error_code"]) == ("conversion queued", "")


def test_an_empty_file_of_a_directory_is_stored_as_it_is(api: Api) -> None:
    uuid = str(uuid4())
    first = api.accepted(b"", "__init__.py", dataset_identifier=uuid)
    assert api.http.get(f"/api/upload/status/{first['job_id']}").json()["bytes_total"] == 0
    api.accepted(b"1", "a.tif", dataset_identifier=uuid, add_to_existing="true")
    api.accepted(b"", "done", dataset_identifier=uuid, add_to_existing="true", folder="sub")
    api.accepted(b"", "done", dataset_identifier=uuid, add_to_existing="true", relative_path="deep/done")
    assert of(api, uuid) == {"__init__.py": b"", "a.tif": b"1", "sub/done": b"", "deep/done": b""}
    row = api.row(uuid)
    assert (row["status"], row["file_count"], row["total_size_bytes"]) == ("conversion queued", 4, 1)
    assert api.send(b"1", "done", dataset_identifier=uuid, add_to_existing="true", folder="sub").status_code == 409


def test_a_file_over_the_limit_is_refused_before_its_first_byte(api: Api) -> None:
    head = fields() + f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'.encode()
    text = answer(begin(api, head, 2 * LIMIT))
    assert " 413 " in text.splitlines()[0]
    assert "body-too-large" in text


def test_a_sender_that_does_not_look_up_still_gets_the_answer(api: Api, tmp_path: Path) -> None:
    source = tmp_path / "big.tif"
    with source.open("wb") as sparse:
        sparse.truncate(2 * LIMIT)
    with source.open("rb") as file:
        reply = api.http.post("/api/upload/upload", data=FORM, files={"file": file})
    assert (reply.status_code, reply.json()["code"]) == (413, "body-too-large")


def test_a_file_of_unknown_length_is_stopped_at_the_limit(api: Api) -> None:
    uuid = str(uuid4())
    piece = b"\0" * (1 << 20)

    def body() -> Iterator[bytes]:
        yield fields(dataset_identifier=uuid)
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'.encode()
        yield from itertools.repeat(piece, (LIMIT >> 20) + 3)
        yield f"\r\n--{BOUNDARY}--".encode()

    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    reply = api.http.post("/api/upload/upload", content=body(), headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (413, "body-too-large")
    assert (api.row(uuid)["status"], of(api, uuid), leftovers(api)) == ("upload error", {}, [])


@pytest.mark.parametrize("path", ["../x.tif", "/etc/x.tif", "a/../../x.tif", "a\\b.tif", "C:/x.tif"])
def test_paths_that_lead_out_are_refused(api: Api, path: str) -> None:
    reply = api.send(b"1", "x.tif", relative_path=path)
    assert (reply.status_code, reply.json()["code"]) == (422, "unsafe-path")


@pytest.mark.parametrize(("sent", "kept"), [("../../x.tif", "x.tif"), ("C:\\d\\y.tif", "y.tif"), (".z.tif", "z.tif")])
def test_file_names_are_made_safe(api: Api, sent: str, kept: str) -> None:
    reply = api.accepted(b"1", sent)
    assert (list(of(api, reply["dataset_uuid"])), reply["path"]) == ([kept], kept)


# --- uploads that break off ----------------------------------------------------------------------


def broken(uuid: str, **more: str) -> bytes:
    return fields(dataset_identifier=uuid, **more) + part("file", b"\1" * 2_000_000, "x.tif")[:-500]


def test_a_connection_that_breaks_leaves_no_byte(api: Api) -> None:
    uuid = str(uuid4())
    connection = begin(api, broken(uuid), 5_000_000)
    until(lambda: api.database.visstoredatas.find_one({"uuid": uuid}), what="the row during the upload")
    assert api.row(uuid)["status"] == "uploading"
    connection.close()
    until(lambda: api.row(uuid)["status"] == "upload error", what="the end of the upload")
    assert api.row(uuid)["error_code"] == "upload-broken"
    assert (of(api, uuid), leftovers(api)) == ({}, [])


def test_a_body_without_its_end_is_refused(api: Api) -> None:
    uuid = str(uuid4())
    reply = post_body(api, broken(uuid))
    assert (reply["http"], reply["code"]) == (400, "upload-broken")
    assert (api.row(uuid)["status"], of(api, uuid), leftovers(api)) == ("upload error", {}, [])


def test_a_broken_file_leaves_the_others_of_its_dataset_alone(api: Api) -> None:
    uuid = str(uuid4())
    api.accepted(b"good", "good.tif", dataset_identifier=uuid)
    begin(api, broken(uuid, add_to_existing="true"), 5_000_000).close()
    ended = {"dataset_uuid": uuid, "state": "failed", "open": False}
    until(lambda: api.database.uploads.count_documents(ended), what="the end of the upload")
    found = record_of(api, uuid, state="failed")
    assert found["error_code"] == "upload-broken"
    assert (api.row(uuid)["status"], of(api, uuid)) == ("conversion queued", {"good.tif": b"good"})
    job = api.http.get(f"/api/upload/status/{found['_id']}").json()
    assert (job["status"], job["error_code"]) == ("failed", "upload-broken")


def test_a_running_upload_is_seen_and_can_be_cancelled(api: Api) -> None:
    uuid = str(uuid4())
    connection = begin(api, broken(uuid), 50_000_000)
    until(lambda: api.database.visstoredatas.count_documents({"uuid": uuid}), what="the row")
    job_id = record_of(api, uuid)["_id"]
    url = f"/api/upload/status/{job_id}"
    assert api.http.get(url).json()["status"] == "uploading"

    def seen() -> bool:
        connection.sendall(b"\2" * 10_000)
        received: int = api.http.get(url).json()["bytes_uploaded"]
        return received > 1_000_000

    until(seen, what="progress")
    assert 0 < api.http.get(url).json()["progress_percentage"] < 100
    [listed] = api.http.get("/api/upload/jobs", params={"user_id": EMAIL, "status": "uploading"}).json()["jobs"]
    assert (listed["job_id"], listed["bytes_total"] > 40_000_000) == (job_id, True)
    message = api.http.post(f"/api/upload/cancel/{job_id}").json()["message"]
    assert message == f"Job {job_id} cancelled successfully"
    assert api.row(uuid)["status"] == "cancelled"

    def ended() -> bool:
        with suppress(OSError):
            connection.sendall(b"\2" * 100_000)
        return record_of(api, uuid)["open"] is False

    until(ended, what="the end of the upload")
    assert "cancelled" in answer(connection)
    assert record_of(api, uuid)["state"] == "cancelled"
    assert (api.row(uuid)["status"], of(api, uuid), leftovers(api)) == ("cancelled", {}, [])


# --- datasets of several files -------------------------------------------------------------------


def test_a_directory_as_the_original_client_sends_it(api: Api) -> None:
    uuid = str(uuid4())
    tree = {"a.tif": b"1", "sub/a.tif": b"22", "sub/deep/b c.tif": b"333"}
    for number, (name, content) in enumerate(tree.items()):
        folder, _, file = name.rpartition("/")
        form = {
            **FORM, "convert": "True", "is_public": "False", "original_file_path": f"/home/ada/{name}",
            "dataset_identifier": uuid, "add_to_existing": str(number > 0).lower(),
            **({"folder": folder} if folder else {}),
        }  # fmt: skip
        part = {"file": (file, content, "application/octet-stream")}
        reply = api.http.post("/api/upload/upload", data=form, files=part)
        assert reply.status_code == 200, reply.text
        assert {"job_id", "status", "message", "upload_type"} <= reply.json().keys()
        assert api.http.get(f"/api/v1/datasets/{uuid}").json()["resolved_uuid"] == uuid
    row = api.row(uuid)
    assert of(api, uuid) == tree
    assert (row["file_count"], row["total_size_bytes"], len(row["files"])) == (3, 6, 3)
    assert row["status"] == "conversion queued"
    wait = (row["not_before"] - row["updated_at"]).total_seconds()
    assert 25 < wait <= 31, "the settle time"


def test_many_files_of_one_dataset_at_once(api: Api) -> None:
    uuid = str(uuid4())
    api.accepted(b"first", "0.tif", dataset_identifier=uuid)

    def send(number: int) -> int:
        name = f"{number}.tif"
        joined = {"dataset_identifier": uuid, "add_to_existing": "true", "relative_path": f"d{number % 3}/{name}"}
        return api.send(bytes([number]) * 100_000, name, **joined).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(send, range(1, 33))) == {200}
    row = api.row(uuid)
    assert (len(of(api, uuid)), row["file_count"], row["status"]) == (33, 33, "conversion queued")
    assert row["open_uploads"] == []
    assert row["total_size_bytes"] == 32 * 100_000 + 5


def test_a_name_that_exists_is_never_overwritten(api: Api) -> None:
    uuid = str(uuid4())
    api.accepted(b"one", "x.tif", dataset_identifier=uuid)
    again = api.accepted(b"one", "x.tif", dataset_identifier=uuid, add_to_existing="true")
    other = api.send(b"two", "x.tif", dataset_identifier=uuid, add_to_existing="true")
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    below = api.send(b"two", "y.tif", dataset_identifier=uuid, add_to_existing="true", relative_path="x.tif/y.tif")
    assert below.status_code == 409
    assert (of(api, uuid), api.row(uuid)["file_count"]) == ({"x.tif": b"one"}, 1)
    assert api.row(uuid)["status"] == "conversion queued"
    assert api.http.get(f"/api/upload/status/{again['job_id']}").json()["status"] == "processing"


def test_the_same_first_file_sent_again_joins_its_dataset(api: Api) -> None:
    uuid = str(uuid4())
    for _ in range(2):
        assert api.accepted(b"one", "x.tif", dataset_identifier=uuid)["dataset_uuid"] == uuid
    assert of(api, uuid) == {"x.tif": b"one"}


def test_joining_needs_a_dataset_that_fits(api: Api) -> None:
    uuid = str(uuid4())
    unknown = api.send(b"1", "x.tif", dataset_identifier=uuid, add_to_existing="true")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, f"Dataset not found: {uuid}")
    assert api.send(b"1", "x.tif", dataset_identifier="no such name").status_code == 404
    api.accepted(b"1", "x.tif", dataset_identifier=uuid)
    assert api.send(b"2", "y.tif", dataset_identifier=uuid, dataset_name="other").status_code == 409
    other = api.send(b"2", "y.tif", dataset_identifier=uuid, add_to_existing="true", sensor="HDF5")
    assert other.status_code == 409
    by_name = str(uuid4())
    api.accepted(b"1", "x.tif", dataset_identifier=by_name, dataset_name="only-one")
    joined = api.accepted(b"2", "y.tif", dataset_identifier="only-one", add_to_existing="true")
    assert joined["dataset_uuid"] == by_name


# --- size ----------------------------------------------------------------------------------------


def test_memory_stays_flat_while_300_megabytes_pass(api: Api, tmp_path: Path) -> None:
    size = 300_000_000
    source = tmp_path / "big.tif"
    with source.open("wb") as file:
        file.truncate(size - 7)
        file.seek(size - 7)
        file.write(b"the end")
    api.accepted(b"warm", "up.tif")
    before = api.memory_bytes
    with source.open("rb") as file, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(api.http.post, "/api/upload/upload", data=FORM, files={"file": ("big.tif", file)})
        peak = before
        while not sent.done():
            peak = max(peak, api.memory_bytes)
        reply = sent.result().json()
    assert peak - before < 64 << 20
    assert (reply["upload_type"], reply["size_bytes"]) == ("chunked", size)
    stored = api.data / "upload" / reply["dataset_uuid"] / "big.tif"
    assert stored.stat().st_size == size
    record = record_of(api, reply["dataset_uuid"])
    with stored.open("rb") as file:
        first = hashlib.sha256(file.read(CHUNK_BYTES)).digest()
    assert record["chunks"][:32] == first
    assert len(record["chunks"]) == 32 * 3
