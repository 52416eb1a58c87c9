"""Every route of our OpenAPI, asked with what nobody should send: no 500, no path out of a dataset, no operator."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.api_server import EMAIL, FORM, Api

ROUNDS = int(os.environ.get("FUZZ_ROUNDS") or 25)  # requests a route and method
PATHS = ("../x", "../../etc/passwd", "/etc/passwd", "a/../../x", "..", ".", "a\0b", "..\\x", "%2e%2e%2fx", "//x")
OPERATORS = ("$ne", "$where", "$gt", "a.$b", "got.0", "__proto__", '{"$ne": null}', "'; return true; //")
TEXTS = (
    *PATHS,
    *OPERATORS,
    "",
    " ",
    "x" * 70_000,
    "ü\u202e\U0001f600",
    "\r\nX-Evil: 1",
    "-1",
    "0",
    "1e309",
    "NaN",
    "null",
)
VALUES: tuple[Any, ...] = (
    *TEXTS, None, True, -1, 0, 1 << 63, 1 << 200, -1.5, 1e308, [], [None], {}, {"$ne": None}, {"$gt": ""},
    {"$where": "1"}, {"a": {"b": {"c": {}}}}, [{"$ne": 1}], ["x"] * 1000,
)  # fmt: skip
METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
STAYING = frozenset({"upload", "converted", "sync", "auth", "tmp"})


def operations(api: Api) -> list[tuple[str, str, dict[str, Any]]]:
    found = api.http.get("/openapi.json").json()["paths"]
    return [(path, method, about) for path, methods in found.items() for method, about in methods.items()]


def fields_of(api: Api, about: dict[str, Any]) -> list[str]:
    """The names in the body of an operation."""
    schemas = api.http.get("/openapi.json").json().get("components", {}).get("schemas", {})
    names: list[str] = []
    for content in about.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        for one in [schema, *schema.get("anyOf", [])]:
            reference = one.get("$ref", "").rpartition("/")[2]
            names += list(schemas.get(reference, one).get("properties", {}))
    return names


def request(api: Api, path: str, method: str, about: dict[str, Any], names: list[str], dice: random.Random) -> Any:
    """One request of an operation, mostly as it should be, with something wrong somewhere."""
    good = {**FORM, "filename": "x", "file_size": 10, "file_hash": "0" * 64, "source_type": "url", "chunk_number": "1"}
    for parameter in about.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace("{%s}" % parameter["name"], quote(dice.choice(TEXTS)[:2000], safe="") or "x")  # noqa: UP031
    queries = [one["name"] for one in about.get("parameters", []) if one["in"] == "query"]
    query = {name: dice.choice(TEXTS)[:2000] for name in queries if dice.random() < 0.7}
    body = {name: good[name] for name in names if name in good and dice.random() < 0.9}
    for name in dice.sample(names, min(len(names), dice.randrange(1, 4))) if names else ():
        body[name] = dice.choice(VALUES)
    if dice.random() < 0.3:
        body[dice.choice(OPERATORS)] = dice.choice(VALUES)
    values = dice.choice([as_json, as_form, as_form, as_noise])(body, dice)
    return api.http.build_request(method.upper(), path, params=query, **values)


def as_json(body: dict[str, Any], _dice: random.Random) -> dict[str, Any]:
    return {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}


def as_form(body: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    parts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
    filename = dice.choice(TEXTS).replace("\r\n", " ")[:300]
    name = dice.choice(("file", "chunk"))
    return {"data": parts, "files": {name: (filename, b"1" * dice.choice((0, 1, 10)))}}


def as_noise(_body: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    kinds = ("application/json", "multipart/form-data", "multipart/form-data; boundary=x", "text/plain", "a/b;c", "")
    heads = {
        "Content-Type": dice.choice(kinds), "Tus-Resumable": "1.0.0", "Upload-Length": dice.choice(("1", "x", "-1")),
        "Upload-Metadata": dice.choice(("filename ../", "a", "filename Li4veA==", ",,,")),
        "Upload-Offset": dice.choice(("0", "x", "9" * 30)), "Content-Digest": dice.choice(("sha-256=:AA==:", "x", "")),
        "Idempotency-Key": dice.choice(("k", "", "k" * 300)), "Upload-Concat": dice.choice(("partial", "final;/x")),
        "Range": dice.choice(("bytes=0-", "bytes=9-1", "x")),
    }  # fmt: skip
    return {"content": dice.randbytes(dice.choice((0, 10, 5000))), "headers": heads}


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_is_sent_is_an_unforeseen_error(api: Api, seed: int) -> None:
    dice = random.Random(seed)
    seen: dict[int, int] = {}
    for path, method, about in operations(api):
        names = fields_of(api, about)
        for _ in range(ROUNDS):
            asked = request(api, path, method, about, names, dice)
            try:
                reply = api.http.send(asked)
            except httpx.RemoteProtocolError:
                continue  # the server refused the bytes of the request itself
            seen[reply.status_code] = seen.get(reply.status_code, 0) + 1
            assert reply.status_code != 500, (method, str(asked.url)[:300], asked.headers, reply.text)
            assert reply.status_code < 500 or reply.status_code in {503, 507}, reply.text
    assert seen.get(200, 0) > 10, "some requests are good, or nothing behind the checks is reached"
    assert seen.get(422, 0) > 100
    assert api.http.get("/health").status_code == 200
    assert_nothing_left_its_place(api)


def assert_nothing_left_its_place(api: Api) -> None:
    """Every file lies below the upload folder of a dataset that the database knows."""
    beside = {path.name for path in api.data.parent.iterdir()}
    assert beside == {"data"}
    uuids = {row["uuid"] for row in api.rows()} | {".incoming"}
    assert {path.name for path in (api.data / "upload").iterdir()} <= uuids
    for path in (api.data / "upload").rglob("*"):
        assert not path.is_symlink()
        assert Path(os.path.normpath(path)) == path
        assert "\0" not in path.name


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_operator_reaches_the_database(api: Api, operator: str) -> None:
    """What would fit everything, if it were an operator, fits nothing."""
    api.accepted(b"1", "x.tif")
    for query in ({"user_email": operator}, {"name": operator}, {"slug": operator}, {"status": operator}):
        for key in (*query, f"{next(iter(query))}[$ne]"):
            reply = api.http.get("/api/v1/datasets", params={key: operator, "user_email": operator})
            assert reply.status_code == 422 or reply.json()["datasets"] == []
    assert api.http.get("/api/upload/jobs", params={"user_id": operator}).json().get("jobs", []) == []
    for place in ("/api/v1/datasets/{}", "/api/upload/status/{}", "/api/upload/large/resume/{}"):
        assert api.http.get(place.format(quote(operator, safe="")), follow_redirects=True).status_code == 404
    parameters = {operator: 1} if operator.startswith("$") or "." in operator else {"$ne": 1}
    wrong = api.send(b"1", conversion_parameters=json.dumps(parameters), user_email=EMAIL)
    assert wrong.status_code == 422
