"""Jobs, datasets and the facts about the service, asked of a real server."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from scray.dataset import Progress
from scray.errors import BadInput
from scray.queue import Queue
from scray.sensors import SENSORS
from scray.status import Status
from tests.api_server import EMAIL, Api

JOB_KEYS = {
    "job_id", "status", "progress_percentage", "bytes_uploaded", "bytes_total", "message", "error",
    "created_at", "updated_at", "speed_mbps", "eta_seconds", "current_file",
}  # fmt: skip
API_SETTINGS = {"SCRAY_SETTLE_SECONDS": "0"}


@pytest.fixture
def queue(api: Api) -> Queue:
    return Queue(api.database)


@pytest.fixture
def user() -> str:
    """Somebody with no datasets yet."""
    return f"user-{uuid4().hex[:8]}@example.org"


def get(api: Api, path: str, **query: Any) -> dict[str, Any]:
    reply = api.http.get(path, params=query)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def refused(api: Api, path: str, **query: Any) -> tuple[int, str, str]:
    reply = api.http.get(path, params=query)
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["status"] == reply.status_code
    return reply.status_code, problem["code"], problem["detail"]


def claim(queue: Queue, uuid: str) -> Any:
    """The claim of one dataset, others that wait being served before it."""
    while taken := queue.claim("test-driver"):
        if taken.uuid == uuid:
            return taken
        queue.finish(taken)
    raise AssertionError("nothing to claim")


# --- jobs ----------------------------------------------------------------------------------------


def test_a_job_from_upload_to_completion(api: Api, queue: Queue, user: str) -> None:
    reply = api.accepted(b"1234", "x.tif", user_email=user)
    url = f"/api/upload/status/{reply['job_id']}"
    job = get(api, url)
    assert job.keys() >= JOB_KEYS
    assert (job["status"], job["message"], job["progress_percentage"]) == ("processing", "Waiting for a worker", 0)
    datetime.fromisoformat(job["created_at"])
    taken = claim(queue, reply["dataset_uuid"])
    queue.progress(
        taken,
        Progress(stage="bricks", percent=40, speed_bytes_per_second=5e6, eta_seconds=7, current_file="x.tif"),
    )
    job = get(api, url)
    assert (job["status"], job["progress_percentage"], job["speed_mbps"]) == ("processing", 40, 5)
    assert (job["eta_seconds"], job["current_file"], job["message"]) == (7, "x.tif", "Converting: bricks")
    queue.finish(taken)
    job = get(api, url)
    assert (job["status"], job["progress_percentage"], job["error"]) == ("completed", 100, None)


def test_a_job_that_fails_says_why(api: Api, queue: Queue, user: str) -> None:
    reply = api.accepted(b"1234", "x.tif", user_email=user)
    queue.fail(claim(queue, reply["dataset_uuid"]), BadInput("This is no TIFF file."))
    job = get(api, f"/api/upload/status/{reply['job_id']}")
    assert (job["status"], job["error"], job["error_code"]) == ("failed", "This is no TIFF file.", "bad-input")
    status = get(api, f"/api/v1/datasets/{reply['dataset_uuid']}/status")
    assert (status["status"], status["error_code"], status["message"]) == (
        "conversion failed", "bad-input", "This is no TIFF file.",
    )  # fmt: skip


@pytest.mark.parametrize("prefix", ["upload_", "job_"])
def test_the_job_of_a_whole_dataset(api: Api, prefix: str) -> None:
    asked = prefix + api.accepted(b"1234", "x.tif")["dataset_uuid"]
    job = get(api, f"/api/upload/status/{asked}")
    assert (job["job_id"], job["bytes_total"]) == (asked, 4)


@pytest.mark.parametrize(
    "job_id", ["upload_1_00000000", "nonsense", "upload_6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "upload_{}"]
)
def test_an_unknown_job_is_not_found(api: Api, job_id: str) -> None:
    assert refused(api, f"/api/upload/status/{job_id}") == (404, "not-found", "Job not found")
    reply = api.http.post(f"/api/upload/cancel/{job_id}")
    assert (reply.status_code, reply.json()["detail"]) == (404, "Job not found or already completed")


def test_cancel_once(api: Api, user: str) -> None:
    job_id = api.accepted(b"1234", "x.tif", user_email=user)["job_id"]
    reply = api.http.post(f"/api/upload/cancel/{job_id}")
    assert reply.json() == {"message": f"Job {job_id} cancelled successfully"}
    assert get(api, f"/api/upload/status/{job_id}")["status"] == "cancelled"
    assert api.http.post(f"/api/upload/cancel/{job_id}").status_code == 404


def test_a_list_of_jobs_has_finished_ones_and_pages(api: Api, user: str) -> None:
    done = api.accepted(b"1", "x.tif", user_email=user, convert="false")
    waiting = [api.accepted(b"1", "x.tif", user_email=user) for _ in range(3)]
    page = get(api, "/api/upload/jobs", user_id=user, limit=2, offset=1)
    assert (page["total"], page["limit"], page["offset"], len(page["jobs"])) == (4, 2, 1, 2)
    assert all(job.keys() >= JOB_KEYS for job in page["jobs"])
    everything = get(api, "/api/upload/jobs", user_id=user)["jobs"]
    assert {job["job_id"] for job in everything} == {one["job_id"] for one in [done, *waiting]}
    for status, count in {"completed": 1, "processing": 3, "failed": 0, "paused": 0}.items():
        assert get(api, "/api/upload/jobs", user_id=user, status=status)["total"] == count
    assert get(api, "/api/upload/jobs", user_id="nobody@example.org")["jobs"] == []


def test_a_list_of_jobs_needs_a_user_and_known_values(api: Api) -> None:
    assert refused(api, "/api/upload/jobs") == (400, "bad-request", "user_id parameter is required")
    for wrong in ({"status": "lost"}, {"limit": 0}, {"limit": "many"}, {"offset": -1}):
        assert refused(api, "/api/upload/jobs", user_id=EMAIL, **wrong)[:2] == (422, "invalid-field")


def test_jobs_of_datasets_that_other_programs_wrote(api: Api, user: str) -> None:
    uuid = str(uuid4())
    legacy = {"uuid": uuid, "name": "old", "user_id": user, "status": "conversion error", "tags": "a,b", "id": 7}
    api.database.visstoredatas.insert_one(legacy)
    [job] = get(api, "/api/upload/jobs", user_id=user, status="failed")["jobs"]
    assert (job["job_id"], job["status"], job["dataset_status"]) == (f"upload_{uuid}", "failed", "conversion failed")


# --- datasets ------------------------------------------------------------------------------------


def test_a_dataset_by_uuid_id_slug_and_name(api: Api, user: str) -> None:
    name = f"My scan {uuid4().hex[:6]}"
    uuid = api.accepted(b"1", "x.tif", user_email=user, dataset_name=name)["dataset_uuid"]
    row = api.row(uuid)
    assert row["slug"].startswith(f"{user.partition('@')[0]}-my-scan-")
    for identifier in (uuid, uuid.upper(), str(row["id"]), row["slug"], name):
        found = get(api, f"/api/v1/datasets/{identifier}")
        assert (found["identifier"], found["resolved_uuid"]) == (identifier, uuid)
    shown = found["dataset"]
    assert (shown["name"], shown["files"][0]["total_size_bytes"]) == (name, 1)
    assert not {"_id", "lease", "revision", "open_uploads"} & shown.keys()
    assert refused(api, "/api/v1/datasets/nothing")[:2] == (404, "not-found")


def test_an_ambiguous_name_is_refused_unless_one_is_ones_own(api: Api, user: str) -> None:
    name = f"twice {uuid4().hex[:6]}"
    mine = api.accepted(b"1", "x.tif", user_email=user, dataset_name=name)["dataset_uuid"]
    api.accepted(b"1", "x.tif", dataset_name=name)
    assert refused(api, f"/api/v1/datasets/{name}")[:2] == (409, "ambiguous")
    assert get(api, f"/api/v1/datasets/{name}", user_email=user)["resolved_uuid"] == mine
    api.accepted(b"1", "x.tif", user_email=user, dataset_name=name)
    assert refused(api, f"/api/v1/datasets/{name}", user_email=user)[:2] == (409, "ambiguous")


def test_ids_and_slugs_do_not_collide(api: Api, user: str) -> None:
    rows = [api.row(api.accepted(b"1", "x.tif", user_email=user)["dataset_uuid"]) for _ in range(4)]
    assert len({row["id"] for row in rows}) == len({row["slug"] for row in rows}) == 4


def test_a_list_of_datasets(api: Api, user: str) -> None:
    public = api.accepted(b"1", "x.tif", user_email=user, is_public="true", folder="F", team_uuid="T")
    api.accepted(b"1", "x.tif", user_email=user, dataset_name="private")
    url = "/api/v1/datasets"
    page = get(api, url, user_email=user)
    assert (page["success"], page["count"], page["total"]) == (True, 2, 2)
    for condition in ({"public_only": True}, {"folder": "F"}, {"team_uuid": "T"}, {"name": "scan"}):
        [found] = get(api, url, user_email=user, **condition)["datasets"]
        assert found["uuid"] == public["dataset_uuid"]
    assert get(api, url, user_email=user, limit=1, offset=1)["count"] == 1


def test_secrets_of_old_documents_are_not_shown(api: Api, user: str) -> None:
    uuid = str(uuid4())
    secrets = {"accesskey": "AKIA", "secretkey": "s3cret", "google_refresh_token": "t0ken"}
    api.database.visstoredatas.insert_one({"uuid": uuid, "user": user, "status": "done", "id": 8, **secrets})
    text = api.http.get(f"/api/v1/datasets/{uuid}").text + api.http.get("/api/v1/datasets").text
    assert not any(secret in text for secret in secrets.values())


def test_convert_again(api: Api, queue: Queue, user: str) -> None:
    uuid = api.accepted(b"1", "x.tif", user_email=user, convert="false")["dataset_uuid"]
    reply = api.http.post(f"/api/v1/datasets/{uuid}/convert", params={"user_email": user})
    assert reply.json() == {"success": True, "status": "conversion queued", "dataset_uuid": uuid}
    row = api.row(uuid)
    assert (row["status"], row["convert"], row["data_conversion_needed"]) == ("conversion queued", True, True)
    again = api.http.post(f"/api/v1/datasets/{uuid}/convert")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    queue.fail(claim(queue, uuid), BadInput())
    assert api.http.post(f"/api/v1/datasets/{uuid}/convert").status_code == 200
    assert queue.dataset(uuid).status is Status.CONVERSION_QUEUED
    assert api.row(uuid)["error_message"] == ""


# --- the service ---------------------------------------------------------------------------------


def test_what_the_service_says_about_itself(api: Api) -> None:
    about = get(api, "/")
    assert {"message", "version", "description", "docs", "redoc"} <= about.keys()
    assert about["large_file_threshold_mb"] == "100"
    sources = get(api, "/api/upload/supported-sources")
    assert sources["sensor_types"] == list(SENSORS)
    assert sources["required_parameters"]["local"] == ["file"]
    limits = get(api, "/api/upload/limits")
    assert (limits["chunk_size_bytes"], limits["max_file_size_bytes"]) == (104_857_600, 10_995_116_277_760)
    assert (limits["max_file_size_tb"], limits["resumable_upload_timeout_days"]) == (10.0, 7.0)
    assert str(api.data) not in str(limits)


def test_the_documented_form_has_every_field(api: Api) -> None:
    paths = get(api, "/openapi.json")["paths"]
    form = paths["/api/upload/upload"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["required"]) == {"file", "user_email", "dataset_name", "sensor"}
    assert {"relative_path", "dataset_identifier", "conversion_parameters"} <= form["properties"].keys()
    assert api.http.get("/docs").status_code == api.http.get("/redoc").status_code == 200


def test_unknown_routes_and_methods_are_problems_too(api: Api) -> None:
    assert refused(api, "/api/nothing")[:2] == (404, "not-found")
    reply = api.http.delete("/health")
    assert (reply.status_code, reply.headers["content-type"]) == (405, "application/problem+json")
    assert reply.json()["detail"]
