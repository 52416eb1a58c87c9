"""What operators do with a running system: drain, resume, end, submit, retry, cancel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cluster.children import marked
from cluster.state import State
from converters.verify import verify
from scray.client import ScrayClient
from tests.acceptance.test_driver import alive, begin, check
from tests.acceptance.test_spine import SAMPLES, drivers, many, result_of, send, staging_of
from tests.ray_session import until

ROOT = Path(__file__).parents[2]


def scray(stack: State, *words: object) -> tuple[int, Any]:
    """Exit code and the one document of a command."""
    line = [sys.executable, "-m", "cluster.cli", *map(str, words), "--data", stack.data, "--json"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def readers(stack: State) -> list[psutil.Process]:
    """The sealed children of the workers."""
    return [process for process in marked(stack.id) if "converters.child" in " ".join(process.cmdline())]


def at_rest(stack: State) -> bool:
    """Whether no reader uses a CPU now."""

    def used() -> float:
        found = 0.0
        for reader in readers(stack):
            times = reader.cpu_times()
            found += times.user + times.system
        return found

    try:
        before = used()
        time.sleep(0.3)
        return used() == before
    except psutil.NoSuchProcess:
        return False


def is_given_back(client: ScrayClient, uuid: str) -> bool:
    return bool(client.dataset(uuid)["status"] == "conversion queued")


def test_a_drain_gives_everything_back_within_10_s_and_a_resume_goes_on(
    stack: State, client: ScrayClient, tmp_path: Path
) -> None:
    uuid, path, before = begin(stack, client, tmp_path, 11)
    code, found = scray(stack, "drain", "--wait", "10")
    try:
        assert (code, found["drained"]) == (0, True), found
        assert is_given_back(client, uuid)
        until(lambda: at_rest(stack), 10, "the end of all readers")
        assert alive(stack)["resting"]
        assert "Drained" in client.health()["driver"]
    finally:
        assert scray(stack, "resume")[0] == 0
    check(stack, client, uuid, path, before)


@pytest.mark.parametrize("who", ["the watchdog", "the actor"])
def test_a_driver_that_is_told_to_end_gives_its_work_back_within_10_s(
    who: str, stack: State, client: ScrayClient, tmp_path: Path
) -> None:
    uuid, path, before = begin(stack, client, tmp_path, 12)
    watchdog = next(p for p in marked(stack.id) if "cluster.driver" in p.cmdline())
    tokens = {"first": lease(stack, uuid)}
    os.kill(watchdog.pid if who == "the watchdog" else alive(stack)["pid"], signal.SIGTERM)
    until(lambda: lease(stack, uuid) != tokens["first"], 10, "the end of the claim")
    check(stack, client, uuid, path, before)
    until(lambda: any(one["alive"] and not one["resting"] for one in drivers(stack)), 60, "the next driver")


def lease(stack: State, uuid: str) -> str | None:
    """Whose claim it is."""
    from scray.catalog import Catalog
    from scray.database import connect
    from scray.settings import Settings

    settings = Settings(_env_file=stack.settings_file)  # type: ignore[call-arg]
    database = connect(settings.mongo_url, settings.db_name)
    with database.client:
        found = Catalog(database).get(uuid)
    assert found is not None
    return found["lease"]["token"] if found["lease"] else None


def test_a_cancel_frees_cpus_and_space_within_15_s(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    path, names = many(tmp_path, 13)
    uuid = send(client, path, "HDF5", dataset=names, codec="small")
    staging = staging_of(stack, uuid)
    until(lambda: any(staging.glob("*/marks/*.json")), 60, "the first brick")
    began = time.monotonic()
    client.cancel(f"upload_{uuid}")  # a new process might come too late

    def is_over() -> bool:
        return client.dataset(uuid)["status"] == "cancelled" and not staging.exists() and at_rest(stack)

    until(is_over, 15 - (time.monotonic() - began), "the end of the conversion")
    assert not result_of(stack, uuid).exists()
    code, queued = scray(stack, "retry", uuid)
    assert (code, queued["dataset_uuid"]) == (0, uuid)
    assert client.wait(uuid, 120)["status"] == "done"
    assert scray(stack, "retry", "no such dataset")[1]["error"]["code"] == "not-found"


def test_a_result_that_is_there_is_read_by_tasks_and_made_again_only_if_it_is_damaged(
    stack: State, client: ScrayClient
) -> None:
    uuid = send(client, SAMPLES / "img3d.tif", "TIFF")
    assert client.wait(uuid, 60)["status"] == "done"
    stages = []
    for damaged in (False, True):
        block = next(result_of(stack, uuid).rglob("*.bin"))
        content = block.read_bytes()
        block.write_bytes(bytes([content[0] ^ damaged]) + content[1:])
        assert scray(stack, "retry", uuid)[0] == 0
        assert client.wait(uuid, 60)["status"] == "done"
        assert verify(result_of(stack, uuid), SAMPLES / "img3d.tif") == []
        stages.append([event["stage"] for event in client.logs(uuid)["events"] if event["action"] == "stage-begun"])
    assert [("checking" in names, "converting" in names) for names in stages] == [(True, False), (True, True)]


def test_the_driver_is_submitted_once_and_its_folder_is_small(stack: State, client: ScrayClient) -> None:
    code, first = scray(stack, "submit")
    assert (code, first["new"]) == (0, True), first
    code, second = scray(stack, "submit")
    assert (code, second["new"], second["job"]) == (0, False, first["job"])
    until(lambda: len(watchdogs(stack)) == 2, 60, "the job of the driver")
    sent = {path.name for job in watchdogs(stack) for path in Path(job.cwd()).iterdir() if Path(job.cwd()) != ROOT}
    assert {"cluster", "scray", "converters", "api"} <= sent
    assert not sent & {".git", "tests", "docs", "examples", ".venv"}
    uuid = send(client, SAMPLES / "img3d.tif", "TIFF")
    assert client.wait(uuid, 60)["status"] == "done"


def watchdogs(stack: State) -> list[psutil.Process]:
    found = [process for process in marked(stack.id) if process.cmdline()[1:] == ["-m", "cluster.driver"]]
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def test_a_run_is_told_in_its_log_and_counted(stack: State, client: ScrayClient) -> None:
    uuid = send(client, SAMPLES / "img3d.tif", "TIFF")
    assert client.wait(uuid, 60)["status"] == "done"
    followed = subprocess.run(
        [sys.executable, "-m", "cluster.cli", "logs", uuid, "--follow", "--json", "--data", stack.data],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    events = [json.loads(line) for line in followed.stdout.splitlines()]
    actions = [event["action"] for event in events]
    assert actions[0] == "claimed"
    assert actions[-1] == "converted"
    stages = [event["stage"] for event in events if event["action"] == "stage-begun"]
    assert stages == ["hashing", "planning", "converting", "sealing", "publishing"]
    assert sum(event["bytes"] for event in events if event["action"] == "task-done") >= 31 * 61 * 57 * 2
    code, whole = scray(stack, "logs", uuid)
    assert (code, whole["events"]) == (0, events)
    until(lambda: counted(stack, "scray_datasets_total") >= 1, 20, "the next heartbeat")
    assert counted(stack, "scray_bricks_total") >= actions.count("task-done")
    for name in ("ray_scray_claims_total", "ray_scray_task_seconds_bucket"):
        until(lambda name=name: name in exported(stack), 60, f"{name} at Ray's exporter")  # type: ignore[misc]


def counted(stack: State, name: str) -> float:
    """The sum of a metric over all drivers, as the API tells it."""
    page = httpx.get(f"{stack.api}/metrics", trust_env=False).text
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name))


def exported(stack: State) -> str:
    """What Ray's exporters show; of those on fixed ports, another Ray on this machine may have been first."""
    found = json.loads((Path(stack.temporary) / "prom_metrics_service_discovery.json").read_text())
    pages = []
    for place in (place for group in found for place in group["targets"]):
        with suppress(httpx.TransportError):
            pages.append(httpx.get(f"http://{place}/metrics", trust_env=False).text)
    return "".join(pages)


@pytest.mark.usefixtures("bucket")
def test_the_doctor_finds_nothing_wrong_and_answers_about_a_dataset(stack: State, client: ScrayClient) -> None:
    uuid = send(client, SAMPLES / "img3d.tif", "TIFF")
    assert client.wait(uuid, 60)["status"] == "done"
    code, found = scray(stack, "doctor", uuid)
    checks = {check["name"]: check for check in found["checks"]}
    assert (code, found["ok"]) == (0, True), [check for check in found["checks"] if check["state"] == "fail"]
    assert checks["token"]["says"] == "Ray asks for its token"
    assert checks["ports"]["ok"]
    assert checks["Is the service running?"]["ok"]
    assert str(result_of(stack, uuid) / "visus.idx") in checks["Where are the outputs?"]["says"]
    assert checks["code"]["ok"]


def test_the_status_can_be_watched(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    path, names = many(tmp_path, 14)
    line = [sys.executable, "-m", "cluster.cli", "status", "--watch", "--every", "0.2", "--json", "--data", stack.data]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        uuid = send(client, path, "HDF5", dataset=names, codec="small")
        for text in watching.stdout:
            work = {one["uuid"]: one for one in json.loads(text)["in_work"]}
            if work.get(uuid, {}).get("progress", {}).get("stage") == "converting":
                break
        watching.send_signal(signal.SIGINT)
        watching.communicate()
    assert client.wait(uuid, 120)["status"] == "done"
