"""A disk that gets full at the n-th page or the n-th file of an upload or an import, for every n: it has arrived and is
right, or it was refused with the reason, has left nothing under its name, and goes on when there is room again.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from tests.api_server import ROOT
from tests.unit.test_full_disk import OWN_MOUNTS, can_mount

pytestmark = pytest.mark.skipif(not can_mount(), reason="this kernel gives nobody mounts of his own")


def lines(*command: object) -> list[dict[str, Any]]:
    line = [*OWN_MOUNTS, sys.executable, "-m", *map(str, command)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("way", "kind", "least"),
    [("form", "pages", 10), ("form", "files", 1), ("tus", "pages", 10), ("tus", "files", 1), ("chunks", "files", 1)],
)
def test_wherever_the_disk_gets_full_an_upload_has_arrived_or_left_nothing(
    mongo_url: str, database: Database[dict[str, Any]], tmp_path: Path, way: str, kind: str, least: int
) -> None:
    *failed, last = lines("tests.upload_filler", way, kind, mongo_url, database.name, tmp_path)
    assert len(failed) >= least, "the disk was hardly ever full"
    assert {(one["status"], one["code"], one["left"], *one["open"]) for one in failed} == {(507, "disk-full", 0)}
    assert last["status"] < 300
    assert {(one["again"] < 300, *one["stored"]) for one in (*failed, last)} == {(True, True)}


@pytest.mark.parametrize(("kind", "least"), [("pages", 15), ("files", 8)])
def test_wherever_the_disk_is_full_an_import_goes_on_there(tmp_path: Path, kind: str, least: int) -> None:
    source, disk = tmp_path / "source", tmp_path / "disk"
    (source / "more").mkdir(parents=True)
    for name, size in (("a.tif", 40_000), ("b.tif", 1), ("more/c.tif", 12_345)):
        (source / name).write_bytes(random.Random(name).randbytes(size))
    *failed, last = lines("tests.import_filler", kind, source, disk)
    assert len(failed) >= least, "the disk was hardly ever full"
    assert [one for one in failed if one["error"] != ["wait", "no-space"]] == []
    assert last["error"] is None
    assert [one for one in (*failed, last) if one["again"] or not one["whole"] or not one["same"]] == []
