"""The driver is replaced when its code is older or its heartbeat stops, and gives its work back first where it can."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster import head
from cluster.state import State
from converters.verify import verify
from scray.client import ScrayClient
from tests.acceptance.test_spine import PARTS, drivers, finished_bricks, many, result_of, send, staging_of
from tests.ray_session import until

ROOT = Path(__file__).parents[2]
SUBMIT = """
import ray, sys
ray.init(namespace="scray", runtime_env={"working_dir": "."}, log_to_driver=False)
from cluster.driver import ensure
print(ensure())
"""


def alive(stack: State) -> dict[str, Any]:
    return next(one for one in drivers(stack) if one["alive"])


def begin(stack: State, client: ScrayClient, folder: Path, seed: int) -> tuple[str, Path, dict[str, tuple[int, int]]]:
    """A conversion in the middle: its dataset, its source, and the bricks that are finished."""
    path, names = many(folder, seed)
    uuid = send(client, path, "HDF5", dataset=names, codec="small")
    staging = staging_of(stack, uuid)
    until(lambda: len(finished_bricks(staging)) >= 5, 60, "the fifth brick")
    return uuid, path, finished_bricks(staging)


def check(stack: State, client: ScrayClient, uuid: str, path: Path, before: dict[str, tuple[int, int]]) -> None:
    """It ends well, and what was finished was not made again."""
    assert len(before) < PARTS, "the conversion was over too early"
    assert client.wait(uuid, 120)["status"] == "done"
    result = result_of(stack, uuid)
    after = {name: ((result / name).stat().st_ino, (result / name).stat().st_mtime_ns) for name in before}
    assert after == before
    assert verify(result, path) == []
    assert client.dataset(uuid)["attempt"] == 0


def test_a_driver_that_hangs_is_replaced(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    uuid, path, before = begin(stack, client, tmp_path, 3)
    hanging = alive(stack)
    os.kill(hanging["pid"], signal.SIGSTOP)
    try:
        until(
            lambda: any(one["alive"] and one["pid"] != hanging["pid"] for one in drivers(stack)), 60, "another driver"
        )
        check(stack, client, uuid, path, before)
    finally:
        if Path(f"/proc/{hanging['pid']}").exists():
            os.kill(hanging["pid"], signal.SIGKILL)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The same code, one line longer."""
    folder = tmp_path / "newer"
    for package in ("scray", "converters", "cluster", "api"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "cluster" / "version.py").open("a") as file:
        file.write("# newer\n")
    return folder


def test_newer_code_takes_over_what_is_under_way(
    stack: State, client: ScrayClient, tmp_path: Path, newer: Path
) -> None:
    uuid, path, before = begin(stack, client, tmp_path, 4)
    old = alive(stack)
    environment = head.environment(dict(os.environ), Path(stack.token_file))
    environment |= {"RAY_ADDRESS": stack.ray, "SCRAY_ENV_FILE": stack.settings_file, "PYTHONPATH": str(newer)}
    command = [sys.executable, "-c", SUBMIT]
    done = subprocess.run(command, cwd=newer, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == old["owner"]
    until(lambda: alive(stack)["version"] != old["version"], 30, "the heartbeat of the newer driver")
    check(stack, client, uuid, path, before)
