"""Imports over HTTP: fetched in ranges by Ray, resumed after kills, checked, converted; secrets stay sealed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cluster.state import State
from converters.verify import verify
from scray.client import ScrayClient
from scray.database import connect
from scray.settings import Settings
from scray.sources.bucket import Keys, s3_client
from tests.drive_server import Drive
from tests.range_server import Web, serving_files
from tests.ray_session import kill_driver, signal_worker, until
from tests.swift_server import KEY, SECRET, Swift

SAMPLES = Path(__file__).parents[2] / "examples" / "data"
FIELDS = {"user_email": "a@example.org", "dataset_name": "imported", "sensor": "TIFF"}
TOKEN, PASSWORD, ACCESS, SESSION = (f"planted-{what}-5ecret" for what in ("signature", "password", "access", "session"))
PLANTED = [secret.encode() for secret in (TOKEN, PASSWORD, ACCESS, SESSION)]
RANGE_BYTES = 26_214_400


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serving_files() as found:
        yield found


def initiate(stack: State, kind: str, config: dict[str, Any], **fields: Any) -> httpx.Response:
    body = {**FIELDS, "source_type": kind, "source_config": config, **fields}
    return httpx.post(f"{stack.api}/api/upload/initiate", json=body, trust_env=False)


def started(stack: State, kind: str, config: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = initiate(stack, kind, config, **fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["status"] == "queued"
    return found


def job(stack: State, job_id: str) -> dict[str, Any]:
    answer = httpx.get(f"{stack.api}/api/upload/status/{job_id}", trust_env=False)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def uploaded(stack: State, uuid: str) -> dict[str, bytes]:
    root = Path(stack.data) / "upload" / uuid
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def document(stack: State, uuid: str) -> dict[str, Any]:
    database = connect(settings_of(stack)["MONGO_URL"], "scientistcloud")
    with database.client:
        found = database.visstoredatas.find_one({"uuid": uuid})
        assert found
        return found


def settings_of(stack: State) -> dict[str, str]:
    lines = Path(stack.settings_file).read_text().splitlines()
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def left_over(stack: State, uuid: str) -> bool:
    return (Path(stack.data) / "upload" / ".importing" / uuid).exists()


def test_a_file_at_an_address_becomes_a_dataset(stack: State, client: ScrayClient, web: Web) -> None:
    web.put("/img3d.tif", (SAMPLES / "img3d.tif").read_bytes())
    begun = started(stack, "url", {"url": web.url(f"/img3d.tif?token={TOKEN}")})
    uuid = begun["dataset_uuid"]
    assert client.wait(uuid, 90)["status"] == "done"
    assert verify(Path(stack.data) / "converted" / uuid, SAMPLES / "img3d.tif") == []
    found = job(stack, begun["job_id"])
    assert (found["status"], found["progress_percentage"]) == ("completed", 100.0)
    row = document(stack, uuid)
    assert (row["file_count"], row["source_path"], row["source_sealed"]) == (1, web.url("/img3d.tif"), None)
    assert not left_over(stack, uuid)


def test_nobody_reads_a_secret(stack: State, client: ScrayClient, web: Web) -> None:
    """While the import is under way and after it: not in the database, the logs, Ray's state or any answer."""
    held, go = threading.Event(), threading.Event()
    page = web.put("/held.tif", os.urandom(3 * RANGE_BYTES))

    def hold() -> None:
        held.set()
        go.wait(60)

    url = web.url(f"/held.tif?X-Amz-Signature={TOKEN}&X-Amz-Security-Token={SESSION}")
    begun = started(stack, "url", {"url": url.replace("://", f"://user:{PASSWORD}@")}, convert=False)
    page.before = hold
    try:
        assert held.wait(30)
        texts = list(everything_told(stack, begun))
    finally:
        go.set()
    assert client.wait(begun["dataset_uuid"], 60)["status"] == "done"
    texts += everything_told(stack, begun)
    assert telling(texts) == []
    assert any(b"held.tif" in text for _, text in texts), "it looks where something is told"


def telling(texts: list[tuple[str, bytes]]) -> list[str]:
    """Where a planted secret can be read."""
    return [name for name, text in texts if any(secret in text for secret in PLANTED)]


def test_no_failure_tells_a_secret(stack: State, client: ScrayClient, web: Web) -> None:
    """An address with user, password and signature; keys and session token of S3; refused later or at once."""
    web.put("/closed.tif", status=403)
    address = web.url(f"/closed.tif?X-Amz-Signature={TOKEN}&X-Amz-Security-Token={SESSION}")
    address = address.replace("://", f"://user:{PASSWORD}@")
    bucket = {"bucket_name": "closed.tif", "object_key": ""}
    keys = {"access_key_id": "user", "secret_access_key": ACCESS, "session_token": SESSION, **bucket}
    texts: list[tuple[str, bytes]] = []
    for kind, config in (("url", {"url": address}), ("s3", {**keys, "endpoint_url": web.url("")})):
        begun = started(stack, kind, config)
        assert client.wait(begun["dataset_uuid"], 30)["error_code"] == "source-denied"
        texts += everything_told(stack, begun)
    wrong: tuple[tuple[str, dict[str, Any]], ...] = (
        ("url", {"url": address, "link_only": True}),
        ("url", {"url": f"http://user:{PASSWORD}/half@127.0.0.1/x"}),
        ("s3", {**keys, "anonymous": True}),
        ("s3", {**keys, "endpoint_url": f"http://user:{PASSWORD}@127.0.0.1/"}),
        ("s3", {**keys, "bucket_name": [ACCESS]}),
    )
    for kind, said in wrong:
        answer = initiate(stack, kind, said)
        assert answer.status_code == 422, answer.text
        texts.append((f"{kind} {answer.status_code}", answer.content))
    texts.append(("no user", initiate(stack, "s3", keys, user_email=None).content))
    assert telling(texts) == []
    assert any(b"/closed.tif" in text for _, text in texts), "it looks where something is told"


def everything_told(stack: State, begun: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Whatever somebody could read."""
    database = connect(settings_of(stack)["MONGO_URL"], "scientistcloud")
    with database.client:
        for name in database.list_collection_names():
            yield name, repr(list(database[name].find())).encode()
    uuid = begun["dataset_uuid"]
    for path in ("/api/v1/datasets", f"/api/v1/datasets/{uuid}", f"/api/v1/datasets/{uuid}/status",
                 f"/api/upload/status/{begun['job_id']}", "/api/upload/jobs?user_id=a@example.org"):  # fmt: skip
        yield path, httpx.get(stack.api + path, trust_env=False).content
    plans = (Path(stack.data) / "upload" / ".importing").rglob("*.json")
    for log in [*plans, *Path(stack.data).rglob("*.jsonl"), *Path(stack.data).rglob("*.log"),
                *Path(stack.temporary).rglob("logs/*")]:  # fmt: skip
        if log.is_file():
            yield str(log), log.read_bytes()
    token = {"Authorization": f"Bearer {Path(stack.token_file).read_text().strip()}"}
    for kind in ("tasks", "actors", "jobs", "workers"):
        answer = httpx.get(f"{stack.dashboard}/api/v0/{kind}?detail=1", headers=token, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        yield f"ray {kind}", answer.content


def test_a_bucket_becomes_a_dataset_and_nobody_reads_its_key(stack: State, client: ScrayClient, swift: Swift) -> None:
    keys = {"access_key_id": KEY, "secret_access_key": SECRET, "endpoint_url": swift.url}
    store = s3_client(Keys(KEY, SECRET, endpoint_url=swift.url), Settings(allowed_addresses=("127.0.0.1",)))
    store.create_bucket(Bucket="samples")
    store.put_object(Bucket="samples", Key="lab/img3d.tif", Body=(SAMPLES / "img3d.tif").read_bytes())
    begun = started(stack, "s3", {"bucket_name": "samples", "object_key": "lab/", **keys})
    uuid = begun["dataset_uuid"]
    texts = list(everything_told(stack, begun))
    assert client.wait(uuid, 60)["status"] == "done"
    assert verify(Path(stack.data) / "converted" / uuid, SAMPLES / "img3d.tif") == []
    wrong = {"bucket_name": "samples", "object_key": "lab/", **keys, "secret_access_key": SECRET[::-1]}
    refused = started(stack, "s3", wrong)
    assert client.wait(refused["dataset_uuid"], 30)["error_code"] == "source-denied"
    texts += [*everything_told(stack, begun), *everything_told(stack, refused)]
    found = {name for name, text in texts for secret in (SECRET, SECRET[::-1]) if secret.encode() in text}
    assert found == set()
    large = httpx.post(
        f"{stack.api}/api/upload/cloud/large", trust_env=False,
        json={**FIELDS, "source_type": "s3", "convert": False,
              "source_config": {"bucket_name": "samples", "object_key": "lab/img3d.tif", **keys}},
    ).json()  # fmt: skip
    assert large["job_id"].startswith("cloud_large_")
    until(lambda: job(stack, large["job_id"])["status"] == "completed", what="the large import")


def test_a_folder_of_google_drive(stack: State, client: ScrayClient, drive: Drive) -> None:
    top = drive.folder("run")
    drive.put("img3d.tif", (SAMPLES / "img3d.tif").read_bytes(), top)
    drive.put("survey", parent=top, kind="application/vnd.google-apps.form")
    link = f"https://drive.google.com/drive/folders/{top}?usp=sharing"
    begun = started(stack, "google_drive", {"folder_link": link, "service_account_file": drive.key})
    assert client.wait(begun["dataset_uuid"], 60)["status"] == "done"
    assert "survey" in client.dataset(begun["dataset_uuid"])["import_notes"][0]
    closed = drive.put("private.tif", b"x", shared=False)
    refused = started(stack, "google_drive", {"file_id": closed, "service_account_file": json.dumps(drive.key)})
    assert client.wait(refused["dataset_uuid"], 30)["error_code"] == "source-not-found"
    secret = drive.key["private_key"].splitlines()[3].encode()
    texts = [*everything_told(stack, begun), *everything_told(stack, refused)]
    assert [name for name, text in texts if secret in text] == []


@pytest.mark.parametrize("what", ["driver killed", "worker killed", "worker stopped"])
def test_ranges_that_are_there_are_not_fetched_again(stack: State, client: ScrayClient, web: Web, what: str) -> None:
    content = os.urandom(4 * RANGE_BYTES + 12_345)
    page = web.put("/large.bin", content)
    gate = threading.Semaphore(3)  # the probe and two ranges
    page.before = lambda: gate.acquire(timeout=60)
    web.asked.clear()
    begun = started(stack, "url", {"url": web.url("/large.bin")}, convert=False)
    uuid = begun["dataset_uuid"]
    marks = Path(stack.data) / "upload" / ".importing" / uuid / "marks"
    until(lambda: marks.exists() and len(list(marks.glob("[0-9]*.json"))) == 2, what="two ranges")
    shown = job(stack, begun["job_id"])
    assert (shown["status"], shown["bytes_total"]) == ("uploading", len(content))
    done = {int(path.stem) for path in marks.glob("[0-9]*.json")}
    if what == "driver killed":
        kill_driver(stack)
    else:
        sent = {"worker killed": signal.SIGKILL, "worker stopped": signal.SIGSTOP}[what]
        worker = signal_worker(stack, f"{uuid[:8]}:fetch", sent)
    gate.release(1000)
    assert client.wait(uuid, 90)["status"] == "done"
    assert uploaded(stack, uuid) == {"large.bin": content}
    if what == "worker stopped":
        with suppress(psutil.NoSuchProcess):  # Ray may have ended it already
            worker.resume()
        until(lambda: not worker.is_running(), what="the end of the worker that was given up")
    for number in done:
        span = f"bytes={number * RANGE_BYTES}-{min((number + 1) * RANGE_BYTES, len(content)) - 1}"
        assert [asked for _, asked in web.asked].count(span) == 1
    if what != "driver killed":
        log = client.ask("GET", f"/api/v1/datasets/{uuid}/logs")
        assert "task-died" in json.dumps(log)


def test_progress_and_time_left_are_seen_while_a_slow_source_sends(stack: State, client: ScrayClient, web: Web) -> None:
    page = web.put("/slow.bin", os.urandom(5 * RANGE_BYTES))
    gate = threading.Semaphore(1)  # the probe
    page.before = lambda: gate.acquire(timeout=60)
    begun = started(stack, "url", {"url": web.url("/slow.bin")}, convert=False)
    seen: list[dict[str, Any]] = [job(stack, begun["job_id"])]

    def moved() -> bool:
        found = job(stack, begun["job_id"])
        if found["bytes_uploaded"] == seen[-1]["bytes_uploaded"]:
            return False
        seen.append(found)
        return True

    for _ in range(4):
        gate.release()
        until(moved, 30, "progress")
    gate.release()
    assert client.wait(begun["dataset_uuid"], 60)["status"] == "done"
    way = seen[1:]
    assert [found["status"] for found in way] == ["uploading"] * 4
    assert all(found["bytes_total"] == len(page.content) and found["speed_mbps"] > 0 for found in way)
    assert [found["progress_percentage"] for found in way] == [20, 40, 60, 80]
    left = [found["eta_seconds"] for found in way]
    assert all(isinstance(seconds, int | float) and seconds > 0 for seconds in left), left
    assert len(set(left)) > 1, left


def test_what_cannot_be_fetched_says_why(stack: State, client: ScrayClient, web: Web) -> None:
    web.put("/closed", status=403)
    for url, code in {
        web.url("/missing"): "source-not-found",
        web.url("/closed"): "source-denied",
        web.url("/x", "127.0.0.2"): "forbidden-address",
    }.items():
        begun = started(stack, "url", {"url": url})
        found = client.wait(begun["dataset_uuid"], 30)
        assert (found["status"], found["error_code"]) == ("sync error", code)
        assert found["error_message"].endswith(".")
        assert job(stack, begun["job_id"])["status"] == "failed"


def test_an_import_that_failed_is_gone_on_with(stack: State, client: ScrayClient, web: Web) -> None:
    """What was fetched stays, and what was said of the source, until it has come; then both are forgotten."""
    content = os.urandom(3 * RANGE_BYTES)
    page = web.put("/comes", content)
    asked = iter(range(2))  # the probe and one range; the others are refused when that one is there

    def refuse() -> None:
        if next(asked, None) is None:
            until(lambda: any(marks_of(stack)), what="the first range")
            page.status = 410

    page.before = refuse
    uuid = started(stack, "url", {"url": web.url("/comes")}, convert=False)["dataset_uuid"]
    assert client.wait(uuid, 30)["error_code"] == "source-not-found"
    assert len(list(marks_of(stack, uuid))) == 1
    page.before, page.status = lambda: None, 0
    web.asked.clear()
    assert client.convert(uuid)["status"] == "sync queued"
    assert client.wait(uuid, 30)["status"] == "done"
    assert uploaded(stack, uuid) == {"comes": content}
    assert len(web.asked) == 2, "the ranges that were missing, and nothing else"
    assert document(stack, uuid)["source_sealed"] is None
    until(lambda: not left_over(stack, uuid), what="clearing up")


def marks_of(stack: State, uuid: str = "*") -> Iterator[Path]:
    """The ranges of an import that are there."""
    return (Path(stack.data) / "upload" / ".importing").glob(f"{uuid}/marks/[0-9]*.json")


def test_a_link_is_kept_and_nothing_fetched(stack: State, client: ScrayClient, web: Web) -> None:
    web.asked.clear()
    url = web.url("/mod_visus?dataset=x")
    begun = started(stack, "url", {"url": url, "link_only": True}, sensor="IDX")
    assert client.wait(begun["dataset_uuid"], 30)["status"] == "done"
    assert client.dataset(begun["dataset_uuid"])["url"] == url
    assert web.asked == []


def test_an_import_can_be_cancelled(stack: State, client: ScrayClient, web: Web) -> None:
    go = threading.Event()
    page = web.put("/slow.bin", os.urandom(1000))
    page.before = lambda: go.wait(60)
    begun = started(stack, "url", {"url": web.url("/slow.bin")})
    until(lambda: job(stack, begun["job_id"])["dataset_status"] == "syncing", what="the claim")
    answer = httpx.post(f"{stack.api}/api/upload/cancel/{begun['job_id']}", trust_env=False)
    assert answer.status_code == 200
    assert client.wait(begun["dataset_uuid"], 30)["status"] == "cancelled"
    go.set()
    until(lambda: document(stack, begun["dataset_uuid"])["source_sealed"] is None, what="forgetting")
    until(lambda: not left_over(stack, begun["dataset_uuid"]), what="clearing up")


def test_a_file_of_the_server(stack: State, client: ScrayClient) -> None:
    form = {**FIELDS, "file_path": str(SAMPLES / "img3d.tif"), "original_filename": "mine.tif", "convert": "True"}
    answer = httpx.post(f"{stack.api}/api/upload/upload-path", data=form, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert answer.json()["upload_type"] == "path"
    uuid = answer.json()["dataset_uuid"]
    assert client.wait(uuid, 60)["status"] == "done"
    assert uploaded(stack, uuid) == {"mine.tif": (SAMPLES / "img3d.tif").read_bytes()}
    for path, status, says in (
        (f"{SAMPLES}/missing", 400, "File not found"),
        (str(SAMPLES), 400, "not a file"),
        ("/etc/passwd", 403, "opened for imports"),
    ):
        answer = httpx.post(f"{stack.api}/api/upload/upload-path", data={**form, "file_path": path}, trust_env=False)
        assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text


def test_a_folder_of_the_server(stack: State, client: ScrayClient) -> None:
    begun = started(stack, "path", {"path": str(SAMPLES / "cat_rgb")}, sensor="IDX")
    assert client.wait(begun["dataset_uuid"], 60)["status"] == "done"
    files = {str(p.relative_to(SAMPLES / "cat_rgb")) for p in (SAMPLES / "cat_rgb").rglob("*") if p.is_file()}
    assert set(uploaded(stack, begun["dataset_uuid"])) == files


def test_more_files_are_imported_into_a_dataset(stack: State, client: ScrayClient, web: Web, tmp_path: Path) -> None:
    """Beside what was uploaded: both are converted anew; a name that is taken is told before anything is fetched."""
    picture = (SAMPLES / "img3d.tif").read_bytes()
    (tmp_path / "1.tif").write_bytes(picture)
    form: dict[str, Any] = {"sensor": "TIFF", "name": "imported", "user_email": FIELDS["user_email"]}
    uuid = client.upload(tmp_path / "1.tif", **form).dataset_uuid
    joins = {"dataset_identifier": uuid, "add_to_existing": True}
    nothing = {"filename": "nothing", "file_size": 0, **FIELDS, **joins}
    session = client.ask("POST", "/api/upload/initiate-chunked", json=nothing)["upload_id"]
    client.ask("POST", f"/api/upload/large/complete/{session}")
    assert client.wait(uuid, 90)["status"] == "done"
    web.put("/2.tif", picture)
    begun = started(stack, "url", {"url": web.url("/2.tif")}, **joins)
    assert begun["dataset_uuid"] == uuid
    until(lambda: job(stack, begun["job_id"])["status"] == "completed", 90, "the second conversion")
    manifest = json.loads((Path(stack.data) / "converted" / uuid / "manifest.json").read_text())
    assert [file["path"] for file in manifest["inputs"]] == ["1.tif", "2.tif", "nothing"]
    asked = len(web.asked)
    taken = started(stack, "url", {"url": web.url("/2.tif")}, **joins)
    until(lambda: job(stack, taken["job_id"])["status"] == "failed", 60, "the refusal")
    assert "already has another '2.tif'" in job(stack, taken["job_id"])["error"]
    assert len(web.asked) == asked + 1, "it was fetched although its name is taken"
    assert uploaded(stack, uuid) == {"1.tif": picture, "2.tif": picture, "nothing": b""}
    row = document(stack, uuid)
    assert (row["file_count"], row["total_size_bytes"]) == (3, 2 * len(picture))


def test_what_cannot_be_imported_into(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    (tmp_path / "1.tif").write_bytes(b"1")
    form: dict[str, Any] = {"name": "imported", "user_email": FIELDS["user_email"], "convert": False}
    uuid = client.upload(tmp_path / "1.tif", sensor="TIFF", **form).dataset_uuid
    where = {"path": str(SAMPLES / "img3d.tif")}
    for identifier, more, status, says in (
        ("0" * 8 + "-0000-4000-8000-" + "0" * 12, {}, 404, "not found"),
        (uuid, {"sensor": "HDF5"}, 409, "of the sensor TIFF"),
        (uuid, {"source_type": "url", "source_config": {"url": "http://x.org/", "link_only": True}}, 409, "A link"),
        (uuid, {"add_to_existing": False}, 409, "already"),
    ):
        joins = {"dataset_identifier": identifier, "add_to_existing": True, **more}
        answer = initiate(stack, "path", where, **joins)
        assert (answer.status_code, says in answer.text) == (status, True), answer.text


@pytest.mark.parametrize(
    ("kind", "config", "status"),
    [
        ("url", {}, 422),
        ("url", {"url": {"$gt": ""}}, 422),
        ("url", {"url": "file:///etc/passwd"}, 422),
        ("url", {"url": "http://"}, 422),
        ("local", {"file": "x"}, 400),
        ("dropbox", {}, 400),
        ("path", {"path": "/etc/passwd"}, 403),
        ({"$ne": ""}, {}, 422),
    ],
)
def test_requests_that_are_refused(stack: State, kind: Any, config: dict[str, Any], status: int) -> None:
    answer = initiate(stack, kind, config)
    assert answer.status_code == status, answer.text
    assert json.dumps(answer.json()["detail"])
