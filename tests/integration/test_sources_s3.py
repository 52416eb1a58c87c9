"""Buckets, on a real object store: found, fetched in ranges, checked by ETag; keys, profiles, nobody; refusals."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from scray.errors import (
    ChecksumMismatch,
    ForbiddenAddress,
    RemoteChanged,
    ScrayError,
    SourceDenied,
    SourceNotFound,
    SourceRefused,
    SourceUnreachable,
)
from scray.settings import Settings
from scray.sources import open_source, patience, portions
from scray.sources.bucket import Keys, s3_client
from scray.sources.intake import Intake
from scray.sources.s3 import S3Source
from scray.spans import Span
from tests.swift_server import KEY, SECRET, Swift

ALLOWED = Settings(allowed_addresses=("127.0.0.1",))
BUCKET = "lab"
PART_BYTES = 5 << 20
CONTENT = os.urandom(2 * PART_BYTES + 1234)


@pytest.fixture(scope="module")
def bucket(swift: Swift) -> Any:
    client = s3_client(Keys(KEY, SECRET, endpoint_url=swift.url), ALLOWED)
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="one/scan.tif", Body=CONTENT[:100_000])
    client.put_object(Bucket=BUCKET, Key="run/a.tif", Body=CONTENT[:1000])
    client.put_object(Bucket=BUCKET, Key="run/deep/ä b.tif", Body=CONTENT[1000:3000])
    client.put_object(Bucket=BUCKET, Key="run/deep/", Body=b"")
    client.put_object(Bucket=BUCKET, Key="run/empty", Body=b"")
    client.put_object(Bucket=BUCKET, Key="running", Body=b"another")
    client.put_object(Bucket=BUCKET, Key="hostile/../../x", Body=b"x")
    client.put_object(Bucket=BUCKET, Key="whole.bin", Body=CONTENT)
    put_in_parts(client, "parts.bin", [PART_BYTES, PART_BYTES, 1234])
    put_in_parts(client, "odd.bin", [PART_BYTES + 1000, PART_BYTES, 234])
    return client


def put_in_parts(client: Any, key: str, sizes: list[int]) -> None:
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    parts, start = [], 0
    for number, size in enumerate(sizes, 1):
        data = CONTENT[start : start + size]
        sent = client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=data)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        start += size
    client.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(portions, "RANGE_BYTES", 1_000_000)


def source(swift: Swift, key: str, settings: Settings = ALLOWED, **config: Any) -> S3Source:
    given = {"bucket_name": BUCKET, "object_key": key, "endpoint_url": swift.url}
    keys = {"access_key_id": KEY, "secret_access_key": SECRET}
    found = open_source("s3", {**given, **(config or keys)}, settings)
    assert isinstance(found, S3Source)
    return found


def import_all(found: S3Source, folder: Path) -> dict[str, bytes]:
    intake = Intake.begin(folder / "intake", found, 1 << 30)
    intake.fetch(found, range(len(intake.portions)), time.time() + 60, lines=3)
    check(intake)
    list(intake.land(folder / "data"))
    data = folder / "data"
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def check(intake: Intake) -> None:
    digests: dict[tuple[int, Span], str] = {}
    for one in intake.checks():
        digests |= {(one.file, span): digest for span, digest in zip(one.spans, intake.digest(one), strict=True)}
    intake.compare(digests)


@pytest.mark.usefixtures("bucket")
def test_an_object(swift: Swift, tmp_path: Path) -> None:
    found = source(swift, "one/scan.tif")
    (file,) = found.probe().files
    assert file.checksum == f"md5:{hashlib.md5(CONTENT[:100_000]).hexdigest()}"
    assert import_all(found, tmp_path) == {"scan.tif": CONTENT[:100_000]}


@pytest.mark.usefixtures("bucket")
def test_an_object_of_parts_is_fetched_in_ranges_and_checked_by_its_parts(swift: Swift, tmp_path: Path) -> None:
    found = source(swift, "parts.bin")
    (file,) = found.probe().files
    assert (file.checksum.partition(":")[0], file.part_bytes, file.checksum[-2:]) == ("etag", PART_BYTES, "-3")
    assert import_all(found, tmp_path) == {"parts.bin": CONTENT}
    intake = Intake(tmp_path / "intake")
    assert (len(intake.portions), list(intake.checks())) == (3, []), "whole parts, each proved by itself"
    mark = tmp_path / "intake/marks/1.json"
    mark.write_text(json.dumps({"sizes": [PART_BYTES], "digests": [["0" * 32]]}))
    with pytest.raises(ChecksumMismatch):
        check(intake)


@pytest.mark.usefixtures("bucket")
def test_a_checksum_of_the_whole_is_compared_at_the_end(swift: Swift, tmp_path: Path) -> None:
    found = source(swift, "whole.bin")
    assert found.probe().files[0].checksum.startswith("md5:")
    assert import_all(found, tmp_path) == {"whole.bin": CONTENT}
    intake = Intake(tmp_path / "intake")
    assert len(intake.portions) == 11
    with intake.part(0).open("r+b") as part:
        part.seek(PART_BYTES + 5)
        part.write(b"?!")
    with pytest.raises(ChecksumMismatch):
        check(intake)


@pytest.mark.usefixtures("bucket")
def test_parts_of_several_sizes_are_checked_by_what_was_received(swift: Swift, tmp_path: Path) -> None:
    found = source(swift, "odd.bin")
    assert found.probe().files[0].checksum == ""
    assert import_all(found, tmp_path) == {"odd.bin": CONTENT[: 2 * PART_BYTES + 1234]}


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("prefix", ["run", "run/"])
def test_everything_under_a_prefix(swift: Swift, tmp_path: Path, prefix: str) -> None:
    expected = {"a.tif": CONTENT[:1000], "deep/ä b.tif": CONTENT[1000:3000], "empty": b""}
    assert import_all(source(swift, prefix), tmp_path) == expected


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("key", "config", "error"),
    [
        ("missing", {}, SourceNotFound),
        ("missing/", {}, SourceNotFound),
        ("one/scan.tif", {"access_key_id": KEY, "secret_access_key": "wrong"}, SourceDenied),
        ("one/scan.tif", {"access_key_id": "nobody", "secret_access_key": "wrong"}, SourceDenied),
        ("one/scan.tif", {"anonymous": True}, SourceRefused),  # Swift answers 400 to nobody, Amazon 403
        ("one/", {"access_key_id": KEY, "secret_access_key": "wrong"}, SourceDenied),
        ("x", {"access_key_id": KEY, "secret_access_key": SECRET, "bucket_name": "no-such-bucket"}, SourceNotFound),
        ("x", {"access_key_id": KEY, "secret_access_key": SECRET, "bucket_name": "B"}, SourceRefused),
        ("x", {"access_key_id": KEY, "secret_access_key": SECRET, "endpoint_url": "http://127.0.0.1:9"},
         SourceUnreachable),
        ("x", {"access_key_id": KEY, "secret_access_key": SECRET, "endpoint_url": "http://127.0.0.2:9"},
         ForbiddenAddress),
        ("x", {"access_key_id": KEY, "secret_access_key": SECRET, "endpoint_url": "http://[::1]:9"}, ForbiddenAddress),
        ("x", {"profile": "unknown"}, SourceDenied),
    ],
)  # fmt: skip
def test_errors_are_told_apart(swift: Swift, key: str, config: dict[str, Any], error: type[ScrayError]) -> None:
    with pytest.raises(error) as raised:
        source(swift, key, **config).probe()
    assert type(raised.value) is error
    assert SECRET not in str(raised.value)


@pytest.mark.usefixtures("bucket")
def test_hostile_keys_are_refused(swift: Swift) -> None:
    with pytest.raises(ScrayError, match="not a relative path"):
        source(swift, "hostile/").probe()


def test_an_object_that_changes_meanwhile_is_told(swift: Swift, bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Bucket=BUCKET, Key="change", Body=CONTENT)
    found = source(swift, "change")
    intake = Intake.begin(tmp_path / "intake", found, 1 << 30)
    intake.fetch(found, (0,), time.time() + 60)
    bucket.put_object(Bucket=BUCKET, Key="change", Body=CONTENT[::-1])
    with pytest.raises(RemoteChanged):
        intake.fetch(found, (1,), time.time() + 60)


@pytest.mark.usefixtures("bucket")
def test_a_profile_of_the_operator(swift: Swift, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles"
    profiles.write_text(f"[lab]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\nendpoint_url={swift.url}\n")
    settings = Settings(allowed_addresses=("127.0.0.1",), s3_profiles=profiles)
    found = open_source("s3", {"bucket_name": BUCKET, "object_key": "run/a.tif", "profile": "lab"}, settings)
    assert found.probe().files[0].size == 1000


@pytest.mark.usefixtures("bucket")
def test_the_default_endpoint_is_trusted_and_nothing_of_the_machine_is_used(
    swift: Swift, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(f"[default]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n")
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_PROFILE": "other",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "config"), "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = Settings(s3_endpoint=swift.url)
    config = {"bucket_name": BUCKET, "object_key": "run/a.tif"}
    with pytest.raises(SourceRefused):
        open_source("s3", {**config, "anonymous": True}, settings).probe()
    keys = {"access_key_id": KEY, "secret_access_key": SECRET}
    assert open_source("s3", {**config, **keys}, settings).probe().files[0].size == 1000
