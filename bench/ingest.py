"""Uploads against the least a server of the same framework can do (bench/plainserver.py), by curl, on one machine.

One raw body at least 85 % of it, a form at least 60 %, eight chunks side by side at least as fast as one, and an API
that does not grow with what it is sent. The median of several rounds: the disk of a shared machine has pauses.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from bench import servers, sources
from bench.measure import keep

SIZE = 1 << 30
LARGE = 10_000_000_000
CHUNKS = 8
ROUNDS = 7
FORM = {"user_email": "bench@example.org", "dataset_name": "upload", "sensor": "OTHER", "convert": "false"}


def bench(scratch: Path) -> None:
    folder = scratch / "ingest"
    shutil.rmtree(folder, ignore_errors=True)
    sources.touch_memory(10 << 30)
    source = _noise(scratch / "ingest.bin")
    with (
        servers.plain(folder / "plain") as plain,
        servers.plain(folder / "null", null=True) as null,
        servers.api(folder / "api") as api,
    ):
        ways: dict[str, Callable[[], float]] = {
            "null": lambda: _plain(null.url, source),
            "plain": lambda: _plain(plain.url, source, folder / "plain/body"),
            "raw": lambda: _chunks(api.url, source, 1),
            "chunks": lambda: _chunks(api.url, source, CHUNKS),
            "form": lambda: _form(api.url, source, folder / "api/datasets"),
        }
        rounds = [_round(ways, number) for number in range(ROUNDS)]
        keep("ingest", _ratios(rounds))
        keep("ingest-memory", {"API grows by MiB over 10 GB (want < 64)": _growth(api, scratch, folder)})
    shutil.rmtree(folder)
    for path in scratch.glob("ingest*"):
        path.unlink()


def _round(ways: dict[str, Callable[[], float]], number: int) -> dict[str, float]:
    """Seconds of each way, forwards and backwards in turn; what others left to the disk is done first."""
    seconds = {}
    for name in list(ways) if number % 2 == 0 else reversed(ways):
        os.sync()
        seconds[name] = ways[name]()
    return seconds


def _ratios(rounds: list[dict[str, float]]) -> dict[str, object]:
    def ratio(of: str, to: str) -> float:
        return statistics.median(r[to] / r[of] for r in rounds)

    def spread(of: str, to: str) -> list[float]:
        return [round(r[to] / r[of], 2) for r in rounds]

    return {
        "one raw body / plain server (want >= 0.85)": ratio("raw", "plain"),
        "form / plain server (want >= 0.6)": ratio("form", "plain"),
        "8 chunks side by side / one body (want >= 1)": ratio("chunks", "raw"),
        "plain server / null sink": ratio("plain", "null"),
        "raw, form, chunks: of every round": [spread("raw", "plain"), spread("form", "plain"), spread("chunks", "raw")],
        "MB/s": {name: round(SIZE / 1e6 / statistics.median(r[name] for r in rounds)) for name in rounds[0]},
    }


# --- ways to send it -----------------------------------------------------------------------------


def _plain(url: str, source: Path, kept: Path | None = None) -> float:
    seconds = _curl("-T", str(source), f"{url}/body")
    if kept:
        kept.unlink()
    return seconds


def _form(url: str, source: Path, kept: Path) -> float:
    fields = [word for name, value in FORM.items() for word in ("-F", f"{name}={value}")]
    began = time.perf_counter()
    reply = subprocess.run(
        ["curl", "-fsS", *fields, "-F", f"file=@{source}", f"{url}/api/upload/upload"], check=True, capture_output=True
    )
    seconds = time.perf_counter() - began
    shutil.rmtree(kept / "upload" / json.loads(reply.stdout)["dataset_uuid"])
    return seconds


def _chunks(url: str, source: Path, count: int) -> float:
    """Seconds of all chunks, each by a curl of its own at the same time; the session is given up afterwards."""
    size = source.stat().st_size
    session = _begin(url, size, -(-size // count))
    parts = [_part(source, n, count) for n in range(count)]
    began = time.perf_counter()
    senders = [
        subprocess.Popen(["curl", "-fsS", "-T", str(part), f"{url}/api/upload/large/chunk/{session}/{n}"],
                         stdout=subprocess.DEVNULL)
        for n, part in enumerate(parts)
    ]  # fmt: skip
    failed = [sender.wait() for sender in senders if sender.wait()]
    seconds = time.perf_counter() - began
    httpx.delete(f"{url}/api/upload/large/cancel/{session}", trust_env=False).raise_for_status()
    if failed:
        raise SystemExit(f"curl ended with {failed}")
    return seconds


def _begin(url: str, size: int, chunk_bytes: int) -> str:
    wish = {**FORM, "filename": "body.bin", "file_size": size, "chunk_size": chunk_bytes, "file_hash": "0" * 64}
    reply = httpx.post(f"{url}/api/upload/large/initiate", json=wish, trust_env=False)
    reply.raise_for_status()
    return str(reply.json()["upload_id"])


def _part(source: Path, number: int, count: int) -> Path:
    """A part of the source as a file of its own, made once."""
    if count == 1:
        return source
    part, size = source.with_suffix(f".{number}"), source.stat().st_size // count
    if not part.exists():
        with source.open("rb") as file, part.open("wb") as out:
            file.seek(number * size)
            out.write(file.read(size))
    return part


def _curl(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run(["curl", "-fsS", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _growth(api: servers.Server, scratch: Path, folder: Path) -> float:
    """MiB of the API's peak over what it held before 10 GB; the file has holes, which the API cannot know."""
    large = scratch / "ingest-large.bin"
    with large.open("wb") as file:
        file.truncate(LARGE)
    before = api.memory_bytes
    _form(api.url, large, folder / "api/datasets")
    return (api.peak_bytes - before) / (1 << 20)


def _noise(path: Path) -> Path:
    with path.open("wb") as file:
        for _ in range(SIZE >> 24):
            file.write(os.urandom(1 << 24))
    return path
