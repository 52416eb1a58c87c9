"""A dataset that kills the process that reads it, every time, ends with its code after its tries and slows nobody.

It is of a format that a copy of the code knows besides the others: what a driver of that copy is asked to read.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cluster import head
from cluster.flights import ATTEMPTS
from cluster.state import State
from converters.verify import verify
from scray.client import ScrayClient
from tests.acceptance.test_driver import ROOT, SUBMIT, alive
from tests.acceptance.test_spine import SAMPLES, result_of, send, staging_of
from tests.ray_session import until

FORMAT = """
import ctypes, os, signal
from converters.volume import Reader, Source, Volume, roles_for

SHAPE = (64, 256, 256)

def probe(root, files, parameters):
    [name] = files
    act = (root / name).read_text().split()[1]
    ACTS.get(f"{act} probe", int)()
    volume = Volume("poison", files, name, "poison", "", SHAPE, ("z", "y", "x"), roles_for(SHAPE), "uint8", "|u1",
                    (1, 256, 256), False, options={"act": act})
    return Source("poison", (volume,))

class PoisonReader(Reader):
    def read_source(self, box):
        ACTS[self.volume.options["act"]]()

    def close(self):
        pass

ACTS = {
    "signal": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(0),
    "early probe": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "worker": lambda: os.kill(os.getppid(), signal.SIGKILL),
}
open_volume = PoisonReader
"""
KNOWN = 'KINDS["poison"] = Kind("poison", (b"POISON",), "poison")\n'
GOOD = ("img3d.tif", "tooth.h5", "uwnd_mean.nc")
Submit = Callable[..., None]


@pytest.fixture(scope="module")
def submit(stack: State, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Submit]:
    """Have the driver replaced by one that knows the format, with these settings; afterwards all is as before."""
    former = copy(tmp_path_factory.mktemp("as before"))

    def run(folder: Path, variables: dict[str, str]) -> None:
        environment = head.environment(dict(os.environ), Path(stack.token_file))
        environment |= {"RAY_ADDRESS": stack.ray, "SCRAY_ENV_FILE": stack.settings_file, "PYTHONPATH": str(folder)}
        code = SUBMIT.replace('"working_dir": "."', f'"working_dir": ".", "env_vars": {variables!r}')
        command = [sys.executable, "-c", code]
        before = alive(stack)["pid"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        until(lambda: alive(stack)["pid"] != before, 30, "the heartbeat of the other driver")

    def replaced(**variables: str) -> None:
        folder = copy(tmp_path_factory.mktemp("poisoned"))
        with (folder / "converters" / "kinds.py").open("a") as file:
            file.write(f"{KNOWN}# {variables}\n")
        (folder / "converters" / "poison.py").write_text(FORMAT)
        run(folder, variables)

    yield replaced
    run(former, {})


def copy(folder: Path) -> Path:
    for package in ("scray", "converters", "cluster", "api"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def poison(client: ScrayClient, folder: Path, act: str) -> str:
    path = folder / f"{act}.dat"
    path.write_text(f"POISON {act}")
    return send(client, path, "OTHER")


def good_ones_finish(stack: State, client: ScrayClient, uuids: list[str]) -> None:
    for uuid, name in zip(uuids, GOOD, strict=True):
        assert client.wait(uuid, 90)["status"] == "done"
        assert client.dataset(uuid)["attempt"] == 0
        assert verify(result_of(stack, uuid), SAMPLES / name) == []


def events(client: ScrayClient, uuid: str, action: str) -> list[dict[str, Any]]:
    return [event for event in client.logs(uuid)["events"] if event["action"] == action]


def nothing_is_left(stack: State, uuid: str) -> None:
    assert not result_of(stack, uuid).exists()
    assert not staging_of(stack, uuid).exists()


def test_what_ends_its_reader_is_to_blame_for_it_and_the_others_finish(
    stack: State, client: ScrayClient, tmp_path: Path, submit: Submit
) -> None:
    submit()
    bad = [poison(client, tmp_path, act) for act in ("signal", "segfault", "exit", "early")]
    good = [send(client, SAMPLES / name, "OTHER") for name in GOOD]
    good_ones_finish(stack, client, good)
    for uuid in bad:
        found = client.wait(uuid, 60)
        assert (found["status"], found["error_code"]) == ("conversion failed", "reader-crashed")
        assert found["error_message"].startswith("Reading the file ended its process (")
        assert len(events(client, uuid, "claimed")) == 1, "it is not tried by one driver after the other"
        died = events(client, uuid, "task-died")
        assert died, "its second try"
        assert all(event["message"].startswith(f"Its reader on {platform.node()}, process ") for event in died)
        assert all(found["error_message"].split(" (")[0] in event["message"] for event in died)
        assert len({event["task"] for event in died}) == len(died), "one rest for each"
        assert uuid != bad[-1] or [event["task"] for event in died] == ["prepare"]
        nothing_is_left(stack, uuid)


def test_what_ends_its_worker_rests_between_its_tries_and_the_others_finish_meanwhile(
    stack: State, client: ScrayClient, tmp_path: Path, submit: Submit
) -> None:
    submit(SCRAY_SANDBOX="off")  # a sealed reader reaches no other process
    bad = poison(client, tmp_path, "worker")
    good = [send(client, SAMPLES / name, "OTHER") for name in GOOD]
    good_ones_finish(stack, client, good)
    found = client.wait(bad, 60)
    assert (found["status"], found["error_code"]) == ("conversion failed", "poison-brick")
    [failed] = events(client, bad, "failed")
    deaths: dict[str, list[datetime]] = {}
    for event in events(client, bad, "task-died"):
        assert event["message"].startswith(f"Its worker on {platform.node()}, process ")
        deaths.setdefault(event["task"], []).append(datetime.fromisoformat(event["time"]))
    times = next(times for task, times in deaths.items() if task in found["error_message"])
    assert len(times) == ATTEMPTS - 1
    assert (times[1] - times[0]).total_seconds() > 0.5
    assert (datetime.fromisoformat(failed["time"]) - times[1]).total_seconds() > 1.0
    nothing_is_left(stack, bad)
