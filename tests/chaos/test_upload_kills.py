"""The API is killed in the middle of chunks, again and again, while a client sends a file through it."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from scray.client import Manner, ScrayClient, Upload
from scray.sessions import BY_CHUNKS, Sessions, chunk_span
from scray.spans import hash_spans
from tests.api_server import EMAIL, Api, serving, until
from tests.proxy import Proxy

CHUNK = 2_000_000
HEAD_BYTES = 2_000  # of a request: its line and headers


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [100 if os.environ.get("CHAOS") == "long" else 8])
def test_a_file_arrives_whole_when_the_api_is_killed_in_mid_chunk(
    kills: int, mongo_url: str, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    source = tmp_path / "scan.tif"
    size = kills * 3 * CHUNK + 12_345
    source.write_bytes(os.urandom(size))
    done: list[Upload] = []
    with Proxy(1) as proxy:
        sender = threading.Thread(target=lambda: done.append(send(proxy.url, source, tmp_path)))
        sender.start()
        acknowledged: dict[int, str] = {}
        for number in range(kills):
            with serving(mongo_url, database, tmp_path / "data") as api:
                acknowledged = still_there(database, tmp_path / "data", acknowledged)
                kill_in_mid_chunk(api, proxy, number)
        with serving(mongo_url, database, tmp_path / "data") as api:
            proxy.pause_seconds, proxy.target = 0.0, api.port
            sender.join(120)
            assert done, "the client gave up"
            stored = api.data / "upload" / done[0].dataset_uuid / "scan.tif"
            assert digest(stored) == digest(source)
            assert len(acknowledged) > kills // 2, "the kills were spread over the file"
        assert proxy.sent_bytes <= size + kills * CHUNK + 10 * HEAD_BYTES * (kills + size // CHUNK)


def send(url: str, source: Path, folder: Path) -> Upload:
    manner = Manner(connections=1, form_bytes=0, chunk_bytes=CHUNK)
    with ScrayClient(url, manner=manner, state_folder=folder / "state") as client:
        return client.upload(source, sensor="TIFF", name="scan", user_email=EMAIL)


def kill_in_mid_chunk(api: Api, proxy: Proxy, number: int) -> None:
    """Let some chunks through, then kill the server while a chunk is on its way."""
    proxy.pause_seconds, proxy.target = 0.002, api.port
    far = proxy.sent_bytes + random.Random(number).randrange(CHUNK, 3 * CHUNK)
    until(lambda: proxy.sent_bytes > far, 60, "the middle of a chunk")
    api.process.kill()
    api.process.wait()


def still_there(database: Database[dict[str, Any]], data: Path, before: dict[int, str]) -> dict[int, str]:
    """What is acknowledged now: no less than before, and equal to what is on the disk."""
    record = database.uploads.find_one({"session": BY_CHUNKS})
    if record is None:
        return {}
    now = Sessions(database, 60).received(record)
    assert before.items() <= now.items()
    part = data / "upload" / ".incoming" / f"{record['_id']}.part"
    spans = [chunk_span(record, index) for index in now]
    assert dict(zip(now, hash_spans(part, spans), strict=True)) == now
    return now


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
