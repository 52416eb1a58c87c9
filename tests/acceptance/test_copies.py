"""Results are copied to the operator's bucket after they are done, unless a dataset is not to be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cluster.state import State
from scray.client import ScrayClient
from scray.multipart import PART_BYTES
from scray.settings import Settings
from scray.sources.bucket import Keys, s3_client
from tests.proxy import Proxy
from tests.ray_session import kill_driver, until
from tests.swift_server import KEY, SECRET, Swift

SAMPLE = Path(__file__).parents[2] / "examples" / "data" / "img3d.tif"
FORM = {"user_email": "a@example.org", "dataset_name": "copied", "sensor": "TIFF"}


def upload(stack: State, **fields: str) -> str:
    with SAMPLE.open("rb") as file:
        answer = httpx.post(
            f"{stack.api}/api/upload/upload", data={**FORM, **fields}, files={"file": file}, trust_env=False
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["dataset_uuid"])


def publication(client: ScrayClient, uuid: str) -> dict[str, Any]:
    found: dict[str, Any] = client.dataset(uuid).get("publication", {})
    return found


def test_a_result_is_copied_or_it_says_why_not(
    stack: State, client: ScrayClient, swift: Swift, request: pytest.FixtureRequest
) -> None:
    first = upload(stack)
    assert client.wait(first, 60)["status"] == "done"
    until(lambda: publication(client, first)["state"] == "failed", what="the refusal")
    assert "SCRAY_S3_PROFILES" in publication(client, first)["error_message"]
    store: Any = request.getfixturevalue("bucket")
    second, kept = upload(stack), upload(stack, publish="false")
    until(lambda: publication(client, second).get("state") == "published", what="the copy")
    assert publication(client, second)["link"] == f"{swift.url}/results/lab/{second}/visus.idx"
    assert client.wait(kept, 60)["status"] == "done"
    assert publication(client, kept) == {}
    rows = store.list_objects_v2(Bucket="results", Prefix="lab/")["Contents"]
    found = {row["Key"]: store.get_object(Bucket="results", Key=row["Key"])["Body"].read() for row in rows}
    root = Path(stack.data) / "converted" / second
    here = {f"lab/{second}/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert found == {key: content for key, content in here.items() if not key.endswith("/run.json")}


def test_a_copy_goes_on_where_a_kill_cut_it_off(
    stack: State, client: ScrayClient, swift: Swift, profiles: Path, tmp_path: Path
) -> None:
    """The driver dies with all its tasks while a file is sent: only the parts that were open are sent again."""
    store = s3_client(Keys(KEY, SECRET, endpoint_url=swift.url), Settings(), trusted=True)
    before, large = profiles.read_text(), tmp_path / "large.bin"
    large.write_bytes(os.urandom(10 * PART_BYTES + 5))
    with Proxy(urlsplit(swift.url).port or 0) as line:
        profiles.write_text(before.replace(swift.url, line.url))
        line.pause_seconds = 0.005
        uuid = client.upload(large, sensor="OTHER", name="large", user_email="a@example.org").dataset_uuid
        until(lambda: len(parts_of(store, uuid)) >= 3, what="three parts", seconds=60)
        line.stall()
        kill_driver(stack)
        line.cut(reset=True)
        line.pause_seconds = 0.0
        line.flow()
        sent, there = line.sent_bytes, sum(part["Size"] for part in parts_of(store, uuid))
        until(lambda: publication(client, uuid).get("state") == "published", what="the copy", seconds=60)
        profiles.write_text(before)
        assert line.sent_bytes - sent < large.stat().st_size - there + (1 << 20)
    body = store.get_object(Bucket="results", Key=f"lab/{uuid}/large.bin")["Body"].read()
    assert body == large.read_bytes()
    assert parts_of(store, uuid) == [], "nothing is left of the upload that was cut off"


def parts_of(store: Any, uuid: str) -> list[Any]:
    """What has arrived of the file that is under way."""
    found = store.list_multipart_uploads(Bucket="results", Prefix=f"lab/{uuid}/").get("Uploads", ())
    wanted = [{"Bucket": "results", "Key": one["Key"], "UploadId": one["UploadId"]} for one in found]
    return [part for one in wanted for part in store.list_parts(**one).get("Parts", ())]
