"""Several nodes: one dataset is spread over all that see the storage, and the loss of the head costs only time.

CHAOS=long takes four nodes, else two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.hosts import OWN, impossible

ROOT = Path(__file__).parents[2]
WORKERS = 3 if os.environ.get("CHAOS") == "long" else 1
GOOD = ["head", *(f"worker{i}" for i in range(1, WORKERS + 1))]
SECONDS = 540.0
pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="module", params=[WORKERS + 1], ids="{}-nodes".format)
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if reason := impossible():
        pytest.skip(reason)
    command = [*OWN, sys.executable, "-m", "tests.chaos.node_work", str(tmp_path_factory.mktemp("nodes")), str(WORKERS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_one_dataset_is_spread_over_all_nodes_and_is_what_a_loop_makes_of_it(found: dict[str, Any]) -> None:
    assert found["hosts"] == GOOD
    assert found["same"]
    assert found["differences"] == []


def test_a_node_without_the_storage_is_left_out_and_everything_finishes(found: dict[str, Any]) -> None:
    assert found["status"] == "done"
    assert found["noted"] == GOOD


def test_the_doctor_names_the_ports_that_another_machine_reaches_and_no_others(found: dict[str, Any]) -> None:
    assert len(found["listening"]) > len(found["reached"]) > 3
    assert found["wrong"] == {}


def test_a_head_that_loses_its_power_costs_only_time(found: dict[str, Any]) -> None:
    assert found["status"] == "done"
    assert found["done_before"] >= len(GOOD)
    assert found["done_again"] == 0
    assert found["attempt"] == 0
