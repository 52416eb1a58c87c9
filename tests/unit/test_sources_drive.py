"""Google Drive, against a local double of its API: files, folders, shortcuts, documents, tokens, refusals."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from scray.errors import (
    ChecksumMismatch,
    ForbiddenAddress,
    ScrayError,
    SourceDenied,
    SourceNotFound,
    SourceRefused,
    SourceUnreachable,
)
from scray.settings import Settings
from scray.sources import open_source, patience, portions
from scray.sources.config import read_config
from scray.sources.drive import DriveSource
from scray.sources.intake import Intake
from scray.sources.links import DriveLink, read_link
from scray.spans import Span
from tests.drive_server import APPS, Drive, serving_drive

CONTENT = os.urandom(10_500)
ID = "1aBcDeFgHiJkLmNoPqRsTuVwXyZ_-0123"


@pytest.fixture
def drive() -> Iterator[Drive]:
    with serving_drive() as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(portions, "RANGE_BYTES", 1000)


def source(drive: Drive, id: str, key: dict[str, Any] | str | None = None, **settings: Any) -> DriveSource:
    chosen = Settings(drive_endpoint=drive.url, **{"allowed_addresses": ("127.0.0.1",), **settings})
    config = read_config("google_drive", {"file_id": id, "service_account_file": key or drive.key})
    found = open_source("google_drive", config.to_seal(), chosen)
    assert isinstance(found, DriveSource)
    return found


def import_all(found: DriveSource, folder: Path) -> dict[str, bytes]:
    intake = Intake.begin(folder / "intake", found, 1 << 20)
    intake.fetch(found, range(len(intake.portions)), time.time() + 60, lines=3)
    digests: dict[tuple[int, Span], str] = {}
    for one in intake.checks():
        digests |= {(one.file, span): digest for span, digest in zip(one.spans, intake.digest(one), strict=True)}
    intake.compare(digests)
    data = folder / "data"
    list(intake.land(data))
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def test_a_file_is_fetched_in_ranges(drive: Drive, tmp_path: Path) -> None:
    id = drive.put("scan.tif", CONTENT)
    assert import_all(source(drive, id), tmp_path) == {"scan.tif": CONTENT}
    assert len([one for one in drive.asked if "alt=media" in one]) == 11


def test_a_broken_line_is_taken_up_again(drive: Drive, tmp_path: Path) -> None:
    id = drive.put("scan.tif", CONTENT)
    found = source(drive, id)
    intake = Intake.begin(tmp_path / "intake", found, 1 << 20)
    drive.cut_after = 300
    intake.fetch(found, (0,), time.time() + 60)
    assert [one.partition(" ")[2] for one in drive.asked[-2:]] == ["bytes=0-999", "bytes=300-999"]
    assert intake.part(0).read_bytes() == CONTENT[:1000]


def test_a_folder_with_everything_in_it(drive: Drive, tmp_path: Path) -> None:
    top = drive.folder("run", driveId="shared")
    deep = drive.folder("deep", top)
    drive.put("a.tif", CONTENT, top)
    drive.put("a.tif", CONTENT[::-1], top)
    drive.put("../b/c.tif", CONTENT, deep)
    drive.put("empty", b"", deep)
    drive.put("notes", parent=top, kind=f"{APPS}document")
    drive.put("table", parent=deep, kind=f"{APPS}spreadsheet")
    drive.put("survey", parent=top, kind=f"{APPS}form")
    drive.shortcut("link.tif", drive.put("far.tif", CONTENT[:5], "elsewhere"), deep)
    drive.shortcut("round", top, deep)
    found = source(drive, top)
    expected = {
        "a.tif": CONTENT, "a (2).tif": CONTENT[::-1], "deep/_b_c.tif": CONTENT, "deep/empty": b"",
        "notes.pdf": b"application/pdf", "deep/link.tif": CONTENT[:5],
        "deep/table.xlsx": b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    }  # fmt: skip
    assert import_all(found, tmp_path) == expected
    notes = Intake(tmp_path / "intake").notes
    assert len(notes) == 1
    assert "survey" in notes[0]


def test_an_old_token_is_replaced(drive: Drive, tmp_path: Path) -> None:
    drive.token_uses = 3
    id = drive.put("scan.tif", CONTENT)
    assert import_all(source(drive, id), tmp_path) == {"scan.tif": CONTENT}
    assert len(drive.tokens) >= 4


def test_a_wrong_md5_is_told(drive: Drive, tmp_path: Path) -> None:
    id = drive.put("scan.tif", CONTENT, md5Checksum="0" * 32)
    with pytest.raises(ChecksumMismatch):
        import_all(source(drive, id), tmp_path)


def test_errors_are_told_apart(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "rest", lambda *_: None)
    id = drive.put("scan.tif", CONTENT)
    private = drive.put("private.tif", CONTENT, shared=False)
    with pytest.raises(SourceNotFound, match=r"robot@lab\.example\.org"):
        source(drive, private).probe()
    with pytest.raises(SourceNotFound):
        source(drive, "doesnotexist").probe()
    with pytest.raises(SourceRefused, match="form"):
        source(drive, drive.put("survey", kind=f"{APPS}form")).probe()
    with pytest.raises(SourceDenied, match="owner"):
        source(drive, drive.put("kept", CONTENT, capabilities={"canDownload": False})).probe()
    answers: list[tuple[int, str, type[ScrayError]]] = [
        (403, "rateLimitExceeded", SourceUnreachable), (403, "userRateLimitExceeded", SourceUnreachable),
        (429, "rateLimitExceeded", SourceUnreachable), (500, "backendError", SourceUnreachable),
        (403, "insufficientFilePermissions", SourceDenied), (403, "cannotDownloadAbusiveFile", SourceRefused),
        (400, "invalid", SourceRefused),
    ]  # fmt: skip
    for status, reason, error in answers:
        drive.failures = [(status, reason, {"Retry-After": "7"})] * (patience.TRIES if error.transient else 1)
        with pytest.raises(error) as raised:
            source(drive, id).probe()
        assert type(raised.value) is error, reason
        assert getattr(raised.value, "wait_seconds", 7.0) == 7.0


def test_a_folder_is_listed_to_its_end_although_google_asks_to_wait(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing of thousands of questions is not begun anew for one of them."""
    top = drive.folder("run")
    names = [drive.put(f"{n}.tif", CONTENT, top) and f"{n}.tif" for n in range(7)]
    waits: list[float] = []
    monkeypatch.setattr(patience, "rest", lambda error, _: waits.append(error.wait_seconds))
    drive.failures = [(403, "userRateLimitExceeded", {"Retry-After": "7"}), (503, "backendError", {})]
    assert [file.path for file in source(drive, top).probe().files] == names
    assert waits == [7.0, 0.0]


def test_wrong_keys(drive: Drive, tmp_path: Path) -> None:
    id = drive.put("scan.tif", CONTENT)
    with serving_drive() as other, pytest.raises(SourceDenied, match="key of the service account"):
        source(drive, id, {**other.key, "token_uri": drive.key["token_uri"]}).probe()
    for key in ({"type": "service_account"}, '{"broken', {**drive.key, "private_key": "x"}, "no-such-name"):
        with pytest.raises(SourceDenied):
            source(drive, id, key, visus_datasets=tmp_path)
    with pytest.raises(ForbiddenAddress):
        source(drive, id, {**drive.key, "token_uri": "http://127.0.0.2:9/token"}).probe()
    with pytest.raises(ForbiddenAddress):
        source(drive, id, allowed_addresses=()).probe()


def test_a_key_of_the_operator_is_used_by_name(drive: Drive, tmp_path: Path) -> None:
    id = drive.put("scan.tif", CONTENT)
    (tmp_path / "auth/google").mkdir(parents=True)
    (tmp_path / "auth/google/lab.json").write_text(json.dumps(drive.key))
    (tmp_path / "auth/other.json").write_text(json.dumps(drive.key))
    for name in ("lab", "lab.json", "/home/ada/keys/lab.json"):
        assert source(drive, id, name, visus_datasets=tmp_path).probe().files[0].size == len(CONTENT)
    for name in ("../other", "/etc/passwd", "..", "x" * 300):
        with pytest.raises(SourceDenied):
            source(drive, id, name, visus_datasets=tmp_path)


@pytest.mark.parametrize(
    "link",
    [
        ID,
        f"https://drive.google.com/open?id={ID}",
        f"https://drive.google.com/uc?export=download&id={ID}",
        f"https://drive.google.com/file/d/{ID}/view?usp=sharing",
        f"https://drive.google.com/file/d/{ID}",
        f"https://drive.google.com/drive/folders/{ID}?usp=sharing",
        f"https://drive.google.com/drive/u/0/folders/{ID}",
        f"drive.google.com/drive/folders/{ID}",
        f"https://docs.google.com/document/d/{ID}/edit#heading=h.1",
        f"https://docs.google.com/spreadsheets/d/{ID}/edit?gid=0",
        f"https://drive.google.com/{ID}/view",
        f"https://drive.google.com/a/{ID}/edit",
    ],
)
def test_links(link: str) -> None:
    assert read_link(link) == DriveLink(ID)


def test_a_link_with_a_resource_key() -> None:
    assert read_link(f"https://drive.google.com/file/d/{ID}/view?resourcekey=0-abc_D") == DriveLink(ID, "0-abc_D")


@pytest.mark.parametrize(
    "link",
    ["", "x", "https://drive.google.com/", "https://drive.google.com/view", "https://example.org/file/d/" + ID,
     "https://drive.google.com.evil.org/file/d/" + ID, "javascript:alert(1)", "https://drive.google.com/open?id=../x",
     f"ftp://drive.google.com/file/d/{ID}"],
)  # fmt: skip
def test_what_is_no_link(link: str) -> None:
    with pytest.raises(ValueError, match="Google Drive"):
        read_link(link)
    with pytest.raises(ValidationError):
        read_config("google_drive", {"file_id": link, "service_account_file": "lab"})
