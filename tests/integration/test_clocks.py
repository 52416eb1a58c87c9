"""A driver whose clock is ten minutes wrong neither loses its datasets nor takes others: the server's clock counts."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from scray.queue import Queue

ROOT = Path(__file__).parents[2]
SKEWED = ROOT / "tests" / "skewed"
LEASE_SECONDS = 30.0
CLOCK_FREE = ("queue", "rows", "change", "order", "reconcile", "retry", "catalog", "sessions", "orders")
WRONG = """
import sys, time
from datetime import UTC, datetime
from pymongo import MongoClient
from scray.queue import Queue
queue = Queue(MongoClient(sys.argv[1], tz_aware=True)[sys.argv[2]], lease_seconds=30.0)
print(round((datetime.now(UTC) - queue.now()).total_seconds(), -1))
print(queue.expire())
mine = queue.claim("wrong")
print(mine.uuid, queue.claim("wrong"))
print(queue.renew(mine))
"""


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_is_wrong_has_no_effect(mongo_url: str, database: Database[dict[str, Any]], minutes: int) -> None:
    queue = Queue(database, lease_seconds=LEASE_SECONDS)
    for uuid in ("a", "b"):
        queue.add({"uuid": uuid, "status": "conversion queued"})
    held = queue.claim("right")
    assert held is not None
    environment = os.environ | {"PYTHONPATH": f"{SKEWED}:{ROOT}", "SKEW_SECONDS": str(60 * minutes)}
    command = [sys.executable, "-c", WRONG, mongo_url, database.name]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(60.0 * minutes), "[]", "b None", "True"]
    assert queue.expire() == []
    assert queue.renew(held)


@pytest.mark.parametrize("name", CLOCK_FREE)
def test_nothing_of_the_queue_asks_this_machine_for_the_time(name: str) -> None:
    calls = [
        node for node in ast.walk(ast.parse((ROOT / "scray" / f"{name}.py").read_text())) if isinstance(node, ast.Call)
    ]
    asked = {ast.unparse(call.func) for call in calls}
    assert asked.isdisjoint({"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"})
