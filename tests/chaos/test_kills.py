"""Everything is killed, again and again, while datasets are converted: each is converted once, correctly, finished
work is kept, and nothing stays behind. CHAOS=minute (what `make test` runs), short or long says how much of it.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pymongo.database import Database

from cluster import head
from cluster.children import MARK, marked
from cluster.environment import for_child
from cluster.state import State
from scray.catalog import Catalog
from scray.client import ScrayClient
from scray.crash import FOLDER, POINTS
from scray.database import connect
from scray.settings import Settings
from tests.chaos.killer import Killer, Node, Orders
from tests.chaos.load import Source, mixed, serial_digests
from tests.chaos.witness import Witness
from tests.ray_session import stack_in, until
from tests.trees import tree_digests

GIB, MIB = 1 << 30, 1 << 20
LEASE_SECONDS = 6
REDONE = 0.05  # of all bricks, at most
AHEAD = 4  # so many datasets are sent before anything has died
Idle = Callable[[], bool]


@dataclass(frozen=True)
class Form:
    datasets: int
    big_bytes: int
    orders: Orders
    seconds: float


FORMS = {
    "minute": Form(
        5,
        64 * MIB,
        Orders(workers=6, drivers=1, databases=1, nodes=0, points=("claimed", "performed", "publish renamed")),
        150,
    ),
    "short": Form(8, 256 * MIB, Orders(workers=30, drivers=4, databases=3, nodes=2), 480),
    "long": Form(50, 8 * GIB, Orders(workers=300, drivers=40, databases=30, nodes=20), 6600),
}


@dataclass
class Sent:
    uuid: str
    source: Source


def numbered(form: Form) -> str:
    """What a form kills, for the name of its test."""
    orders = form.orders
    drivers = orders.drivers + len(orders.points)
    return f"{orders.workers}-workers-{drivers}-drivers-{orders.databases}-databases-{orders.nodes}-nodes"


@pytest.fixture(scope="module", params=[FORMS[os.environ.get("CHAOS") or "minute"]], ids=numbered)
def form(request: pytest.FixtureRequest) -> Form:
    found: Form = request.param
    return found


@pytest.fixture(scope="module")
def seed() -> int:
    return int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)


@contextmanager
def further_node(stack: State, log: Path, wanted: int) -> Iterator[Node | None]:
    """A second Ray node, where nodes are to die."""
    environment = for_child(stack.id, Path(stack.settings_file))
    environment = {**head.environment(environment, Path(stack.token_file)), MARK: stack.id}
    node = Node(stack, environment, log) if wanted else None
    try:
        yield node
    finally:
        if node:
            node.stop()


@contextmanager
def database_of(stack: State) -> Iterator[Database[dict[str, Any]]]:
    settings = Settings(_env_file=stack.settings_file)  # type: ignore[call-arg]
    database = connect(settings.mongo_url, settings.db_name)
    with database.client:
        yield database


def send_all(client: ScrayClient, sources: list[Source], killer: Killer, form: Form, idle: Idle) -> list[Sent]:
    """As fast as the killing gets on, so that there is work for all of it. Each goes from this disk as it arrived."""
    sent: list[Sent] = []

    def wanted() -> bool:
        if len(sent) < AHEAD:
            return True
        due = AHEAD + killer.share(form.orders) * (len(sources) - AHEAD)
        return killer.may_strike(form.orders) and (len(sent) < due or idle())

    for source in sources:
        until(wanted, form.seconds, "the death of those who were to die")
        fields: dict[str, Any] = {"sensor": source.sensor, "name": source.path.stem, "user_email": "chaos@example.org"}
        sent.append(Sent(client.upload(source.path, **fields, parameters=source.parameters).dataset_uuid, source))
        source.path.unlink()
    return sent


@pytest.mark.timeout(7200)
def test_whatever_is_killed_every_dataset_is_converted_once(
    form: Form, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    settings = {
        "SCRAY_LEASE_SECONDS": str(LEASE_SECONDS),
        "SCRAY_POLL_SECONDS": "0.2",
        "SCRAY_SETTLE_SECONDS": "0",
        "SCRAY_WORKERS": "2",
        "SCRAY_TASK_MEMORY": "240MiB",
        FOLDER: str(faults),
    }
    with capsys.disabled():
        print(f"\nchaos, seed {seed}")
    sources = list(mixed(made(tmp_path / "sources"), form.datasets, form.big_bytes))
    data = tmp_path / "data"
    with (
        stack_in(data, **settings) as stack,
        further_node(stack, tmp_path / "node.log", form.orders.nodes) as node,
        database_of(stack) as database,
        Witness(data / "converted") as witness,
    ):
        killer = Killer(stack, Catalog(database), faults, Random(seed), node)
        began = time.monotonic()
        sent = convert_all(stack, database, killer, sources, form)
        took = time.monotonic() - began
        rows = {row["uuid"]: row for row in database["visstoredatas"].find({})}
        report = told(form, killer, witness, rows, took)
        with capsys.disabled():
            print(report, flush=True)
        nothing_is_left(database, data)
        check_exactly_once(sent, rows, witness)
        check_kills(form, killer)
        check_redone(witness)
        until(lambda: all(witness.read_times[one.uuid] for one in sent), 120, "the reader's look at every result")
    assert witness.broken == []
    assert marked(stack.id) == [], "a process of the stack is left"
    same_as_serial(sent, data, tmp_path / "serial")


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def convert_all(
    stack: State, database: Database[dict[str, Any]], killer: Killer, sources: list[Source], form: Form
) -> list[Sent]:
    """Send everything, kill meanwhile, wait until every dataset has ended."""
    with ScrayClient(stack.api) as client, ThreadPoolExecutor(1) as pool:
        all_sent, ended = threading.Event(), threading.Event()

        def idle() -> bool:
            return not unfinished(database)

        def over() -> bool:
            return ended.is_set() or (all_sent.is_set() and idle())

        killing = pool.submit(killer.perform, form.orders, form.seconds, over)
        try:
            sent = send_all(client, sources, killer, form, idle)
            all_sent.set()
            until(over, form.seconds + 120, "the end of every dataset")
        finally:
            ended.set()
        killing.result(60)
    return sent


def unfinished(database: Database[dict[str, Any]]) -> int:
    """How many datasets have not ended; more than none while the database is away."""
    with suppress(Exception):
        return database["visstoredatas"].count_documents({"status": {"$nin": ["done", "conversion failed"]}})
    return 1


def nothing_is_left(database: Database[dict[str, Any]], data: Path) -> None:
    """No lease, no open upload, no staging, no temporary file."""
    staging = data / "converted" / ".staging"
    until(lambda: not list(staging.iterdir()), 15 * LEASE_SECONDS, "the end of all staging")
    assert database["visstoredatas"].count_documents({"lease": {"$ne": None}}) == 0
    assert database["uploads"].count_documents({"open": True}) == 0
    assert list((data / "upload" / ".incoming").glob("*")) == []
    assert list((data / "converted").rglob("*.tmp")) == []


def told(form: Form, killer: Killer, witness: Witness, rows: dict[str, Any], seconds: float) -> str:
    """What was killed, redone, lost."""
    killed = ", ".join(f"{count} × {kind}" for kind, count in sorted(killer.killed.items()))
    redone, bricks = len(witness.redone), len(witness.marked)
    lost = sum(row["status"] != "done" for row in rows.values())
    return (
        f"killed while at work: {killed}\n"
        f"redone: {redone} of {bricks} bricks ({100 * redone / max(1, bricks):.1f} %)\n"
        f"lost: {lost} of {len(rows)} datasets; the reader looked {sum(witness.read_times.values())} times, "
        f"saw {len(witness.broken)} broken; {seconds:.0f} seconds"
    )


def check_exactly_once(sent: list[Sent], rows: dict[str, Any], witness: Witness) -> None:
    assert {uuid: (row["status"], row["error_message"]) for uuid, row in rows.items() if row["status"] != "done"} == {}
    uuids = {one.uuid for one in sent}
    assert rows.keys() == uuids
    ends = {uuid: sum(line["to"] == "done" for line in rows[uuid]["audit"]) for uuid in uuids}
    assert ends == dict.fromkeys(uuids, 1), "writes of `done`, by the audit log"
    assert {uuid: witness.published[uuid] for uuid in uuids} == dict.fromkeys(uuids, 1), (
        "publish renames, by the kernel"
    )


def check_kills(form: Form, killer: Killer) -> None:
    wanted = form.orders.counts
    missing = {kind: count - killer.killed[kind] for kind, count in wanted.items() if killer.killed[kind] < count}
    assert missing == {}, "kills that found no victim at work before everything was converted"


def check_redone(witness: Witness) -> None:
    assert len(witness.marked) > 0
    assert len(witness.redone) <= REDONE * len(witness.marked), witness.redone


def same_as_serial(sent: list[Sent], data: Path, out: Path) -> None:
    for one in sent:
        expected = serial_digests(data / "upload" / one.uuid, one.source, out)
        assert tree_digests(data / "converted" / one.uuid) == expected, one.source
        shutil.rmtree(out)


def test_every_crash_point_is_part_of_the_short_form() -> None:
    assert FORMS["short"].orders.points == FORMS["long"].orders.points == POINTS
