"""Files at addresses: what is probed, fetched, resumed, refused."""

from __future__ import annotations

import base64
import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from scray.errors import (
    BadParameter,
    ChecksumMismatch,
    EmptyInput,
    ForbiddenAddress,
    RemoteChanged,
    ScrayError,
    SourceDenied,
    SourceNotFound,
    SourceRefused,
    SourceUnreachable,
    TimedOut,
    TooLarge,
)
from scray.settings import Settings
from scray.sources import RemoteFile, Sink, open_source, patience, portions
from scray.sources.address import Allowed, wait_seconds
from scray.sources.intake import Intake
from scray.sources.url import UrlSource
from scray.spans import Span
from tests.range_server import Web, serving_files

ALLOWED = Settings(allowed_addresses=("127.0.0.1",))
SMALL = 1000
CONTENT = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serving_files() as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(portions, "RANGE_BYTES", SMALL)


def source(url: str, settings: Settings = ALLOWED) -> UrlSource:
    found = open_source("url", {"url": url}, settings)
    assert isinstance(found, UrlSource)
    return found


def fetch_all(intake: Intake, found: UrlSource, until: float = 0.0) -> None:
    for number in range(len(intake.portions)):
        if number not in intake.marks():
            intake.fetch(found, (number,), until or time.time() + 60)


def check(intake: Intake) -> None:
    digests: dict[tuple[int, Span], str] = {}
    for one in intake.checks():
        digests |= {(one.file, span): digest for span, digest in zip(one.spans, intake.digest(one), strict=True)}
    intake.compare(digests)


def import_all(url: str, folder: Path, settings: Settings = ALLOWED) -> dict[str, bytes]:
    """What lies in the dataset after a whole import."""
    found = source(url, settings)
    intake = Intake.begin(folder / "intake", found, settings.max_bytes)
    fetch_all(intake, found)
    check(intake)
    root = folder / "data"
    list(intake.land(root))
    list(intake.land(root))  # done again, harmless
    intake.clear()
    assert [path.name for path in folder.iterdir()] == ["data"]
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_file_is_fetched_in_ranges(web: Web, tmp_path: Path) -> None:
    web.put("/a/scan%201.tif", CONTENT)
    web.asked.clear()
    assert import_all(web.url("/a/scan%201.tif?key=secret"), tmp_path) == {"scan 1.tif": CONTENT}
    ranges = [span for path, span in web.asked if path == "/a/scan%201.tif"]
    assert ranges[0] == "bytes=0-0"
    assert ranges[1:] == [f"bytes={at}-{min(at + SMALL, len(CONTENT)) - 1}" for at in range(0, len(CONTENT), SMALL)]


@pytest.mark.parametrize(
    "how",
    [
        {"ranges": False},
        {"etag": ""},
        {"etag": 'W/"weak"'},
        {"length": False, "ranges": False},
        {"etag": "", "headers": {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, "ranges": False},
    ],
)
def test_a_server_without_ranges_or_length_is_read_to_its_end(web: Web, tmp_path: Path, how: dict[str, object]) -> None:
    web.put("/plain", CONTENT, **how)
    assert import_all(web.url("/plain"), tmp_path) == {"plain": CONTENT}


@pytest.mark.parametrize("how", [{}, {"ranges": False}])
def test_a_broken_line_is_taken_up_again(web: Web, tmp_path: Path, how: dict[str, object]) -> None:
    web.put("/cut", CONTENT, cut_after=600, cuts=3, **how)
    web.asked.clear()
    assert import_all(web.url("/cut"), tmp_path) == {"cut": CONTENT}
    if not how:
        assert "bytes=600-999" in [span for _, span in web.asked]


def test_who_was_given_up_touches_no_file_that_has_come(web: Web, tmp_path: Path) -> None:
    """A worker that stood still while another one fetched the same, from a server without ranges, and goes on."""
    page = web.put("/late", CONTENT, ranges=False, cut_after=600)
    found = source(web.url("/late"))
    intake = Intake.begin(tmp_path / "intake", found, 1 << 20)
    asked, go = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        page.before = lambda: None
        asked.release()
        go.wait(30)

    page.before = hold
    with ThreadPoolExecutor() as pool:
        late = pool.submit(intake.fetch, found, (0,), time.time() + 60)
        assert asked.acquire(timeout=30)
        fetch_all(intake, found)
        list(intake.land(tmp_path / "data"))
        before = (tmp_path / "data/late").stat()
        page.cuts = 1
        go.set()
        with pytest.raises(FileNotFoundError):
            late.result(60)
    after = (tmp_path / "data/late").stat()
    assert (tmp_path / "data/late").read_bytes() == CONTENT
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_is_marked_is_not_fetched_again(web: Web, tmp_path: Path) -> None:
    web.put("/resume", CONTENT)
    found = source(web.url("/resume"))
    intake = Intake.begin(tmp_path / "intake", found, SMALL)
    for number in (0, 3, 7):
        intake.fetch(found, (number,), time.time() + 60)
    web.asked.clear()
    again = Intake(tmp_path / "intake")
    assert set(again.marks()) == {0, 3, 7}
    fetch_all(again, found)
    assert len(web.asked) == len(again.portions) - 3
    check(again)
    assert again.part(0).read_bytes() == CONTENT


FETCHER = f"""
import sys, time
from pathlib import Path
from scray.settings import Settings
from scray.sources import open_source, portions
from scray.sources.intake import Intake
portions.RANGE_BYTES = {SMALL}
intake = Intake(Path(sys.argv[1]))
source = open_source("url", {{"url": sys.argv[2]}}, Settings(allowed_addresses=("127.0.0.1",)))
intake.fetch(source, range(len(intake.portions)), time.time() + 60, lines=3)
"""


def test_a_kill_costs_the_ranges_that_were_open(web: Web, tmp_path: Path) -> None:
    page = web.put("/killed", CONTENT)
    found = source(web.url("/killed"))
    intake = Intake.begin(tmp_path / "intake", found, SMALL)
    gate = threading.Semaphore(4)
    page.before = lambda: gate.acquire(timeout=60)
    web.asked.clear()
    child = subprocess.Popen([sys.executable, "-c", FETCHER, str(intake.folder), web.url("/killed")])
    try:
        deadline = time.monotonic() + 60
        while len(intake.marks()) < 4 or len(web.asked) < 7:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
        gate.release(1000)
    assert len(web.asked) == 7, "four that came, three that were open"
    intake.fetch(found, range(len(intake.portions)), time.time() + 60, lines=3)
    assert len(web.asked) == len(intake.portions) + 3
    check(intake)
    assert intake.part(0).read_bytes() == CONTENT


def test_a_line_that_brings_nothing_is_given_up(web: Web, tmp_path: Path) -> None:
    page = web.put("/dead", CONTENT)
    found = source(web.url("/dead"))
    intake = Intake.begin(tmp_path / "intake", found, SMALL)
    page.status = 503
    web.asked.clear()
    with pytest.raises(SourceUnreachable, match="503"):
        fetch_all(intake, found)
    assert len(web.asked) == patience.TRIES
    assert intake.marks() == {}


def test_a_file_that_changes_meanwhile_is_told(web: Web, tmp_path: Path) -> None:
    page = web.put("/change", CONTENT)
    found = source(web.url("/change"))
    intake = Intake.begin(tmp_path / "intake", found, SMALL)
    intake.fetch(found, (0,), time.time() + 60)
    page.content, page.etag = CONTENT[::-1], '"v2"'
    with pytest.raises(RemoteChanged):
        intake.fetch(found, (1,), time.time() + 60)


@pytest.mark.parametrize(
    ("header", "algorithm"), [("Repr-Digest", "sha-256=:{}:"), ("x-goog-hash", "crc32c=AAAA, md5={}")]
)
@pytest.mark.parametrize("right", [True, False])
def test_a_checksum_of_the_server_is_checked(
    web: Web, tmp_path: Path, header: str, algorithm: str, right: bool
) -> None:
    digest = hashlib.sha256 if "sha-256" in algorithm else hashlib.md5
    text = base64.b64encode(digest(CONTENT if right else b"x").digest()).decode()
    web.put("/sum", CONTENT, headers={header: algorithm.format(text)})
    if right:
        assert import_all(web.url("/sum"), tmp_path) == {"sum": CONTENT}
        return
    with pytest.raises(ChecksumMismatch, match="sum"):
        import_all(web.url("/sum"), tmp_path)
    assert Intake(tmp_path / "intake").marks() == {}, "it is fetched anew"


def test_a_disk_that_has_something_else_is_found(web: Web, tmp_path: Path) -> None:
    """Every byte is read back, and compared with what was received."""
    web.put("/disk", CONTENT)
    found = source(web.url("/disk"))
    intake = Intake.begin(tmp_path / "intake", found, SMALL)

    class Failing(UrlSource):
        def read(self, file: RemoteFile, span: Span, sink: Sink) -> None:
            super().read(file, span, sink)
            with intake.part(0).open("r+b") as part:
                part.seek(span.start)
                part.write(b"?")

    with pytest.raises(ChecksumMismatch, match="disk"):
        intake.fetch(Failing({"url": web.url("/disk")}, ALLOWED), (3,), time.time() + 60)
    assert intake.marks() == {}


def test_lines_that_break_do_not_spoil_the_others(web: Web, tmp_path: Path) -> None:
    """What is under way beside an error is finished; nothing further is begun; what has its mark stays."""
    page = web.put("/some", CONTENT)
    found = source(web.url("/some"))
    intake = Intake.begin(tmp_path / "intake", found, SMALL)
    answered = iter(range(5))

    def break_after_five() -> None:
        if next(answered, None) is None:
            page.status = 404

    page.before = break_after_five
    with pytest.raises(SourceNotFound):
        intake.fetch(found, range(len(intake.portions)), time.time() + 60, lines=2)
    marks = intake.marks()
    assert 5 <= len(marks) <= 7
    page.status, page.before = 0, lambda: None
    web.asked.clear()
    intake.fetch(found, range(len(intake.portions)), time.time() + 60, lines=4)
    assert len(web.asked) == len(intake.portions) - len(marks)
    check(intake)
    assert intake.part(0).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, SourceDenied), (403, SourceDenied), (404, SourceNotFound), (410, SourceNotFound), (418, SourceRefused),
     (429, SourceUnreachable), (500, SourceUnreachable), (503, SourceUnreachable)],
)  # fmt: skip
def test_errors_are_told_apart(web: Web, status: int, error: type[ScrayError]) -> None:
    web.put("/error", status=status, headers={"Retry-After": "7"})
    with pytest.raises(error) as raised:
        source(web.url("/error")).probe()
    assert type(raised.value) is error
    assert getattr(raised.value, "wait_seconds", 7.0) == 7.0


def test_an_empty_file_and_a_packed_answer_are_refused(web: Web) -> None:
    web.put("/empty", b"")
    with pytest.raises(EmptyInput):
        source(web.url("/empty")).probe()
    web.put("/packed", CONTENT, headers={"Content-Encoding": "gzip"})
    with pytest.raises(SourceRefused, match="encoding"):
        source(web.url("/packed")).probe()


def test_limits(web: Web, tmp_path: Path) -> None:
    little = Settings(allowed_addresses=("127.0.0.1",), max_bytes=5000)
    web.put("/large", CONTENT)
    with pytest.raises(TooLarge):
        source(web.url("/large"), little).probe()
    web.put("/large", CONTENT, length=False, ranges=False)
    with pytest.raises(TooLarge, match="5,000"):
        import_all(web.url("/large"), tmp_path, little)
    web.put("/late", CONTENT)
    found = source(web.url("/late"))
    intake = Intake.begin(tmp_path / "late", found, SMALL)
    with pytest.raises(TimedOut):
        fetch_all(intake, found, until=time.time() - 1)


# --- where it may go -------------------------------------------------------------------------------


PRIVATE = (
    "127.0.0.1", "localhost", "[::1]", "0.0.0.0", "127.1", "2130706433", "0177.0.0.1", "[::ffff:127.0.0.1]",
    "169.254.169.254", "[64:ff9b::7f00:1]", "10.0.0.1",
)  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_refused(web: Web, host: str) -> None:
    web.put("/private", CONTENT)
    web.asked.clear()
    with pytest.raises((ForbiddenAddress, SourceUnreachable, SourceRefused)) as raised:
        source(f"http://{host}:{web.port}/private", Settings()).probe()
    assert web.asked == []
    if host not in {"[::1]", "0177.0.0.1"}:
        assert isinstance(raised.value, ForbiddenAddress)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
def test_what_is_no_name_of_a_host_cannot_be_reached(host: str) -> None:
    with pytest.raises((SourceUnreachable, SourceRefused)):
        source(f"http://{host}/x", Settings()).probe()
    place = {"bucket_name": "lab", "object_key": "x", "anonymous": True, "endpoint_url": f"http://{host}"}
    with pytest.raises(ScrayError):
        open_source("s3", place, Settings()).probe()


@pytest.mark.parametrize(
    ("host", "why"), [("nowhere.invalid", "no address is known"), ("127.0.0.1:1", "nothing there")]
)
def test_why_a_host_cannot_be_reached_is_said_in_words(host: str, why: str) -> None:
    with pytest.raises(SourceUnreachable, match=why):
        UrlSource({"url": f"http://{host}/scan.tif"}, ALLOWED).probe()


def test_a_name_that_changes_its_address_leads_nowhere_else(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a name says the second time: what was checked is what is connected to."""
    web.put("/rebound", CONTENT)
    resolve = socket.getaddrinfo
    answers = iter(["127.0.0.1"])

    def rebind(host: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve(next(answers, "127.0.0.2") if name == "rebound.example" else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    with socket.create_server(("127.0.0.2", web.port)) as trap:
        trap.setblocking(False)
        found = source(web.url("/rebound", "rebound.example"))
        assert found.probe().files[0].size == len(CONTENT)
        with pytest.raises(ForbiddenAddress):
            found.probe()
        with pytest.raises(ForbiddenAddress):
            open_source(
                "s3",
                {
                    "bucket_name": "lab", "object_key": "x", "anonymous": True,
                    "endpoint_url": f"http://rebound.example:{web.port}",
                },
                ALLOWED,
            ).probe()  # fmt: skip
        with pytest.raises(BlockingIOError):
            trap.accept()


def test_a_redirect_leads_nowhere_else(web: Web) -> None:
    web.put("/away", status=302, headers={"Location": web.url("/private", "127.0.0.2")})
    web.put("/private", CONTENT)
    with pytest.raises(ForbiddenAddress):
        source(web.url("/away")).probe()
    web.put("/file", status=302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(SourceRefused):
        source(web.url("/file")).probe()
    web.put("/loop", status=302, headers={"Location": "/loop"})
    web.asked.clear()
    with pytest.raises(SourceRefused, match="redirects"):
        source(web.url("/loop")).probe()
    assert len(web.asked) <= 6
    web.put("/near", status=302, headers={"Location": "/private"})
    assert source(web.url("/near")).probe().files[0].path == "private"


@pytest.mark.parametrize("url", ["ftp://x.org/a", "file:///etc/passwd", "http://", "gopher://x"])
def test_only_http(url: str) -> None:
    with pytest.raises(SourceRefused):
        source(url)


def test_proxies_are_not_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, web.url("/"))
    web.asked.clear()
    with pytest.raises(ForbiddenAddress):
        source("http://127.0.0.9:9/x", Settings()).probe()
    assert web.asked == []


def test_the_list_of_the_operator() -> None:
    allowed = Allowed(Settings(allowed_addresses=("10.1.0.0/16", "::1")))
    for text, may in {"10.1.2.3": True, "10.2.0.1": False, "::1": True, "127.0.0.1": False, "8.8.8.8": True,
                      "::ffff:10.1.9.9": True, "::ffff:10.2.9.9": False, "224.0.0.1": False,
                      "2002:7f00:1::": False}.items():  # fmt: skip
        assert allowed(ip_address(text)) is may, text
    with pytest.raises(BadParameter):
        Allowed(Settings(allowed_addresses=("everywhere",)))


def test_retry_after() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for text, seconds in {"": 0, "5": 5, "99999": 60, "x": 0, "Thu, 01 Jan 2026 00:00:30 GMT": 30,
                          "Thu, 01 Jan 2025 00:00:30 GMT": 0}.items():  # fmt: skip
        assert wait_seconds(text, lambda: now) == seconds


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Content-Disposition": 'attachment; filename="a b.tif"'}, "a b.tif"),
        ({"Content-Disposition": "attachment; filename*=UTF-8''%C3%A4.tif"}, "ä.tif"),
        ({"Content-Disposition": 'attachment; filename="../../x.tif"'}, "x.tif"),
        ({"Content-Disposition": "attachment; filename=.."}, "end.h5"),
        ({}, "end.h5"),
    ],
)
def test_names(web: Web, headers: dict[str, str], name: str) -> None:
    web.put("/deep/end.h5", CONTENT, headers=headers)
    assert source(web.url("/deep/end.h5?x=/y.tif")).probe().files[0].path == name
