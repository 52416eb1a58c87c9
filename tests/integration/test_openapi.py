"""Requests made from our OpenAPI document, good and bad ones: no 500, and every answer is as it is described there.

The requests are schemathesis'; OPENAPI_EXAMPLES of them for every route (2000 take about half an hour).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.api_server import FORM, Api

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv-tools" / "bin" / "schemathesis"
HOOKS = """
import schemathesis
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
"""
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES") or 10)
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "unsupported_method", "allow_header_conformance",
)  # fmt: skip
TUS = {
    "Tus-Resumable": "1.0.0",
    "Upload-Metadata": "filename eA==,user_email YUBiLm9yZw==,dataset_name eA==,sensor SURY",
}

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="there is no schemathesis: run `make .venv-tools`")


def configuration(api: Api) -> str:
    """What is there to be found; a full disk and a missing driver are no errors of the service."""
    stored = api.accepted(b"1" * 10)
    session = {**FORM, "filename": "x", "file_size": 10}
    chunks = api.http.post("/api/upload/initiate-chunked", json=session).json()["upload_id"]
    tus = api.http.post("/api/upload/tus", headers={**TUS, "Upload-Length": "10"}).headers["location"]
    return f"""
        [parameters]
        identifier = "{stored["dataset_uuid"]}"
        job_id = "{stored["job_id"]}"
        "path.upload_id" = "{chunks}"
        [checks.not_a_server_error]
        expected-statuses = ["2XX", "3XX", "4XX", "507"]
        [[operations]]
        include-path = "/readyz"
        checks.not_a_server_error.expected-statuses = ["200", "4XX", "503"]
        [[operations]]
        include-path = "/api/upload/tus/{{upload_id}}"
        parameters = {{ upload_id = "{tus.rpartition("/")[2]}" }}
    """


def test_every_answer_is_as_it_is_described(api: Api, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(configuration(api))
    (tmp_path / "hooks.py").write_text(HOOKS)
    words = ["--checks", ",".join(CHECKS), "--max-examples", EXAMPLES, "--seed", 1, "--warnings", "off", "--no-color"]
    done = subprocess.run(
        [PROGRAM, "--config-file", tmp_path / "schemathesis.toml", "run", f"{api.url}/openapi.json",
         "--phases", "coverage,fuzzing", "--continue-on-failure", *map(str, words)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path), "NO_PROXY": "*"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert api.http.get("/health").status_code == 200
    known = {row["uuid"] for row in api.rows()} | {".incoming"}
    assert {path.name for path in (api.data / "upload").iterdir()} <= known
    assert {path.name for path in api.data.parent.iterdir()} == {"data"}


def test_every_refusal_has_one_shape(api: Api) -> None:
    uuid = api.accepted(b"1")["dataset_uuid"]
    folder = api.data / "converted" / uuid
    folder.mkdir()
    (folder / "visus.idx").write_text("header")
    file, large = f"/api/v1/datasets/{uuid}/files/visus.idx", {"Upload-Length": str(1 << 50)}
    asked = [
        ("GET", "/nowhere", {}, 404, "not-found"),
        ("PUT", "/health", {}, 405, "bad-request"),
        ("GET", file, {"Range": "bytes=99-"}, 416, "bad-request"),
        ("GET", file, {"Range": "bytes=x"}, 400, "bad-request"),
        ("GET", "/", {"Host": "elsewhere"}, 400, "bad-request"),
        ("GET", "/", {"Origin": "https://elsewhere"}, 403, "forbidden"),
        ("GET", "/api/upload/status/nobody", {}, 404, "not-found"),
        ("POST", "/api/upload/initiate", {}, 422, "invalid-field"),
        ("POST", "/api/upload/upload", {"Content-Type": "text/plain"}, 422, "invalid-field"),
        ("POST", "/api/upload/tus", {**TUS, **large}, 413, "body-too-large"),
        ("POST", "/api/upload/tus", {}, 412, "bad-request"),
        ("PATCH", "/api/upload/tus/x", TUS, 415, "bad-request"),
    ]
    for method, path, headers, status, code in asked:
        reply = api.http.request(method, path, headers=headers)
        found = reply.json()
        assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json"), path
        assert (found["status"], found["code"], found["type"]) == (status, code, f"urn:scray:error:{code}")
        assert " " in found["detail"], found
    assert api.http.put("/health").headers["allow"] == "GET"
    assert api.http.get(file, headers={"Range": "bytes=99-"}).headers["content-range"] == "bytes */6"
    assert api.http.request("TRACE", file).headers["allow"] == "GET, HEAD"
