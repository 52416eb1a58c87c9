"""A driver that stands still past its lease and goes on changes nothing: at every point between claim and done.

There are two of them, and the clock of one is ten minutes wrong. CHAOS=minute stops one at one of the points, the other
forms at all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pymongo.database import Database

from cluster import head
from cluster.environment import for_child
from cluster.state import State
from converters.verify import verify
from scray.catalog import Catalog
from scray.client import ScrayClient
from scray.crash import FOLDER, POINTS
from scray.reconcile import REAPS_EVERY_LEASES
from scray.storage import data_folders
from tests.chaos.load import PARTS, parts
from tests.chaos.test_kills import database_of
from tests.chaos.witness import Witness
from tests.ray_session import stack_in, until
from tests.trees import tree_digests

ROOT = Path(__file__).parents[2]
FORM = os.environ.get("CHAOS") or "minute"
SOME = ("publish noted",)
LEASE_SECONDS = 6
ROUND_SECONDS = REAPS_EVERY_LEASES * LEASE_SECONDS  # so long may staging stay that its owner did not remove


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


SECOND = """
import sys
import ray
variables = dict(word.split("=") for word in sys.argv[1:])
ray.init(namespace="scray", log_to_driver=False, runtime_env={"env_vars": variables})
from cluster.driver import ensure
ensure("driver-2")
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, faults: Path) -> Iterator[State]:
    """With a second driver whose clock is wrong, and with a watchdog that stands still: nobody ends a driver because it
    does.
    """
    settings = {
        "SCRAY_LEASE_SECONDS": str(LEASE_SECONDS),
        "SCRAY_POLL_SECONDS": "0.2",
        "SCRAY_SETTLE_SECONDS": "0",
        "SCRAY_WORKERS": "2",
        FOLDER: str(faults),
    }
    with stack_in(tmp_path_factory.mktemp("frozen") / "data", **settings) as found:
        environment = head.environment(for_child(found.id, Path(found.settings_file)), Path(found.token_file))
        environment |= {"RAY_ADDRESS": found.ray, "PYTHONPATH": str(ROOT), FOLDER: str(faults)}
        command = [sys.executable, "-c", SECOND, f"PYTHONPATH={ROOT / 'tests' / 'skewed'}:{ROOT}", "SKEW_SECONDS=-600"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        with database_of(found) as database:
            [second] = [one for one in Catalog(database).drivers() if one["name"].startswith("driver-2@")]
        assert "SKEW_SECONDS" in psutil.Process(second["pid"]).environ(), "its clock is right"
        watchdog = psutil.Process(found.children["driver"])
        watchdog.suspend()
        try:
            yield found
        finally:
            watchdog.resume()


def frozen_at(faults: Path, point: str) -> psutil.Process:
    """The driver that stopped there."""
    until(lambda: not (faults / point).exists(), 60, f"a driver at {point!r}")
    until(lambda: bool(list(faults.glob(f"{point}.*"))), 10)
    [taken] = faults.glob(f"{point}.*")
    taken.unlink()
    return psutil.Process(int(taken.suffix[1:]))


@pytest.mark.parametrize("point", SOME if FORM == "minute" else POINTS)
def test_a_driver_stopped_past_its_lease_changes_nothing_when_it_goes_on(
    stack: State, faults: Path, tmp_path: Path, point: str
) -> None:
    data = Path(stack.data)
    with ScrayClient(stack.api) as client, database_of(stack) as database, Witness(data / "converted") as witness:
        fault(faults, point)
        uuid = upload(client, tmp_path, point)
        goes_on_late(database, data, uuid, frozen_at(faults, point), 1)
        until(lambda: witness.read_times[uuid] > 0, 30, "the reader's look")
    assert witness.published[uuid] == 1
    assert witness.redone == []
    assert witness.broken == []


@pytest.mark.skipif(FORM != "long", reason="takes minutes: run `make chaos`")
@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("publish")])
def test_nor_does_it_where_it_stopped_in_replacing_a_result(
    stack: State, faults: Path, tmp_path: Path, point: str
) -> None:
    data = Path(stack.data)
    with ScrayClient(stack.api) as client, database_of(stack) as database, Witness(data / "converted") as witness:
        uuid = upload(client, tmp_path, point)
        client.wait(uuid)
        fault(faults, point)
        again = {"conversion_parameters": {**parts(tmp_path, POINTS.index(point)).parameters, "codec": "fast"}}
        httpx.post(f"{stack.api}/api/v1/datasets/{uuid}/convert", json=again).raise_for_status()
        goes_on_late(database, data, uuid, frozen_at(faults, point), 2)
    assert len(data_folders(data / "converted" / uuid)) == 2 * PARTS, "those of the former result, for its readers"
    assert verify(data / "converted" / uuid) == []
    assert witness.broken == []


def fault(faults: Path, point: str) -> None:
    """The driver that comes there first will stop."""
    (faults / point).write_text(str(int(signal.SIGSTOP)))


def upload(client: ScrayClient, folder: Path, point: str) -> str:
    source = parts(folder, POINTS.index(point))
    form: dict[str, Any] = {
        "sensor": source.sensor,
        "name": point,
        "user_email": "frozen@example.org",
        "publish": "false",
    }
    return client.upload(source.path, parameters=source.parameters, **form).dataset_uuid


def goes_on_late(
    database: Database[dict[str, Any]], data: Path, uuid: str, driver: psutil.Process, times_done: int
) -> None:
    """Another driver ends the dataset; then the stopped one goes on, and changes nothing."""
    rows = database["visstoredatas"]
    done = {"uuid": uuid, "status": "done", "lease": None}
    until(lambda: rows.count_documents(done) == 1, 60, "another driver's end of the dataset")
    result, staging = data / "converted" / uuid, data / "converted" / ".staging" / uuid
    until(lambda: not staging.exists(), ROUND_SECONDS + 30, "the end of its staging")
    row, before = rows.find_one({"uuid": uuid}), tree_digests(result)
    assert driver.status() == psutil.STATUS_STOPPED, "it was ended before it could go on"
    driver.resume()
    until(lambda: not holds(database, driver.pid, uuid), 30, "the frozen driver's knowledge that it lost it")
    assert rows.find_one({"uuid": uuid}) == row
    assert tree_digests(result) == before
    assert not staging.exists()
    assert row is not None
    assert sum(line["to"] == "done" for line in row["audit"]) == times_done


def holds(database: Database[dict[str, Any]], pid: int, uuid: str) -> bool:
    """Whether that driver, by its own word since it goes on, still works on the dataset."""
    beat = next(found for found in Catalog(database).drivers() if found["pid"] == pid)
    return bool(beat["age_seconds"] > LEASE_SECONDS / 2 or uuid in beat["datasets"])
