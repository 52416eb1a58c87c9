"""What clients do that nobody told them to, and what they may expect nevertheless."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api_server import EMAIL, FORM, Api
from tests.original_clients import upload_file_async

HALF = '"\\ud800"'  # a lone surrogate, as JSON can write it
UUID = "11111111-2222-4333-8444-55555555555%d"
TUS = {"Tus-Resumable": "1.0.0"}
PLACE = "/api/upload/tus"


def json_with(field: str, text: str, **more: Any) -> str:
    rest = ", ".join(f'"{name}": {value}' for name, value in more.items())
    return f'{{"user_email": "{EMAIL}", "dataset_name": "scan", "sensor": "TIFF", {rest}, "{field}": {text}}}'


@pytest.mark.parametrize("field", ["dataset_name", "folder", "tags", "user_email", "team_uuid", "relative_path"])
def test_half_a_character_is_no_text(api: Api, field: str) -> None:
    before = len(api.rows())
    url = {"source_type": '"url"', "source_config": '{"url": "https://example.org/x.tif"}'}
    large = {"filename": '"x.tif"', "file_size": "1"}
    for path, more in (("initiate", url), ("initiate-chunked", large)):
        content = json_with(field, HALF, **more)
        reply = api.http.post(f"/api/upload/{path}", content=content, headers={"Content-Type": "application/json"})
        if field != "relative_path":  # of which safe names are made
            assert (reply.status_code, reply.json()["code"]) == (422, "invalid-field"), reply.text
            assert len(api.rows()) == before
    assert len(api.files()) <= 1


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/upload/initiate", "application/json"),
        ("/api/upload/large/complete/x", "text/plain"),
        ("/api/upload/upload-path", "application/x-www-form-urlencoded"),
        (f"/api/v1/datasets/{UUID % 0}/convert", "application/json"),
    ],
)
@pytest.mark.parametrize("announced", [True, False])
def test_what_is_held_in_memory_is_bounded(api: Api, path: str, kind: str, announced: bool) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b" " * 65_536

    content: Any = b" " * 3_000_000 if announced else endless()
    try:
        reply = api.http.post(path, content=content, headers={"Content-Type": kind})
    except httpx.WriteError:
        assert not announced, "the answer can be read by whoever sends first"
    else:
        assert (reply.status_code, reply.json()["code"]) == (413, "body-too-large")


def test_a_body_that_is_no_json_is_told_so(api: Api) -> None:
    reply = api.http.post("/api/upload/initiate", content=b"{}x", headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["detail"]) == (422, "body: It is not JSON from character 2 on")


def test_tus_for_clients_that_can_only_post(api: Api) -> None:
    texts = {"filename": "x.tif", **FORM}
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in texts.items())
    place = api.http.post(PLACE, headers={**TUS, "Upload-Length": "6", "Upload-Metadata": metadata}).headers["location"]
    body = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    patched = api.http.post(place, content=b"pix", headers={**TUS, **body, "X-HTTP-Method-Override": "PATCH"})
    assert (patched.status_code, patched.headers["upload-offset"]) == (204, "3")
    looked = api.http.post(place, headers={**TUS, "X-HTTP-Method-Override": "HEAD"})
    assert (looked.status_code, looked.headers["upload-offset"], looked.content) == (200, "3", b"")
    assert api.http.post(place, headers={**TUS, "X-HTTP-Method-Override": "delete"}).status_code == 204
    assert api.http.head(place, headers=TUS).status_code == 404
    assert api.http.post("/health", headers={"X-HTTP-Method-Override": "GET"}).status_code == 405


def test_an_address_may_end_in_a_slash(api: Api) -> None:
    reply = api.send(b"1", path="/api/upload/upload/")
    assert reply.status_code == 200
    assert api.http.get(f"/api/upload/status/{reply.json()['job_id']}/").status_code == 200
    begun = api.http.post(f"{PLACE}/", headers={**TUS, "Upload-Length": "3", "Upload-Concat": "partial"})
    assert begun.status_code == 201
    assert api.http.head(f"{begun.headers['location']}/", headers=TUS).headers["upload-offset"] == "0"


def test_what_tus_refuses_says_the_same_in_its_body(api: Api) -> None:
    place = api.http.post(PLACE, headers={**TUS, "Upload-Length": "3", "Upload-Concat": "partial"}).headers["location"]
    body = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    wrong = api.http.patch(
        place, content=b"abc", headers={**body, "Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="}
    )
    assert (wrong.status_code, wrong.json()["status"], wrong.json()["title"]) == (460, 460, "Checksum Mismatch")
    for headers in ({"Upload-Concat": "some"}, {"Upload-Metadata": "a YQ==,a Yg=="}):
        assert api.http.post(PLACE, headers={**TUS, "Upload-Length": "3", **headers}).status_code == 400


def test_a_whole_tus_upload_is_not_gone(api: Api) -> None:
    texts = {"filename": "x.tif", **FORM}
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in texts.items())
    body = {**TUS, "Content-Type": "application/offset+octet-stream"}
    begun = api.http.post(PLACE, content=b"123", headers={**body, "Upload-Length": "3", "Upload-Metadata": metadata})
    again = api.http.patch(begun.headers["location"], content=b"4", headers={**body, "Upload-Offset": "3"})
    assert (again.status_code, again.json()["detail"]) == (409, "The upload is complete; nothing can be added to it.")


def test_another_version_of_tus_is_told_ours(api: Api) -> None:
    reply = api.http.head(f"{PLACE}/x", headers={"Tus-Resumable": "0.2.2"})
    assert (reply.status_code, reply.headers["tus-version"]) == (412, "1.0.0")


def test_sub_folders_as_windows_writes_them(api: Api) -> None:
    joins = {"dataset_identifier": UUID % 1}
    assert api.accepted(b"1", folder="sub\\deep", **joins)["path"] == "sub/deep/x.tif"
    assert api.accepted(b"1", folder="a\\b")["path"] == "x.tif", "a label is none"
    for folder in ("..\\x", "\\x", "C:\\x", "a\\..\\..\\x", "\\\\host\\x"):
        assert api.send(b"1", folder=folder, **joins).json()["code"] == "unsafe-path", folder
    assert api.send(b"1", relative_path="a\\x.tif", **joins).json()["code"] == "unsafe-path"


@pytest.mark.parametrize("name", ["Übung (2) 100%.tif", "plain.tif", "a%20b.tif", "a+b c.tif"])
def test_names_as_aiohttp_quotes_them(api: Api, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"pixels")
    found = asyncio.run(upload_file_async(api.url, tmp_path / name, EMAIL, "scan", "TIFF"))
    assert found["path"] == name
    assert api.accepted(b"1", "a%20b.tif")["path"] == "a%20b.tif", "nobody else does"


def test_datasets_where_the_portal_asks_for_them(api: Api) -> None:
    uuid = api.accepted(b"1", user_email="grace@example.org", dataset_name="hers")["dataset_uuid"]
    found = api.http.get("/api/upload/datasets/hers").json()
    assert (found["identifier"], found["resolved_uuid"], found["dataset"]["name"]) == ("hers", uuid, "hers")
    assert isinstance(found["dataset"]["_id"], str)
    assert api.http.get("/api/upload/datasets/nobody's").status_code == 404
    api.database.visstoredatas.update_one(
        {"uuid": uuid}, {"$set": {"shared_with": ["eve@example.org"], "team_uuid": "t", "accesskey": "secret"}}
    )
    api.database.teams.insert_one({"uuid": "t", "team_name": "lab", "owner": "o@example.org", "emails": ["m@b.org"]})
    api.database.user_profile.insert_one({"email": "p@b.org", "team_id": "t"})
    for asked in ({"user_email": "grace@example.org"}, *({"user_id": f"{who}"} for who in (
        "grace@example.org", "eve@example.org", "o@example.org", "m@b.org", "p@b.org",
    ))):  # fmt: skip
        reply = api.http.get("/api/datasets", params=asked)
        assert [one["uuid"] for one in reply.json()["datasets"]] == [uuid], asked
        assert "secret" not in reply.text
    assert api.http.get("/api/datasets", params={"user_id": "n@b.org"}).json()["datasets"] == []
    assert api.http.get("/api/datasets").status_code == 400


@pytest.mark.parametrize("kind", ["upload", "job", "cloud_large"])
def test_a_job_has_the_id_that_was_asked_for(api: Api, kind: str) -> None:
    job = f"{kind}_{api.accepted(b'1')['dataset_uuid']}"
    assert api.http.get(f"/api/upload/status/{job}").json()["job_id"] == job
