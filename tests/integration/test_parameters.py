"""Conversion parameters at every door of a real server: what is said is what the dataset has, or it is refused."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pymongo import MongoClient

from scray.client import ScrayClient
from scray.parameters import PARAMETERS
from tests.api_server import EMAIL, FORM, Api, serving

EVERY = {name: one.example for name, one in PARAMETERS.items()}
TEXT = json.dumps(EVERY)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"colour": "red"}, "Unknown conversion parameters: colour. Known are: Xs, Xs_dataset, Ys"),
    ({"codec": "best"}, "it is one of zip, small, fast, raw"),
    ({"axes": True}, "it is a name, or a list of names"),
    ({"fill": "low"}, "it is a number"),
]
Door = Callable[[Api, dict[str, Any]], httpx.Response]


@pytest.fixture(scope="module")
def api(mongo_url: str, mongo: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    database = mongo[f"test_{uuid4().hex[:12]}"]
    folder = tmp_path_factory.mktemp("api")
    (folder / "shelf").mkdir()
    (folder / "shelf" / "x.tif").write_bytes(b"pixels")
    with serving(mongo_url, database, folder, SCRAY_IMPORT_ROOTS=str(folder / "shelf")) as server:
        yield server
    mongo.drop_database(database.name)


def form(api: Api, parameters: dict[str, Any]) -> httpx.Response:
    return api.send(conversion_parameters=json.dumps(parameters))


def urlencoded(api: Api, parameters: dict[str, Any]) -> httpx.Response:
    place = {"file_path": str(api.data / "shelf" / "x.tif"), "conversion_parameters": json.dumps(parameters)}
    return api.http.post("/api/upload/upload-path", data={**FORM, **place})


def fetched(api: Api, parameters: dict[str, Any]) -> httpx.Response:
    source = {"source_type": "url", "source_config": {"url": "https://example.org/x.tif", "link_only": True}}
    return api.http.post("/api/upload/initiate", json={**FORM, **source, "conversion_parameters": parameters})


def chunked(api: Api, parameters: dict[str, Any]) -> httpx.Response:
    said = {"filename": "x.tif", "file_size": 6, "file_hash": "0" * 64, "conversion_parameters": parameters}
    return api.http.post("/api/upload/large/initiate", json={**FORM, **said})


def tus(api: Api, parameters: dict[str, Any]) -> httpx.Response:
    said = {**FORM, "filename": "x.tif", "conversion_parameters": json.dumps(parameters)}
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in said.items())
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "6", "Upload-Metadata": metadata}
    return api.http.post("/api/upload/tus", headers=headers)


DOORS: list[Door] = [form, urlencoded, fetched, chunked, tus]


def newest(api: Api) -> dict[str, Any]:
    [row] = api.database.visstoredatas.find().sort("_id", -1).limit(1)
    return dict(row)


@pytest.mark.parametrize("door", DOORS)
def test_every_parameter_comes_in_through_every_door(api: Api, door: Door) -> None:
    before = len(api.rows())
    reply = door(api, EVERY)
    assert reply.status_code in (200, 201), reply.text
    assert len(api.rows()) == before + 1
    assert newest(api)["conversion_parameters"] == EVERY


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("parameters", "words"), WRONG, ids=str)
def test_what_is_no_parameter_is_refused_at_every_door(
    api: Api, door: Door, parameters: dict[str, Any], words: str
) -> None:
    before = len(api.rows())
    reply = door(api, parameters)
    assert reply.status_code == 422
    assert words in reply.json()["detail"]
    assert len(api.rows()) == before


def test_a_dataset_is_converted_again_with_other_parameters(api: Api) -> None:
    uuid = api.accepted(b"pixels", convert="false", conversion_parameters='{"axes": "zyx"}')["dataset_uuid"]
    with ScrayClient(api.url) as client:
        client.convert(uuid)
        assert api.row(uuid)["conversion_parameters"] == {"axes": "zyx"}
        api.database.visstoredatas.update_one({"uuid": uuid}, {"$set": {"status": "done"}})
        client.convert(uuid, {"axes": "xyz", "fill": -1})
    row = api.row(uuid)
    assert (row["conversion_parameters"], row["status"]) == ({"axes": "xyz", "fill": -1}, "conversion queued")
    for body, words in (({"conversion_parameters": {"colour": 1}}, "Known are"), ({"parameters": {}}, "parameters")):
        reply = api.http.post(f"/api/v1/datasets/{uuid}/convert", json=body)
        assert reply.status_code == 422
        assert words in reply.json()["detail"]


def scray(api: Api, *words: str | Path) -> tuple[int, dict[str, Any]]:
    line = [sys.executable, "-m", "cluster.cli", *map(str, words), "--api", api.url, "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def test_the_command_line_sends_them_and_refuses_what_is_none(api: Api, tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"pixels")
    upload: list[str | Path] = ["upload", tmp_path / "x.tif", "--sensor", "TIFF", "--user", EMAIL]
    given = [word for name, value in EVERY.items() for word in ("--param", f"{name}={json.dumps(value)}")]
    code, sent = scray(api, *upload, *given)
    assert (code, newest(api)["conversion_parameters"]) == (0, EVERY)
    before = len(api.rows())
    for parameters, words in WRONG[::3]:
        wrong = [word for name, value in parameters.items() for word in ("--param", f"{name}={json.dumps(value)}")]
        code, said = scray(api, *upload, *wrong)
        assert (code, said["error"]["code"]) == (2, "bad-parameter")
        assert words in said["error"]["message"]
    assert len(api.rows()) == before
    api.database.visstoredatas.update_one({"uuid": sent["dataset_uuid"]}, {"$set": {"status": "done"}})
    assert scray(api, "retry", sent["dataset_uuid"], "--param", "axes=tyx")[0] == 0
    assert api.row(sent["dataset_uuid"])["conversion_parameters"] == {"axes": "tyx"}
