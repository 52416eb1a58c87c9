"""The records of an upload of 10 TiB, 104,858 chunks: what one more costs, and how soon `resume` answers.

All but the last chunks are recorded at once; the last come in random order, each with the questions that its request
asks of the database.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path
from random import Random
from typing import Any

import httpx

from bench import servers
from bench.measure import keep
from scray.database import connect
from scray.sessions import BY_CHUNKS, CHUNKS, PAGE_CHUNKS, Sessions
from scray.settings import Settings
from scray.spans import CHUNK_BYTES
from scray.uploads import Uploads

SIZE = 10 << 40
TOTAL = -(-SIZE // CHUNK_BYTES)
TIMED = 5_000
ASKED = 9
MISSING = 100
ID = "large_upload_0_bench"


def bench(scratch: Path) -> None:
    folder = scratch / "sessions"
    shutil.rmtree(folder, ignore_errors=True)
    order = Random(1).sample(range(TOTAL), TOTAL)[MISSING:]
    with servers.api(folder) as api:
        database = connect(api.mongo_url, Settings().db_name)
        sessions = _begin(database)
        _fill(database, order[TIMED:])
        chunks = [_record(sessions, index) for index in order[:TIMED]]
        answers = [_resume(api.url) for _ in range(ASKED)]
    shutil.rmtree(folder)
    keep(
        "sessions",
        {
            "chunks of the session": TOTAL,
            "mean milliseconds a chunk (want < 5)": 1000 * statistics.fmean(chunks),
            "median milliseconds a chunk": 1000 * statistics.median(chunks),
            "99 of 100 chunks within, milliseconds": 1000 * statistics.quantiles(chunks, n=100)[98],
            "slowest seconds of resume (want < 1)": max(answers),
            "median seconds of resume": statistics.median(answers),
        },
    )


def _begin(database: Any) -> Sessions:
    sessions, uploads = Sessions(database, Settings().session_seconds), Uploads(database, "bench")
    values = {"chunk_bytes": CHUNK_BYTES, "total_chunks": TOTAL, "file_hash": None}
    file = {"dataset_uuid": "bench", "user": "bench", "filename": "x", "path": "x", "settle_seconds": 0.0}
    record = {**file, "expected_bytes": SIZE, **sessions.begun(BY_CHUNKS, values)}
    uploads.open(ID, record, lasting=True)
    return sessions


def _fill(database: Any, indexes: list[int]) -> None:
    pages: dict[int, dict[str, bytes]] = {}
    for index in indexes:
        pages.setdefault(index // PAGE_CHUNKS, {})[str(index)] = os.urandom(32)
    database[CHUNKS].insert_many([{"_id": f"{ID}:{page}", "got": got} for page, got in pages.items()])


def _record(sessions: Sessions, index: int) -> float:
    """Seconds of all that a chunk asks of the database: at its beginning, and when it is flushed."""
    began = time.perf_counter()
    record = sessions.get(ID)
    sessions.chunk(ID, index)
    if sessions.record_chunk(record, index, os.urandom(32).hex(), CHUNK_BYTES) is None:
        raise SystemExit("the session is over")
    return time.perf_counter() - began


def _resume(url: str) -> float:
    began = time.perf_counter()
    reply = httpx.get(f"{url}/api/upload/large/resume/{ID}", trust_env=False, timeout=60).raise_for_status().json()
    if len(reply["missing_chunks"]) != MISSING:
        raise SystemExit(f"{len(reply['missing_chunks'])} chunks are missing")
    return time.perf_counter() - began
