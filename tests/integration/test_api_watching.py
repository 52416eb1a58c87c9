"""What an API process tells those who watch: metrics for Prometheus, and the logs of runs."""

from __future__ import annotations

import json
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from cluster import doctor, observe
from scray.catalog import Catalog
from scray.dataset import Progress
from scray.log import Action
from scray.metrics import METRICS
from scray.queue import Claim, Queue
from scray.runlog import RunLog
from tests.api_server import Api

RUNS = ("20260102T030405Z-00112233", "20260102T030406Z-00112233")


def samples(api: Api) -> dict[tuple[str, tuple[str, ...]], float]:
    """Name and sorted values of the labels -> value, of everything on the page."""
    reply = api.http.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(reply.text))
    assert {family.name for family in families} >= {
        one.name.removesuffix("_total") for one in METRICS if "api" in one.by
    }
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_tell_of_the_queue_the_drivers_and_what_was_received(api: Api) -> None:
    before = samples(api)
    api.accepted(b"x" * 100_000)
    counts = [
        {"name": "scray_claims_total", "code": "", "value": 7},
        {"name": "scray_failures_total", "code": "bad-input", "value": 2},
    ]
    beat = {"counts": counts, "datasets": ["u"], "speed_bytes_per_second": 1e6, "period_seconds": 60}
    Catalog(api.database).beat("driver", beat)
    after = samples(api)
    waiting = ("scray_queue_datasets", ("conversion queued",))
    assert after[waiting] == before[waiting] + 1
    assert after["scray_queue_oldest_seconds", ("conversion queued",)] >= 0
    received = ("scray_upload_bytes_total", ())
    assert 100_000 <= after[received] - before[received] < 102_000
    assert after["scray_claims_total", ("driver",)] == 7
    assert after["scray_failures_total", ("bad-input", "driver")] == 2
    assert after["scray_bricks_total", ("driver",)] == 0
    assert after["scray_conversion_bytes_per_second", ("driver",)] == 1e6
    assert after["scray_disk_free_bytes", ("upload",)] > 0


def test_the_logs_of_a_dataset_are_shown_run_by_run(api: Api) -> None:
    uuid = api.accepted(b"pixels")["dataset_uuid"]
    url = f"/api/v1/datasets/{uuid}/logs"
    assert api.http.get(url).json() | {"run": None, "runs": [], "events": [], "next": 0} == api.http.get(url).json()
    for number, run in enumerate(RUNS):
        RunLog(api.data / "logs" / uuid, run).write(Action.CLAIMED, attempt=number)
    page = api.http.get(url).json()
    assert (page["run"], page["runs"], page["events"][0]["attempt"]) == (RUNS[1], list(RUNS), 1)
    assert api.http.get(url, params={"after": page["next"]}).json()["events"] == []
    assert api.http.get(url, params={"run": RUNS[0]}).json()["events"][0]["attempt"] == 0
    for run in ("../../../etc/passwd", "20990102T030405Z-00112233"):
        assert api.http.get(url, params={"run": run}).json()["code"] == "not-found"
    assert api.http.get("/api/v1/datasets/none/logs").status_code == 404


def test_the_api_writes_lines_of_json(api: Api) -> None:
    uuid = api.accepted(b"pixels")["dataset_uuid"]
    lines = [json.loads(text) for text in (api.data / "api.log").read_text().splitlines() if text.startswith("{")]
    assert any(line["action"] == "upload-stored" and line["dataset"] == uuid for line in lines)


def test_an_overview_and_the_eight_questions(api: Api) -> None:
    uuid = api.accepted(b"pixels")["dataset_uuid"]
    Catalog(api.database).beat("driver", {"period_seconds": 60, "secret": "x", "counts": []})
    Queue(api.database).progress(claim_of(api, uuid), Progress(stage="converting", percent=40.0))
    found = api.http.get("/api/v1/overview").json()
    assert found["queue"]["converting"] == len(found["running"]) == 1
    assert (found["running"][0]["uuid"], found["running"][0]["progress"]["percent"]) == (uuid, 40.0)
    assert "lease" not in found["running"][0]
    assert [driver["name"] for driver in found["drivers"]] == ["driver"]
    assert "secret" not in found["drivers"][0]
    told = api.http.get("/api/v1/questions", params={"dataset": uuid}).json()
    assert told["dataset_uuid"] == uuid
    assert len(told["questions"]) == 8
    assert told["questions"][2]["says"] == "It is in work: converting, 40 %."
    assert str(api.data / "converted" / uuid) in told["questions"][5]["says"]
    assert api.http.get("/api/v1/questions", params={"dataset": "none"}).status_code == 404


def claim_of(api: Api, uuid: str) -> Claim:
    """The claim of one dataset, others that wait being served before it."""
    queue = Queue(api.database)
    api.database.visstoredatas.update_many({}, {"$set": {"not_before": None}})
    while taken := queue.claim("test-driver"):
        if taken.uuid == uuid:
            return taken
        queue.finish(taken)
    raise AssertionError("nothing to claim")


def test_a_node_that_is_left_out_is_named_with_the_reason_wherever_the_health_is_told(api: Api, tmp_path: Path) -> None:
    says = "node7 cannot seal off readers: the kernel gives no limit on: network."
    Catalog(api.database).beat("driver", {"period_seconds": 60, "counts": [], "left_out": [says]})
    health, ready = api.http.get("/health"), api.http.get("/readyz")
    assert (health.status_code, health.json()["status"], health.json()["nodes"]) == (200, "healthy", says)
    assert (ready.status_code, ready.json()["nodes"]) == (200, says), "the other nodes go on"
    status = observe.status(tmp_path, api.url)
    assert status["healthy"]
    assert f"nodes      {says}" in observe.status_text(status)
    checks = {check.name: check for check in doctor.examine(tmp_path, api.url, "")}
    running = checks["Is the service running?"]
    assert (running.state, says in running.says, "storage" in running.todo) == ("warn", True, True)
    Catalog(api.database).beat("driver", {"period_seconds": 60, "counts": [], "left_out": []})
    assert api.http.get("/health").json()["nodes"] == "ok"
