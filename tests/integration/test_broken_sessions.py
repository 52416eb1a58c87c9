"""The database fails at the n-th question of a tus upload, one in chunks, one in a form, an import that is asked for,
for every n: what is refused says so, the client goes on, all arrives right, and what it left behind is cleared away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.database import Database

from tests.api_server import FORM, Api, serving, until
from tests.integration.test_tus import BYTES, PLACE, TUS, metadata
from tests.mongo_proxy import FailingDatabase

CONTENT = bytes(range(256)) * 600
CHUNK = 100_000
MOST = 200
TRIES = 8


@dataclass
class Client:
    """Sends to an API whose database fails; what is refused it asks again, by which time the database works."""

    api: Api
    proxy: FailingDatabase
    refused: int = 0

    def insist(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        for _ in range(TRIES):
            reply = ask()
            if reply.is_success:
                return reply
            said = reply.json()["code"] if reply.content else "database"  # HEAD has no body
            assert (reply.status_code, said) == (503, "database"), reply.text
            self.refused += 1
            self.proxy.fails = range(0)
        raise AssertionError(reply.text)


def tus(client: Client, name: str) -> str:
    http = client.api.http
    head = {**TUS, "Upload-Length": str(len(CONTENT)), "Upload-Metadata": metadata(dataset_name=name)}
    url = client.insist(lambda: http.post(PLACE, headers=head)).headers["location"]
    at = 0
    while at < len(CONTENT):
        headers, piece = {**BYTES, "Upload-Offset": str(at)}, CONTENT[at : at + CHUNK]
        reply = http.patch(url, headers=headers, content=piece)
        if not reply.is_success:
            assert (reply.status_code, reply.json()["code"]) == (503, "database"), reply.text
            client.refused += 1
            client.proxy.fails = range(0)
        at = int(client.insist(lambda: http.head(url, headers=TUS)).headers["upload-offset"])
    return dataset_of(client.api, url.rpartition("/")[2])


def chunks(client: Client, name: str) -> str:
    http, digest = client.api.http, hashlib.sha256(CONTENT).hexdigest()
    size = {"filename": "x.tif", "file_size": len(CONTENT), "file_hash": digest, "chunk_size": CHUNK}
    wish = {**FORM, "dataset_name": name, **size}
    begun = client.insist(lambda: http.post("/api/upload/large/initiate", json=wish)).json()
    upload_id = begun["upload_id"]
    for index in client.insist(lambda: http.get(f"/api/upload/large/resume/{upload_id}")).json()["missing_chunks"]:
        piece = CONTENT[index * CHUNK : (index + 1) * CHUNK]
        told, file = {"chunk_hash": hashlib.sha256(piece).hexdigest()}, {"chunk": ("c", piece)}
        client.insist(partial(http.post, f"/api/upload/large/chunk/{upload_id}/{index}", data=told, files=file))
    client.insist(lambda: http.post(f"/api/upload/large/complete/{upload_id}"))
    return str(begun["dataset_uuid"])


def form(client: Client, name: str) -> str:
    """One request; sent again whole."""
    reply = client.insist(lambda: client.api.send(CONTENT, dataset_name=name))
    return dataset_of(client.api, reply.json()["job_id"])


def importing(client: Client, name: str) -> str:
    url = {"source_type": "url", "source_config": {"url": f"https://example.org/{name}.tif?token=secret"}}
    wish, key = {**FORM, "dataset_name": name, **url}, {"Idempotency-Key": name}
    reply = client.insist(lambda: client.api.http.post("/api/upload/initiate", json=wish, headers=key))
    return str(reply.json()["dataset_uuid"])


def dataset_of(api: Api, job_id: str) -> str:
    found = api.database.uploads.find_one({"_id": job_id})
    assert found is not None
    return str(found["dataset_uuid"])


def is_stored(api: Api, uuid: str) -> bool:
    with suppress(FileNotFoundError):
        row = api.row(uuid)
        return not row["open_uploads"] and (api.data / "upload" / uuid / "x.tif").read_bytes() == CONTENT
    return False


def is_queued(api: Api, uuid: str) -> bool:
    row = api.row(uuid)
    return row["status"] == "sync queued" and bool(row["source_sealed"])


def over(api: Api, uuid: str) -> bool:
    """What its client heard nothing of has failed, or is whole: that is no harm, and nobody has to send anything."""
    return api.row(uuid)["status"] == "upload error" or is_queued(api, uuid) or is_stored(api, uuid)


@pytest.mark.parametrize("late", [False, True], ids=["before it arrives", "before it is answered"])
@pytest.mark.parametrize(
    ("send", "arrived"),
    [(tus, is_stored), (chunks, is_stored), (form, is_stored), (importing, is_queued)],
    ids=["tus", "chunks", "form", "import"],
)
def test_whichever_question_breaks_the_client_goes_on_and_nothing_is_left(
    mongo_url: str,
    database: Database[dict[str, Any]],
    tmp_path: Path,
    send: Callable[[Client, str], str],
    arrived: Callable[[Api, str], bool],
    late: bool,
) -> None:
    host, _, rest = mongo_url.removeprefix("mongodb://").partition("/")
    sent: set[str] = set()
    with FailingDatabase(int(host.rpartition(":")[2])) as proxy:
        url = f"mongodb://127.0.0.1:{proxy.port}/{rest}&directConnection=true"
        proxy.late = late
        with serving(url, database, tmp_path, SCRAY_LEASE_SECONDS="3") as api:
            client = Client(api, proxy)
            for number in range(1, MOST):
                proxy.asked, proxy.fails = 0, range(number, number + 1)
                sent.add(send(client, f"d{number}"))
                if proxy.asked < number:
                    break
            assert client.refused
            assert proxy.asked < MOST
            proxy.fails = range(0)
            until(lambda: all(arrived(api, uuid) for uuid in sent), what="what was accepted")
            left = [row["uuid"] for row in api.rows() if row["uuid"] not in sent]
            long_ago = {"$set": {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}}
            database.uploads.update_many({"dataset_uuid": {"$in": left}}, long_ago)
            until(lambda: all(over(api, uuid) for uuid in left), what="the end of what was given up")
            until(lambda: not any(name.startswith(".incoming") for name in api.files()), what="the end of its bytes")
            assert all(arrived(api, uuid) for uuid in sent)
            assert len({api.row(uuid)["name"] for uuid in sent}) == len(sent)
