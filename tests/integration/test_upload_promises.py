"""What a sender may promise of a body, repeat, and store: digests, idempotency keys, quotas."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api_server import FORM, Api

CONTENT = b"pixels" * 1000
API_SETTINGS = {"SCRAY_QUOTA_BYTES": "100kB", "SCRAY_QUOTA_UPLOADS": "3"}


def somebody() -> str:
    return f"{uuid4().hex[:8]}@example.org"


def request(api: Api, route: str = "/api/upload/upload", **headers: str) -> httpx.Request:
    form = {**FORM, "user_email": somebody()}
    return api.http.build_request("POST", route, data=form, files={"file": ("x.tif", CONTENT)}, headers=headers)


def digest(body: bytes, algorithm: str = "sha256", name: str = "sha-256") -> str:
    return f"{name}=:{base64.b64encode(hashlib.new(algorithm, body).digest()).decode()}:"


@pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize("route", ["/api/upload/upload", "/api/upload/local/upload"])
def test_a_body_is_what_its_digest_promises(api: Api, route: str, header: str) -> None:
    asked = request(api, route)
    body = asked.read()
    for promise in (digest(body), digest(body, "sha512", "sha-512"), f"md5=:AAAA:, {digest(body)}"):
        asked.headers[header] = promise
        assert api.http.send(asked).status_code == 200
    rows = len(api.rows())
    asked.headers[header] = digest(body + b"1")
    wrong = api.http.send(asked)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "digest-mismatch")
    asked.headers[header] = "sha-256=nonsense"
    assert api.http.send(asked).status_code == 400
    assert {row["status"] for row in api.rows()[rows:]} <= {"upload error"}
    assert not any(name.startswith(".incoming") for name in api.files())


def test_a_chunk_is_what_its_digest_promises(api: Api) -> None:
    asked = {**FORM, "user_email": somebody(), "filename": "x", "file_size": 6000, "file_hash": "0" * 64}
    upload_id = api.http.post("/api/upload/large/initiate", json=asked).json()["upload_id"]
    path = f"/api/upload/large/chunk/{upload_id}/0"
    assert api.http.put(path, content=CONTENT, headers={"Content-Digest": digest(b"")}).status_code == 400
    assert api.http.put(path, content=CONTENT, headers={"Content-Digest": digest(CONTENT)}).status_code == 200


def test_a_repeated_upload_is_carried_out_once(api: Api) -> None:
    asked = request(api, **{"Idempotency-Key": str(uuid4())})
    asked.read()
    rows = len(api.rows())
    first = api.http.send(asked)
    assert first.status_code == 200
    assert api.http.send(asked).json() == first.json()
    assert len(api.rows()) == rows + 1
    other = request(api, **{"Idempotency-Key": str(uuid4())})
    other.read()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: api.http.send(other), range(8)))
    assert {reply.status_code for reply in replies} <= {200, 409}
    assert len({reply.json()["job_id"] for reply in replies if reply.status_code == 200}) == 1
    assert len(api.rows()) == rows + 2


def test_a_failed_upload_does_not_keep_its_key(api: Api) -> None:
    asked = request(api, **{"Idempotency-Key": str(uuid4())})
    body = asked.read()
    asked.headers["Content-Digest"] = digest(b"")
    assert api.http.send(asked).status_code == 400
    asked.headers["Content-Digest"] = digest(body)
    assert api.http.send(asked).status_code == 200


def test_a_repeated_session_is_the_same(api: Api) -> None:
    asked = {**FORM, "user_email": somebody(), "filename": "x", "file_size": 6000, "file_hash": "0" * 64}
    key = {"Idempotency-Key": str(uuid4())}
    replies = [api.http.post("/api/upload/large/initiate", json=asked, headers=key) for _ in range(2)]
    assert replies[0].json() == replies[1].json()
    assert (
        api.http.post("/api/upload/large/initiate", json=asked, headers={"Idempotency-Key": "k" * 256}).status_code
        == 422
    )


def test_a_repeated_import_is_carried_out_once(api: Api) -> None:
    """Each route has its own keys, as has each user; what is added to a dataset is added once, too."""
    source = {"source_type": "s3", "source_config": {"bucket_name": "b", "object_key": "x", "anonymous": True}}
    asked, key = {**FORM, "user_email": somebody(), **source}, {"Idempotency-Key": str(uuid4())}
    rows = len(api.rows())

    def send(route: str, **fields: Any) -> httpx.Response:
        return api.http.post(f"/api/upload/{route}", json={**asked, **fields}, headers=key)

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: send("initiate"), range(8)))
    first = replies[0].json()
    assert [reply.json() for reply in replies] == [first] * 8
    assert len(api.rows()) == rows + 1
    others = [send("cloud/large"), send("cloud/large"), send("initiate", user_email=somebody())]
    assert len({first["dataset_uuid"], *(reply.json()["dataset_uuid"] for reply in others)}) == 3
    named = {"dataset_identifier": str(uuid4())}
    assert send("initiate", **named).json() == send("initiate", **named).json()
    assert api.http.post("/api/upload/initiate", json={**asked, **named}).status_code == 409, "no key, no repetition"
    added = {"dataset_identifier": first["dataset_uuid"], "add_to_existing": True}
    api.database.visstoredatas.update_one({"uuid": first["dataset_uuid"]}, {"$set": {"status": "done"}})
    key["Idempotency-Key"] = str(uuid4())
    assert send("initiate", **added).json() == send("initiate", **added).json()
    api.database.visstoredatas.update_one({"uuid": first["dataset_uuid"]}, {"$set": {"status": "done"}})
    assert send("initiate", **added).status_code == 200
    assert api.row(first["dataset_uuid"])["status"] == "done", "what was added is not fetched again"


def test_a_user_may_not_store_more_than_the_quota(api: Api) -> None:
    user = somebody()
    assert api.send(b"1" * 90_000, "a.tif", user_email=user).status_code == 200
    refused = api.send(b"1" * 20_000, "b.tif", user_email=user)
    assert (refused.status_code, refused.json()["code"]) == (507, "quota-exceeded")
    assert api.send(b"1" * 20_000, "b.tif", user_email=somebody()).status_code == 200


def test_a_user_may_not_send_too_many_files_at_a_time(api: Api) -> None:
    asked = {**FORM, "user_email": somebody(), "filename": "x", "file_size": 6000, "file_hash": "0" * 64}
    codes = [api.http.post("/api/upload/large/initiate", json=asked).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 507]
