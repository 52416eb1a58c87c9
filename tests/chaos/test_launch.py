"""`ray up cluster.yaml`, with the provider "local", starts Ray on two machines over ssh."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.hosts import OWN, impossible

ROOT = Path(__file__).parents[2]
SECONDS = 840.0
pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if os.environ.get("CHAOS") != "long":
        pytest.skip("takes minutes: run `make chaos`")
    missing = [tool for tool in ("/usr/sbin/sshd", "ssh", "rsync") if shutil.which(tool) is None]
    if reason := impossible() or ("" if not missing else f"there is no {' and no '.join(missing)}"):
        pytest.skip(f"no machines to launch on: {reason}")
    command = [*OWN, sys.executable, "-m", "tests.chaos.launch_work", str(tmp_path_factory.mktemp("launch"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_launcher_brings_up_the_head_and_the_head_its_worker(found: dict[str, Any]) -> None:
    assert found["up"] == 0, found["said"]
    assert found["nodes"] == ["head", "worker"]
