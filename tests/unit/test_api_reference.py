"""The documented routes and errors are those of the application."""

from __future__ import annotations

import re

import pytest

from api.app import create_app
from api.problems import STATUS_OF, problem_of
from api.reference import table
from scray.errors import ScrayError, every_error
from scray.settings import Settings

# what tests of other parts add is not of the project
ERRORS = [error for error in every_error() if error.__module__.startswith("scray.errors.")]
# the routes that clients in the field rely on
CONTRACT = {
    "GET /", "GET /health", "GET /healthz", "GET /readyz",
    "POST /api/upload/upload", "POST /api/upload/local/upload",
    "GET /api/upload/status/{job_id}", "POST /api/upload/cancel/{job_id}", "GET /api/upload/jobs",
    "GET /api/upload/supported-sources", "GET /api/upload/limits",
    "GET /api/v1/datasets", "GET /api/v1/datasets/{identifier}", "GET /api/v1/datasets/{identifier}/status",
    "POST /api/v1/datasets/{identifier}/convert",
    "POST /api/upload/large/initiate", "POST /api/upload/large/chunk/{upload_id}/{chunk_index}",
    "GET /api/upload/large/status/{upload_id}", "GET /api/upload/large/resume/{upload_id}",
    "POST /api/upload/large/complete/{upload_id}", "DELETE /api/upload/large/cancel/{upload_id}",
    "GET /api/upload/large/limits", "GET /health/large-files", "POST /api/upload/cloud/large",
}  # fmt: skip


def test_every_route_is_in_the_table_and_the_contract_is_kept() -> None:
    listed = set(re.findall(r"(?m)^\| `([A-Z]+ \S+)`", table()))
    operations = create_app(Settings.model_construct()).openapi()["paths"].items()
    served = {f"{method.upper()} {path}" for path, methods in operations for method in methods}
    assert listed == served
    assert served >= CONTRACT


def test_no_route_is_without_a_description() -> None:
    assert not re.findall(r"(?m)^\| `[A-Z]+ \S+` \|  \|", table())


def test_every_error_has_one_line_in_the_table() -> None:
    codes = [error.code for error in ERRORS]
    assert len(set(codes)) == len(codes)
    assert set(codes) == STATUS_OF.keys()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
def test_every_error_answers_with_its_code_and_a_sentence(error: type[ScrayError]) -> None:
    answer = problem_of(error())
    assert answer.status_code == STATUS_OF[error.code]
    assert 400 <= answer.status_code < 600
    assert answer.media_type == "application/problem+json"
    text = bytes(answer.body).decode()
    assert f'"code":"{error.code}"' in text
    assert f'"detail":"{error.__doc__}"' in text
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.code)
