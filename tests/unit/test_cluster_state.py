"""The stack's own notes: who holds a data folder, and what other versions and other clocks have written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster import stack
from cluster.state import Places, is_held, read_state
from tests.unit.test_full_disk import OWN_MOUNTS, can_mount

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from cluster.state import Places, only_one
with only_one(Places(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path.resolve())
    places.create()
    return places


@pytest.fixture
def holder(places: Places) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the data folder, as a stack does, and has no mark, as one in the foreground."""
    line = [sys.executable, "-c", HOLDER, str(places.data)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def write(places: Places, **values: object) -> None:
    """A state file of another version, with what that one knew besides."""
    known = {"id": "abcd", "phase": "ready", "pid": 2**22 + 1, "data": str(places.data)}
    places.state.write_text(json.dumps({**known, "created": 1.5, "novelty": [1], **values}))


def test_a_stack_is_found_whatever_version_wrote_its_state_and_whatever_the_clock_says(
    places: Places, holder: subprocess.Popen[str]
) -> None:
    write(places, pid=holder.pid)
    assert stack.down(places.data)
    assert not psutil.pid_exists(holder.pid)
    assert not is_held(places)
    assert read_state(places) is None
    assert not stack.down(places.data)


def test_another_process_with_the_number_of_a_former_stack_is_left_alone(places: Places) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        write(places, pid=other.pid)
        assert not stack.down(places.data)
        assert other.poll() is None
        other.kill()


@pytest.mark.slow  # the database is waited for
@pytest.mark.parametrize(("url", "says"), [("mongodb://u:secret@127.0.0.1:1", "refused"), ("mongodb://", "MONGO_URL")])
def test_a_database_that_was_named_and_does_not_answer_is_said_in_a_sentence(
    tmp_path: Path, url: str, says: str
) -> None:
    command = [sys.executable, "-m", "cluster.cli", "up", "--json", "--data", str(tmp_path / "data")]
    environment = {**os.environ, "MONGO_URL": url}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    error = json.loads(done.stdout)["error"]
    assert done.returncode in {1, 2}
    assert says in error["message"]
    assert "MONGO_URL" in error["message"]
    assert "Topology" not in error["message"]
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.skipif(not can_mount(), reason="this kernel gives nobody mounts of his own")
def test_a_disk_that_is_full_is_said_before_anything_is_started(tmp_path: Path) -> None:
    up = f"{sys.executable} -m cluster.cli up --json --data {tmp_path}"
    line = [*OWN_MOUNTS, "sh", "-c", f"mount -t tmpfs -o size=3m none {tmp_path} && {up}"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "are free at" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"id": "abcd"}'])
def test_what_is_no_state_is_none(places: Places, text: str) -> None:
    places.state.write_text(text)
    assert read_state(places) is None
    assert not stack.down(places.data)
