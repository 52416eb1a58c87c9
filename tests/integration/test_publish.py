"""Copies of results in a bucket, on a real object store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from pymongo.database import Database

from cluster.copying import Copier, Copy
from cluster.doctor import bucket
from scray import multipart
from scray.catalog import Catalog
from scray.copies import Copies
from scray.errors import BadParameter, LeaseLost, RemoteChanged, SourceDenied, SourceNotFound
from scray.log import Action
from scray.manifest import MANIFEST, Manifest, digest_file
from scray.publish import Target, outgoing, send
from scray.runlog import RunLog, read
from scray.settings import Settings
from scray.sources.bucket import Keys, s3_client
from tests.integration.test_reaping import desk_in
from tests.proxy import Proxy
from tests.swift_server import KEY, SECRET, Swift

SMALL_PART = 5 << 20
SENDER = f"""
import sys
from pathlib import Path
from scray import multipart
from scray.publish import send
from scray.runlog import RunLog, read
from scray.settings import Settings
multipart.PART_BYTES = {SMALL_PART}
send(Path(sys.argv[1]), "u4", ("large.bin",), Settings(publish_url=sys.argv[2], s3_profiles=Path(sys.argv[3])))
"""
NAMES = ["00112233/0.bin", "00112233/1.bin", "detector/visus.idx", "metadata.json", "preview.png", "visus.idx"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Something like a result, with its manifest, and data of a former one beside it."""
    root = tmp_path / "result"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(os.urandom(5000))
    (root / "00112233/1.bin").write_bytes(os.urandom((11 << 20) + 5))
    outputs = tuple(digest_file(root, name) for name in NAMES)
    (root / MANIFEST).write_bytes(Manifest((), outputs).to_json())
    (root / "ffffffff").mkdir()
    (root / "ffffffff/0.bin").write_bytes(b"old")
    return root


@pytest.fixture
def settings(swift: Swift, tmp_path: Path) -> Settings:
    profiles = tmp_path / "profiles"
    profiles.write_text(
        f"[publish]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\nendpoint_url={swift.url}\n"
        f"[wrong]\naws_access_key_id={KEY}\naws_secret_access_key=x\nendpoint_url={swift.url}\n"
    )
    return Settings(publish_url="s3://results/lab", s3_profiles=profiles)


@pytest.fixture
def client(swift: Swift) -> Any:
    client = s3_client(Keys(KEY, SECRET, endpoint_url=swift.url), Settings(), trusted=True)
    if "results" not in [row["Name"] for row in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket="results")
    for row in client.list_objects_v2(Bucket="results").get("Contents", ()):
        client.delete_object(Bucket="results", Key=row["Key"])
    return client


def objects(client: Any) -> dict[str, Any]:
    rows = client.list_objects_v2(Bucket="results").get("Contents", ())
    return {row["Key"]: (row["ETag"], row["LastModified"]) for row in rows}


def test_every_file_of_the_manifest_and_no_other_the_headers_last(folder: Path) -> None:
    found = outgoing(folder)
    assert found.rounds == ((("00112233/0.bin", "00112233/1.bin"),),)
    assert found.heads == ("detector/visus.idx", "metadata.json", "preview.png"), "when all data are there"
    assert found.last == (MANIFEST, "visus.idx"), "one after the other, when all else is there"
    assert sorted(found.names) == sorted([*NAMES, MANIFEST])


def test_a_copy_is_exact_and_what_is_there_is_not_sent_again(
    folder: Path, settings: Settings, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "PART_BYTES", SMALL_PART)
    for name in outgoing(folder).names:
        assert send(folder, "u1", (name,), settings) == (folder / name).stat().st_size
    there = objects(client)
    assert set(there) == {f"lab/u1/{name}" for name in [*NAMES, MANIFEST]}
    assert there["lab/u1/00112233/1.bin"][0].endswith('-3"')
    for key in there:
        body = client.get_object(Bucket="results", Key=key)["Body"].read()
        assert body == (folder / key.removeprefix("lab/u1/")).read_bytes()
    client.put_object(Bucket="results", Key="lab/u1/preview.png", Body=b"broken")
    before = objects(client)
    send(folder, "u1", outgoing(folder).names, settings)
    after = objects(client)
    assert {key for key in after if after[key] != before[key]} == {"lab/u1/preview.png"}
    assert after["lab/u1/preview.png"][0] == there["lab/u1/preview.png"][0]


def test_parts_that_arrived_before_a_kill_are_not_sent_again(
    swift: Swift, settings: Settings, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "PART_BYTES", SMALL_PART)
    (tmp_path / "large.bin").write_bytes(os.urandom(9 * SMALL_PART + 5))

    def arrived() -> list[int]:
        found = client.list_multipart_uploads(Bucket="results", Prefix="lab/u4/").get("Uploads", ())
        keys = [{"Bucket": "results", "Key": one["Key"], "UploadId": one["UploadId"]} for one in found]
        return [part["Size"] for one in keys for part in client.list_parts(**one).get("Parts", ())]

    with Proxy(urlsplit(swift.url).port or 0) as line:
        profiles = settings.s3_profiles
        assert profiles
        profiles.write_text(profiles.read_text().replace(swift.url, line.url))
        line.pause_seconds = 0.005
        child = subprocess.Popen([sys.executable, "-c", SENDER, str(tmp_path), settings.publish_url, str(profiles)])
        try:
            deadline = time.monotonic() + 60
            while len(arrived()) < 3:
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            line.stall()
        finally:
            child.kill()
            child.wait()
        line.cut(reset=True)
        line.pause_seconds = 0.0
        line.flow()
        sent, there = line.sent_bytes, sum(arrived())
        size = send(tmp_path, "u4", ("large.bin",), settings)
        assert line.sent_bytes - sent < size - there + (1 << 20)
    assert arrived() == [], "nothing is left of the upload that was cut off"
    body = client.get_object(Bucket="results", Key="lab/u4/large.bin")["Body"].read()
    assert body == (tmp_path / "large.bin").read_bytes()


def test_what_has_a_link_is_there_under_both_names(folder: Path, settings: Settings, client: Any) -> None:
    """As the top header of a result of several volumes needs it."""
    (folder / "detector/visus").mkdir()
    (folder / "detector/visus/0.bin").write_bytes(os.urandom(5000))
    (folder / "visus").symlink_to("detector/visus")
    (folder / "away").symlink_to(folder.parent)
    outputs = tuple(digest_file(folder, name) for name in [*NAMES, "detector/visus/0.bin"])
    (folder / MANIFEST).write_bytes(Manifest((), outputs).to_json())
    names = outgoing(folder).names
    assert names.index("detector/visus/0.bin") < names.index("visus/0.bin") < names.index("detector/visus.idx")
    send(folder, "u3", names, settings)
    assert set(objects(client)) == {
        f"lab/u3/{name}" for name in [*NAMES, MANIFEST, "detector/visus/0.bin", "visus/0.bin"]
    }
    body = client.get_object(Bucket="results", Key="lab/u3/visus/0.bin")["Body"].read()
    assert body == (folder / "detector/visus/0.bin").read_bytes()


class Row:
    """A dataset whose result is here, in a database, with copies of it that several drivers make."""

    def __init__(self, database: Database[dict[str, Any]], settings: Settings, folder: Path, home: Path) -> None:
        desk = desk_in(home, database)
        self.desk = replace(desk, settings=settings.model_copy(update={"session_seconds": 60}))
        self.uuid, self.copies, self.database = str(uuid4()), Copies(database), database
        self.desk.storage.converted_dir(self.uuid).parent.mkdir(exist_ok=True)
        folder.rename(self.desk.storage.converted_dir(self.uuid))
        self.add(self.uuid, "done", {"state": "waiting"})

    def add(self, uuid: str, status: str, publication: dict[str, Any]) -> str:
        row = {"uuid": uuid, "status": status, "publication": publication, "copier": None}
        self.database.visstoredatas.insert_one(row)
        return uuid

    def copy(self, token: str, seconds: float = 1000) -> Copy:
        assert self.copies.claim(token, seconds)
        return Copy(self.desk, self.copies, self.uuid, token, lambda: False)

    def key(self, name: str) -> str:
        return f"lab/{self.uuid}/{name}"


@pytest.fixture
def row(database: Database[dict[str, Any]], settings: Settings, folder: Path, tmp_path: Path) -> Row:
    return Row(database, settings, folder, tmp_path / "home")


def test_whoever_lost_a_copy_replaces_no_head(row: Row, client: Any) -> None:
    late = row.copy("late", seconds=0)
    out = outgoing(late.folder)
    late._result = late._look()
    row.copy("owner")
    with pytest.raises(LeaseLost):
        late._send_heads(out)
    assert objects(client) == {}
    owner = Copy(row.desk, row.copies, row.uuid, "owner", lambda: False)
    with pytest.raises(LeaseLost, match="newer"):
        owner._send_heads(out)
    owner._result = owner._look()
    owner._send_heads(out)
    assert set(objects(client)) == {row.key(name) for name in (*out.heads, *out.last)}


def test_what_was_put_there_behind_the_fence_is_not_replaced(folder: Path, settings: Settings, client: Any) -> None:
    """Whoever is frozen after he asked is late all the same. The store knows this condition of new objects alone."""
    place = {"Bucket": "results", "Key": "lab/u5/visus.idx"}
    with pytest.raises(RemoteChanged):
        send(folder, "u5", ("visus.idx",), settings, lambda: client.put_object(**place, Body=b"newer"))
    assert client.get_object(**place)["Body"].read() == b"newer"
    asked: list[str] = []
    send(folder, "u5", ("visus.idx",), settings, lambda: asked.append("?"))
    assert client.get_object(**place)["Body"].read() == (folder / "visus.idx").read_bytes()
    assert len(asked) == 2, "asked again where the store refused the condition"
    send(folder, "u5", ("visus.idx",), settings, lambda: asked.append("?"))
    assert len(asked) == 2, "what is there needs no place"


def test_parts_of_copies_that_nobody_goes_on_with_are_removed(row: Row, client: Any) -> None:
    going = [row.uuid, row.add(str(uuid4()), "converting", {"state": "copying"}), str(uuid4()), "notes"]
    over = [
        row.add(str(uuid4()), "done", {"state": "failed"}),
        row.add(str(uuid4()), "done", {"state": "published"}),
        row.add(str(uuid4()), "cancelled", {"state": "copying"}),
    ]
    for uuid in (*going, *over):
        client.create_multipart_upload(Bucket="results", Key=f"lab/{uuid}/large.bin")

    def left() -> set[str]:
        found = client.list_multipart_uploads(Bucket="results", Prefix="lab/").get("Uploads", ())
        return {one["Key"].split("/")[1] for one in found}

    Copier(row.desk, row.copies, lambda: False).sweep()
    assert left() & {*going, *over} == {*going}, "one that is not in the database has its time"
    row.desk = replace(row.desk, settings=row.desk.settings.model_copy(update={"session_seconds": -60}))
    Copier(row.desk, row.copies, lambda: False).sweep()
    assert left() & {*going, *over} == {*going} - {going[2]}
    (row.desk.storage.converted_dir(row.uuid) / MANIFEST).write_text("{")
    Copier(row.desk, row.copies, lambda: False)._round()
    assert row.database.visstoredatas.find_one({"uuid": row.uuid})["publication"]["state"] == "failed"  # type: ignore[index]
    assert row.uuid not in left()


def test_whoever_lost_a_copy_ends_no_upload_of_the_next_one(row: Row, client: Any) -> None:
    late = row.copy("late", seconds=0)
    row.copy("owner")
    started = client.create_multipart_upload(Bucket="results", Key=row.key("large.bin"))
    with pytest.raises(LeaseLost):
        Copier(row.desk, row.copies, lambda: False)._fail(RuntimeError("late"), late)
    found = client.list_multipart_uploads(Bucket="results", Prefix=row.key("")).get("Uploads", ())
    assert [one["UploadId"] for one in found] == [started["UploadId"]]


def test_deaths_are_told_in_the_log_of_the_run_that_made_the_result(row: Row) -> None:
    folder, run = row.desk.storage.log_dir(row.uuid), "20260102T000000Z-0123abcd"
    for name in ("20260101T000000Z-0123abcd", run):
        RunLog(folder, name).write(Action.CONVERTED)
    row.copy("owner")._tell_death("send 0.bin", 2, "Its worker died.")
    (_, told), _ = read(folder, run)
    assert (told["action"], told["task"], told["count"], told["run"]) == ("task-died", "send 0.bin", 2, run)


def test_what_cannot_be_copied_says_why(folder: Path, settings: Settings, client: Any) -> None:
    for more, error in (
        ({"publish_profile": "wrong"}, SourceDenied),
        ({"publish_profile": "unknown"}, SourceDenied),
        ({"publish_url": "s3://no-such-bucket/x"}, SourceNotFound),
        ({"publish_url": "https://example.org"}, BadParameter),
    ):
        with pytest.raises(error):
            send(folder, "u2", ("preview.png",), settings.model_copy(update=more))


def test_the_doctor_looks_at_the_bucket(
    settings: Settings, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client
    monkeypatch.setenv("SCRAY_S3_PROFILES", str(settings.s3_profiles))
    for url, profile, says in (
        ("", "publish", None),
        ("s3://results/lab", "publish", "copied to s3://results/lab/"),
        ("s3://no-such-bucket", "publish", "no s3://no-such-bucket"),
        ("s3://results", "wrong", "cannot be copied"),
        ("s3://results", "unknown", "no S3 profile"),
        ("https://example.org", "publish", "must be like s3://"),
    ):
        monkeypatch.setenv("SCRAY_PUBLISH_URL", url)
        monkeypatch.setenv("SCRAY_PUBLISH_PROFILE", profile)
        found = list(bucket())
        assert [check.ok for check in found] == ([] if says is None else ["copied to" in says]), url
        for check in found:
            assert says
            assert says in check.says
            assert check.ok or check.todo


def test_links(settings: Settings, swift: Swift) -> None:
    assert Target.of(settings).link("u") == f"{swift.url}/results/lab/u/visus.idx"


def test_a_copy_has_one_owner(database: Database[dict[str, Any]]) -> None:
    copies = Copies(database)
    row = {"uuid": "u", "status": "done", "publication": {"state": "waiting"}, "copier": None}
    database.visstoredatas.insert_one(row)
    assert copies.claim("one", 1000) is not None
    assert copies.claim("two", 1000) is None
    assert not copies.tell("u", "two", {"state": "published"}, 0)
    assert copies.tell("u", "one", {"state": "copying", "bytes": 5}, 0), "and it is silent from now on"
    found = copies.claim("two", 1000)
    assert found is not None
    assert not copies.tell("u", "one", {"state": "published"}, 0)
    assert copies.tell("u", "two", {"state": "published"}, 1000)
    assert copies.claim("three", 1000) is None
    assert Catalog(database).datasets({}, limit=1)[0][0].keys().isdisjoint({"copier"})
