"""A node that does not see the storage is left out, for a while; nodes that are said to be near it go before others."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from cluster import copying, flights, nodes, syncing
from cluster.executor import TASKS_PER_CPU, RayExecutor
from cluster.nodes import NEAR, NODE_LABEL, SWEPT_SECONDS, Beacon, Nodes
from scray.errors import StorageMissing, Unsealed, WorkerLost
from scray.retry import Verdict, judge
from scray.storage import Storage

OWNER = "driver@host-abcdef"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    found = Storage(*(tmp_path / name for name in ("upload", "converted", "sync", "auth", "tmp", "logs")))
    found.create()
    return found


def cluster(**resources: dict[str, float]) -> list[dict[str, Any]]:
    """What Ray would say of living nodes with these resources."""
    return [
        {"NodeID": name, "NodeManagerHostname": f"host-{name}", "Alive": True, "Resources": has}
        for name, has in resources.items()
    ]


def test_a_node_with_the_storage_sees_the_beacon_and_leaves_a_note(storage: Storage) -> None:
    Beacon.light(storage, OWNER).see("f" * 56)
    assert [path.name for path in (storage.converted / ".nodes").glob("*-ffffffff")]


def test_what_nodes_that_are_gone_left_is_swept_away_after_a_day(storage: Storage) -> None:
    beacon = Beacon.light(storage, OWNER)
    beacon.see("f" * 56)
    beacon.leave_word("1", "too long")
    folders = [root / ".nodes" for root in (storage.upload, storage.converted)]
    for folder in folders:
        (folder / f".{OWNER}.0123.tmp").touch()
    before = sorted(path for folder in folders for path in folder.iterdir())
    beacon.sweep()
    assert sorted(path for folder in folders for path in folder.iterdir()) == before, "of today"
    for path in before:
        os.utime(path, (time.time() - 2 * SWEPT_SECONDS,) * 2)
    beacon.sweep()
    assert [path.name for folder in folders for path in folder.iterdir()] == [OWNER, OWNER]


@pytest.mark.parametrize("root", ["upload", "converted"])
def test_a_node_without_one_of_the_folders_says_so(storage: Storage, root: str) -> None:
    beacon = Beacon.light(storage, OWNER)
    (getattr(storage, root) / ".nodes" / OWNER).unlink()
    with pytest.raises(StorageMissing, match="does not see") as caught:
        beacon.see("n1")
    assert pickle.loads(pickle.dumps(caught.value)).node == "n1"


def test_another_storage_under_the_same_path_is_not_the_storage(storage: Storage) -> None:
    beacon = Beacon.light(storage, OWNER)
    Beacon.light(storage, OWNER)
    with pytest.raises(StorageMissing, match="another storage"):
        beacon.see("n1")


def test_a_node_that_was_left_out_gets_no_tasks_until_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Nodes(lambda: cluster(a={"CPU": 1.0}, b={"CPU": 1.0}, c={}))
    assert found.placement() == {}
    assert found.leave_out("b", "host-b does not see it.")
    assert found.placement() == {"label_selector": {NODE_LABEL: "!in(b)"}}
    assert found.left_out() == {"b": "host-b does not see it."}
    assert [node["NodeID"] for node in found.usable()] == ["a"]
    monkeypatch.setattr(nodes, "AGAIN_SECONDS", -1.0)
    assert found.leave_out("b", "Again.")
    assert found.placement() == {}


def test_where_no_node_is_left_a_task_goes_anywhere_and_its_error_waits_for_better_times() -> None:
    found = Nodes(lambda: cluster(a={"CPU": 1.0}, c={}))
    assert not found.leave_out("a", "No storage.")
    assert found.placement() == {}
    assert judge(StorageMissing()) is judge(Unsealed()) is Verdict.WAIT


def test_nodes_that_are_near_the_storage_get_all_tasks() -> None:
    found = Nodes(lambda: cluster(a={"CPU": 1.0}, b={"CPU": 1.0, NEAR: 1.0}))
    assert found.placement() == {"resources": {NEAR: nodes.NEAR_SHARE}}
    assert [node["NodeID"] for node in found.usable()] == ["b"]
    assert not found.leave_out("b", "No storage.")


def test_a_word_that_a_worker_leaves_is_taken_once(storage: Storage) -> None:
    found = Nodes(list)
    assert found.take_word("t1") == ""
    found.beacon = Beacon.light(storage, OWNER)
    assert found.take_word("t1") == ""
    found.beacon.leave_word("t1", "It took too long.")
    assert found.take_word("t2") == ""
    assert [found.take_word("t1"), found.take_word("t1")] == ["It took too long.", ""]


def test_while_no_node_takes_tasks_nothing_is_said_to_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "NODES", Nodes(lambda: cluster(a={"memory": 9.0})))
    with pytest.raises(WorkerLost):
        flights.largest_node_bytes()
    monkeypatch.setattr(flights, "NODES", Nodes(lambda: cluster(a={"memory": 9.0}, b={"CPU": 1.0, "memory": 7.0})))
    assert flights.largest_node_bytes() == 7


def test_the_window_of_a_dataset_in_work_follows_the_usable_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    living = cluster(a={"CPU": 4.0})
    found = Nodes(lambda: living)
    for module in (flights, copying, syncing):
        monkeypatch.setattr(module, "NODES", found)
    monkeypatch.setattr(nodes, "LOOK_SECONDS", -1.0)
    executor = RayExecutor()
    try:
        groups = syncing.share(range(200), syncing.at_once)
        assert (executor.window, copying.at_once(), len(next(groups))) == (4 * TASKS_PER_CPU, copying.AT_ONCE, 32)
        living += cluster(b={"CPU": 8.0}, head={})
        assert (executor.window, copying.at_once()) == (12 * TASKS_PER_CPU, 2 * copying.AT_ONCE)
        living += [node for n in range(6) for node in cluster(**{f"c{n}": {"CPU": 1.0}})]
        assert (syncing.at_once(), len(next(groups))) == (8, 25)
        del living[-6:]
        found.leave_out("a", "No storage.")
        assert (executor.window, flights.two_a_cpu()) == (8 * TASKS_PER_CPU, 16)
        living.clear()
        assert executor.window == TASKS_PER_CPU, "one that joins gets work at once"
        assert (copying.at_once(), syncing.at_once()) == (copying.AT_ONCE, 1)
    finally:
        executor.close()
