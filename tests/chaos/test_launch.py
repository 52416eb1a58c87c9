"""`ray up cluster.yaml`, with the provider "local", starts Ray on two machines over ssh; `ray down` ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.hosts import LAUNCH_TOOLS, OWN, TOOLS, impossible

ROOT = Path(__file__).parents[2]
SECONDS = 840.0
pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if os.environ.get("CHAOS") != "long":
        pytest.skip("takes minutes: run `make chaos`")
    if reason := impossible((*TOOLS, *LAUNCH_TOOLS)):
        pytest.skip(reason)
    command = [*OWN, sys.executable, "-m", "tests.chaos.launch_work", str(tmp_path_factory.mktemp("launch"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_launcher_brings_up_the_head_and_the_head_its_worker(found: dict[str, Any]) -> None:
    assert found["up"] == 0, found["said"]
    assert found["nodes"] == ["head", "worker"]


def test_the_launcher_ends_ray_on_the_head_and_the_worker_ends_it_after_that(found: dict[str, Any]) -> None:
    assert found["down"] == 0, found["said_down"]
    assert found["still"] == [], found["said_down"]
