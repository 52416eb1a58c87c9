"""Who may ask, and whether the service knows how it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from scray.catalog import Catalog
from tests.api_server import FORM, ROOT, Api, serving, until
from tests.integration.conftest import DatabaseServer

TOKEN = "a-long-and-secret-token"
SITE = "https://portal.example.org"
API_SETTINGS = {
    "SCRAY_API_TOKEN": TOKEN,
    "SCRAY_CORS_ORIGINS": SITE,
    "SCRAY_ALLOWED_HOSTS": "scray.example.org",
    "DEPLOY_SERVER": "https://data.example.org/",
}


def ask(api: Api, path: str = "/", **headers: str) -> int:
    return api.http.get(path, headers={"Authorization": f"Bearer {TOKEN}", **headers}).status_code


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é"]
)
def test_without_the_token_nothing_is_answered(api: Api, given: str) -> None:
    headers = {b"Authorization": given.encode()} if given else {}
    for path in ("/", "/docs", "/openapi.json", "/api/v1/datasets", "/api/upload/limits"):
        reply = api.http.get(path, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (401, "unauthorised")
        assert reply.headers["www-authenticate"] == "Bearer"
    sent = api.http.post("/api/upload/upload", data=FORM, files={"file": b"1"}, headers=headers)
    assert (sent.status_code, api.rows(), api.files()) == (401, [], {})


def test_with_the_token_it_is(api: Api) -> None:
    assert ask(api) == ask(api, "/api/upload/limits") == 200


def test_health_needs_no_token(api: Api) -> None:
    assert api.http.get("/healthz").status_code == 200
    assert api.http.get("/health").status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:9", "[::1]:80", "LOCALHOST", "scray.example.org", "data.example.org"]
)
def test_known_names(api: Api, host: str) -> None:
    assert ask(api, Host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example.org", "localhost.evil.org", "127.0.0.1.evil.org", "[", "", "169.254.1.1"]
)
def test_a_name_that_somebody_else_points_here_is_refused(api: Api, host: str) -> None:
    assert ask(api, "/healthz", Host=host) == 400


def test_pages_of_other_sites_are_refused(api: Api) -> None:
    assert ask(api, Origin="https://evil.example.org") == 403
    assert ask(api, Origin="null") == 403
    assert ask(api, Origin=api.url) == 200


def test_pages_of_listed_sites_may_ask(api: Api) -> None:
    reply = api.http.get("/", headers={"Authorization": f"Bearer {TOKEN}", "Origin": SITE})
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, SITE)
    before = {"Origin": SITE, "Access-Control-Request-Method": "POST"}
    assert api.http.options("/api/upload/upload", headers=before).status_code == 200


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"SCRAY_API_HOST": "0.0.0.0"}, "SCRAY_API_TOKEN"),
        ({"SCRAY_API_HOST": "no.such.name.invalid"}, "SCRAY_API_TOKEN"),
        ({"SCRAY_API_PORT": "many"}, "SCRAY_API_PORT"),
        ({"MONGO_URL": ""}, "MONGO_URL"),
    ],
)
def test_it_does_not_serve_with_such_settings(settings: dict[str, str], words: str, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"], "MONGO_URL": "mongodb://127.0.0.1:1", "VISUS_DATASETS": str(tmp_path),
        "SCRAY_API_PORT": "0", **settings,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "api"], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_health_follows_the_driver(api: Api) -> None:
    catalog = Catalog(api.database)
    assert api.http.get("/health").json()["status"] == "degraded"
    assert api.http.get("/readyz").status_code == 503
    catalog.beat("driver", {"period_seconds": 0.5, "version": "1"})
    fine = dict.fromkeys(("status", "database", "driver", "disk", "nodes"), "ok")
    assert api.http.get("/readyz").json() == fine
    health = api.http.get("/health").json()
    assert (health["status"], health["large_file_threshold_mb"], health["max_file_size_tb"]) == ("healthy", "100", "10")
    assert all(isinstance(value, str) for value in health.values())
    until(lambda: api.http.get("/readyz").status_code == 503, what="the silence of the driver being noticed")
    assert "No driver has answered" in api.http.get("/health").json()["driver"]


def test_without_its_database_it_says_so_and_recovers_nothing_half(tmp_path: Path) -> None:
    server = DatabaseServer(tmp_path / "database")
    client = MongoClient[dict[str, Any]](server.url)
    try:
        with serving(server.url, client["test"], tmp_path / "data") as api:
            api.accepted(b"1", "x.tif")
            server.kill()
            assert api.http.get("/healthz").status_code == 200
            reply = api.http.get("/health")
            assert (reply.status_code, reply.json()["status"]) == (503, "unhealthy")
            sent = api.send(b"1", "y.tif")
            assert (sent.status_code, sent.json()["code"]) == (503, "database")
            assert sent.headers["retry-after"]
            assert [name for name in api.files() if name.endswith("y.tif") or name.endswith(".part")] == []
    finally:
        server.kill()
        client.close()
