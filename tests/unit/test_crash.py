"""A crash strikes the first process at its point, once; elsewhere and without a fault nothing happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scray.crash import FOLDER, POINTS, reach

PASS_BY = "import sys; from scray.crash import reach; [reach(point) for point in sys.argv[1:]]"


def pass_by(folder: Path, *points: str) -> int:
    command = [sys.executable, "-c", PASS_BY, *points]
    return subprocess.run(command, env={**os.environ, FOLDER: str(folder)}, check=False).returncode


def test_the_first_to_reach_a_point_is_killed_and_the_next_goes_on(tmp_path: Path) -> None:
    (tmp_path / "sealed").touch()
    assert pass_by(tmp_path, "hashed", "planned") == 0
    assert pass_by(tmp_path, "planned", "sealed") == -signal.SIGKILL
    assert pass_by(tmp_path, *POINTS) == 0
    [taken] = tmp_path.iterdir()
    assert taken.name.startswith("sealed.")


def test_without_a_folder_of_faults_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("sealed").touch()
    reach("sealed")
    assert Path("sealed").exists()


def test_every_point_is_reached_by_the_code() -> None:
    root = Path(__file__).parents[2] / "cluster"
    code = "".join(path.read_text() for path in root.glob("*.py"))
    assert [point for point in POINTS if f'reach("{point}")' not in code] == []


def test_a_fault_with_a_number_sends_that_signal(tmp_path: Path) -> None:
    (tmp_path / "sealed").write_text(str(int(signal.SIGTERM)))
    assert pass_by(tmp_path, "sealed") == -signal.SIGTERM
