"""Imports from an object store, and copies to one, against boto3's own parallel download and upload.

The store is OpenStack Swift on the same machine (`.venv-s3`), its object one of parts of 8 MiB. boto3's `download_file`
and `upload_file` have their default TransferConfig (10 threads, parts of 8 MiB); the download ends with an fsync, and
verifies nothing. Ours count from the request, or from `done`, to the row in the database that says the work is
done, with everything flushed, read back and compared with its checksums. What such a request takes with hardly any
bytes (claim, listing, a worker, the database) is measured with an object of 1 MiB.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from bench.measure import keep

SIZE, LITTLE = 1 << 30, 1 << 20
ROUNDS = 3
LIMIT_SECONDS = 600.0
FORM = {"user_email": "bench@example.org", "dataset_name": "objects", "sensor": "OTHER"}


def bench(scratch: Path) -> None:
    from cluster.stack import running
    from scray.settings import Settings
    from scray.sources.bucket import Keys, s3_client
    from tests.swift_server import KEY, SECRET, swift_in

    folder = scratch / "objects"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    source = folder / "object.bin"
    source.write_bytes(os.urandom(LITTLE) * (SIZE // LITTLE))
    with swift_in(folder / "swift") as swift:
        keys = {"access_key_id": KEY, "secret_access_key": SECRET, "endpoint_url": swift.url}
        profile = folder / "profiles"
        profile.write_text(
            f"[publish]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\nendpoint_url={swift.url}\n"
        )
        os.environ |= {
            "SCRAY_ALLOWED_ADDRESSES": "127.0.0.1",
            "SCRAY_S3_PROFILES": str(profile),
            "SCRAY_PUBLISH_URL": "s3://results/lab",
        }
        store = s3_client(Keys(KEY, SECRET, endpoint_url=swift.url), Settings(), trusted=True)
        for bucket in ("samples", "results"):
            store.create_bucket(Bucket=bucket)
        with running(folder / "data") as state:
            little = source.with_name("little.bin")
            little.write_bytes(source.read_bytes()[:LITTLE])
            constants = _round(store, state.api, little, keys)
            rounds = [_round(store, state.api, source, keys) for _ in range(ROUNDS)]
    shutil.rmtree(folder)
    keep(
        "objects",
        {
            "import / boto3's download (want >= 0.8)": statistics.median(r["download"] / r["import"] for r in rounds),
            "copy / boto3's upload (want >= 0.8)": statistics.median(r["upload"] / r["publish"] for r in rounds),
            "seconds": [{name: round(seconds, 1) for name, seconds in r.items()} for r in rounds],
            "seconds of 1 MiB": {name: round(seconds, 2) for name, seconds in constants.items()},
        },
    )


def _round(store: Any, api: str, source: Path, keys: dict[str, str]) -> dict[str, float]:
    """Seconds of each of the four ways to move the same bytes."""
    copy, key = source.with_suffix(".copy"), source.name
    return {
        "upload": _seconds(lambda: store.upload_file(str(source), "samples", key)),
        "download": _seconds(lambda: _download(store, key, copy)),
        "import": _import(api, key, keys),
        "publish": _publish(api, source),
    }


def _download(store: Any, key: str, copy: Path) -> None:
    store.download_file("samples", key, str(copy))
    with copy.open("rb") as file:
        os.fsync(file.fileno())


def _import(api: str, key: str, keys: dict[str, str]) -> float:
    wish = {
        **FORM,
        "source_type": "s3",
        "convert": False,
        "source_config": {"bucket_name": "samples", "object_key": key, **keys},
    }

    def work() -> None:
        reply = httpx.post(f"{api}/api/upload/initiate", json=wish, trust_env=False).raise_for_status().json()
        _await(api, reply["dataset_uuid"], lambda row: row["status"] == "done")

    return _seconds(work)


def _publish(api: str, source: Path) -> float:
    """From `done` to `published`, of a dataset that is kept as it is."""
    with source.open("rb") as file:
        reply = httpx.post(f"{api}/api/upload/upload", data=FORM, files={"file": file}, trust_env=False, timeout=300)
    uuid = reply.raise_for_status().json()["dataset_uuid"]
    os.sync()
    _await(api, uuid, lambda row: row["status"] == "done")
    began = time.perf_counter()
    _await(api, uuid, lambda row: row.get("publication", {}).get("state") == "published")
    return time.perf_counter() - began


def _await(api: str, uuid: str, reached: Callable[[dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not reached(row := _row(api, uuid)):
        if time.monotonic() > deadline or "error" in row["status"] or "failed" in row["status"]:
            raise SystemExit(f"{row['status']}: {row.get('error_message')}")
        time.sleep(0.05)


def _row(api: str, uuid: str) -> dict[str, Any]:
    reply = httpx.get(f"{api}/api/v1/datasets/{uuid}", trust_env=False, timeout=60)
    found: dict[str, Any] = reply.raise_for_status().json()["dataset"]
    return found


def _seconds(work: Callable[[], None]) -> float:
    os.sync()  # what was written before is not waited for here
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
