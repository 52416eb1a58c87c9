"""Results over HTTP: listed, fetched whole and in ranges, opened by a viewer; and fetched on after anything broke."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import h5py
import numpy as np
import pytest
import tifffile
from pymongo import MongoClient
from typer.testing import CliRunner

from cluster.commands import app
from converters.convert import convert
from converters.plan import Choices
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.verify import verify
from scray.client import Download, Manner, Progress, ScrayClient
from scray.errors import ChecksumMismatch, Conflict, NotFound, RemoteChanged, ServiceError, UnsafePath
from scray.manifest import MANIFEST, FileDigest, Manifest, digest_file
from tests.api_server import Api, serving, until
from tests.openvisus import openvisus
from tests.proxy import Proxy
from tests.trees import tree_digests

LARGE = "00112233/0000.bin"
LARGE_BYTES = 105_000_000  # two chunks


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def dataset(api: Api, files: dict[str, bytes], status: str = "done") -> str:
    """A dataset whose result holds these files."""
    uuid = api.accepted(b"1", f"{uuid4().hex}.tif", dataset_name=uuid4().hex)["dataset_uuid"]
    api.database.visstoredatas.update_one({"uuid": uuid}, {"$set": {"status": status}})
    publish(api, uuid, files)
    return str(uuid)


def publish(api: Api, uuid: str, files: dict[str, bytes]) -> Path:
    root = api.data / "converted" / uuid
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    outputs = tuple(digest_file(root, name) for name in files)
    (root / MANIFEST).write_bytes(Manifest((), outputs).to_json())
    return root


SMALL = {
    "visus.idx": b"(version)\n6\n", "metadata.json": b"{}", "preview.png": b"\x89PNG", "0a0b0c0d/00/0.bin": bytes(5000),
    "0a0b0c0d/00/1.bin": bytes(5000), "empty.txt": b"",
    "kept/a page #1 100%.html": b"<script>", "kept/\u00fc \u4e2d.txt": b"name",
}  # fmt: skip


@pytest.fixture
def small(api: Api) -> str:
    return dataset(api, SMALL)


@pytest.fixture(scope="module")
def large_bytes() -> bytes:
    return os.urandom(LARGE_BYTES)


# --- the routes ----------------------------------------------------------------------------------


def test_files_are_listed_with_their_digests_and_served(api: Api, small: str) -> None:
    listed = api.http.get(f"/api/v1/datasets/{small}/files").json()
    assert {row["path"] for row in listed["files"]} == {*SMALL, MANIFEST}
    assert listed["total_bytes"] == sum(row["size_bytes"] for row in listed["files"])
    for row in listed["files"]:
        reply = api.http.get(f"/api/v1/datasets/{small}/files/{quote(row['path'])}")
        assert reply.status_code == 200
        assert len(reply.content) == row["size_bytes"]
        assert row["chunks"] == ([hashlib.sha256(reply.content).hexdigest()] if reply.content else [])
        assert reply.content == SMALL.get(row["path"], reply.content)


def test_ranges_heads_and_tags(api: Api, small: str) -> None:
    place = f"/api/v1/datasets/{small}/files/visus.idx"
    whole = SMALL["visus.idx"]
    head = api.http.head(place)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole)))
    assert head.headers["accept-ranges"] == "bytes"
    for asked, wanted in (("bytes=0-2", whole[:3]), ("bytes=4-", whole[4:]), ("bytes=-3", whole[-3:])):
        reply = api.http.get(place, headers={"Range": asked, "If-Range": head.headers["etag"]})
        assert (reply.status_code, reply.content) == (206, wanted)
    assert api.http.get(place, headers={"Range": "bytes=0-2", "If-Range": '"other"'}).content == whole
    assert api.http.get(place, headers={"Range": "bytes=99-"}).status_code == 416


def test_what_was_uploaded_is_no_page_of_the_service(api: Api, small: str) -> None:
    kinds = {}
    for name in ("kept/a page #1 100%.html", "preview.png", "metadata.json"):
        reply = api.http.get(f"/api/v1/datasets/{small}/files/{quote(name)}")
        assert reply.headers["x-content-type-options"] == "nosniff"
        kinds[Path(name).suffix] = reply.headers["content-type"]
    assert kinds == {".html": "application/octet-stream", ".png": "image/png", ".json": "application/json"}


ESCAPES = (
    "../{other}/visus.idx", "..%2f{other}%2fvisus.idx", "%2e%2e/{other}/visus.idx", "0a0b0c0d/../../{other}/visus.idx",
    "%2e%2e%2f%2e%2e%2fsecret", "%2f{root}/secret", "/{root}/secret", "..%5c{other}%5cvisus.idx", "..%00/visus.idx",
    "visus.idx%00", "link", "links/visus.idx", "chain", "absolute", "loop", "", "%2e", ".", "0a0b0c0d", "0a0b0c0d/",
    "visus.idx/x", "x" * 3000, "nothing.bin", "%ff%fe", "C:%5cwindows", "~/.bashrc", "pipe",
)  # fmt: skip


@pytest.fixture(scope="module")
def trapped(api: Api) -> dict[str, str]:
    """A dataset with links that lead out of it, and what they lead to."""
    own, other = dataset(api, SMALL), dataset(api, {"visus.idx": b"secret of another"})
    root = api.data / "converted" / own
    (api.data / "secret").write_bytes(b"secret")
    for name, target in {
        "link": "../../secret", "links": f"../{other}", "chain": "link", "absolute": str(api.data / "secret"),
        "loop": "loop", "inner": "0a0b0c0d",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    os.mkfifo(root / "pipe")
    return {"own": own, "other": other, "root": str(api.data).strip("/")}


@pytest.mark.parametrize("escape", ESCAPES, ids=lambda text: text[:40])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_path_and_no_link_leaves_the_dataset(api: Api, trapped: dict[str, str], escape: str, method: str) -> None:
    path = escape.format(**trapped)
    target = f"/api/v1/datasets/{trapped['own']}/files/{path}"
    asked = api.http.build_request(method, "/", extensions={"target": target.encode()})
    reply = api.http.send(asked)
    assert reply.status_code == 404, reply.text
    assert b"secret of" not in reply.content
    if method == "GET":
        assert reply.json()["code"] == "not-found"


def test_a_link_within_the_dataset_is_followed(api: Api, trapped: dict[str, str]) -> None:
    assert api.http.get(f"/api/v1/datasets/{trapped['own']}/files").json()["links"] == {"inner": "0a0b0c0d"}
    assert api.http.get(f"/api/v1/datasets/{trapped['own']}/files/inner/00/0.bin").content == bytes(5000)


def test_only_what_is_done_is_listed(api: Api) -> None:
    uuid = dataset(api, SMALL, "converting")
    refused = api.http.get(f"/api/v1/datasets/{uuid}/files")
    assert (refused.status_code, "'converting'" in refused.json()["detail"]) == (409, True)
    bare = api.accepted(b"1", "kept.tif", convert="false")["dataset_uuid"]
    for path in ("", "/visus.idx"):
        missing = api.http.get(f"/api/v1/datasets/{bare}/files{path}")
        assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    assert api.http.get("/api/v1/datasets/nothing/files").status_code == 404


def test_a_viewer_opens_a_cloud_dataset_over_http(api: Api, tmp_path: Path) -> None:
    samples = np.random.default_rng(1).integers(0, 60_000, (40, 150, 200), "<u2")
    tifffile.imwrite(tmp_path / "scan.tif", samples)
    root, files = find_files([tmp_path / "scan.tif"])
    uuid = dataset(api, {"visus.idx": b"of a former result"})
    convert(Job(root, files, "TIFF", {}, Choices(profile="cloud")), api.data / "converted" / uuid, Serial())
    address = f"{api.url}/api/v1/datasets/{uuid}/files/visus.idx"
    seen = openvisus().read(address, "scan")
    assert seen is not None
    assert np.array_equal(seen, samples)
    assert openvisus().describe(address)["box"] == [[0, 0, 0], [200, 150, 40]]
    with ScrayClient(api.url) as client:
        client.download(uuid, tmp_path / "out")
    assert verify(tmp_path / "out", tmp_path / "scan.tif") == []


def test_a_cloud_dataset_of_several_volumes_comes_with_its_link(api: Api, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["one/big"] = np.random.default_rng(1).normal(size=(40, 50, 60)).astype("<f4")
        file["two/small"] = np.arange(600, dtype="<u2").reshape(30, 20)
    root, files = find_files([tmp_path / "scan.h5"])
    uuid = dataset(api, {"visus.idx": b"of a former result"})
    work = Job(root, files, "HDF5", {"dataset": "one/big,two/small"}, Choices(profile="cloud"))
    convert(work, api.data / "converted" / uuid, Serial())
    with ScrayClient(api.url) as client:
        for fetched in (True, False):
            assert (client.download(uuid, tmp_path / "out").fetched > 0) is fetched
            assert (tmp_path / "out" / "visus").is_symlink()
            assert verify(tmp_path / "out", tmp_path / "scan.h5") == []


# --- the client ----------------------------------------------------------------------------------


def test_a_download_is_whole_and_a_second_one_fetches_what_differs(api: Api, small: str, tmp_path: Path) -> None:
    out, seen = tmp_path / "a" / "out", list[Progress]()
    with ScrayClient(api.url) as client:
        found = client.download(small, out, on_progress=seen.append)
        assert found == Download(small, len(SMALL) + 1, seen[-1].total_bytes, len(SMALL) + 1)
        assert (seen[-1].sent_bytes, seen[-1].files_done) == (found.size_bytes, found.files)
        assert tree_digests(out) == tree_digests(api.data / "converted" / small)
        assert client.download(small, out).fetched == 0
        (out / "visus.idx").write_bytes(b"(version)\n7\n")  # as long as it was
        (out / "empty.txt").unlink()
        (out / "mine.txt").write_bytes(b"stays")
        assert client.download(small, out).fetched == 2
        publish(api, small, {**SMALL, "visus.idx": b"(version)\n6\nnew"})
        assert client.download(small, out).fetched == 2, "the header and the manifest"
    assert (out / "visus.idx").read_bytes() == b"(version)\n6\nnew"
    assert (out / "mine.txt").read_bytes() == b"stays"
    assert not list((tmp_path / "state" / "scray" / "uploads").iterdir())


def test_what_is_not_there_is_not_downloaded(api: Api, tmp_path: Path) -> None:
    waiting = dataset(api, SMALL, "conversion queued")
    with ScrayClient(api.url) as client:
        with pytest.raises(Conflict, match="conversion queued"):
            client.download(waiting, tmp_path / "out")
        with pytest.raises(NotFound):
            client.download("nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"x" * 5000, ChecksumMismatch), (b"x" * 4999, RemoteChanged), (b"x" * 5001, RemoteChanged)],
    ids=["other", "shorter", "longer"],
)
def test_what_is_not_as_promised_gets_no_name(
    api: Api, small: str, tmp_path: Path, content: bytes, error: type[Exception]
) -> None:
    (api.data / "converted" / small / "0a0b0c0d/00/0.bin").write_bytes(content)
    with ScrayClient(api.url) as client:
        with pytest.raises(error, match=r"0\.bin"):
            client.download(small, tmp_path / "out")
        assert not (tmp_path / "out" / "0a0b0c0d/00/0.bin").exists()
        assert not (tmp_path / "out" / "visus.idx").exists(), "headers come last"
        publish(api, small, SMALL)
        client.download(small, tmp_path / "out")
    assert tree_digests(tmp_path / "out") == tree_digests(api.data / "converted" / small)


def test_a_line_that_is_cut_costs_no_byte(api: Api, tmp_path: Path, large_bytes: bytes) -> None:
    uuid = dataset(api, {**SMALL, LARGE: large_bytes})
    with Proxy(api.port) as proxy, ScrayClient(proxy.url, manner=Manner(connections=2)) as client:
        proxy.pause_seconds = 0.0005
        limits = [10_000_000, 40_000_000, 70_000_000]
        moved: list[int] = []

        def cut(seen: Progress) -> None:
            moved.append(seen.sent_bytes)
            if limits and seen.sent_bytes > limits[0]:
                limits.pop(0)
                proxy.cut(reset=True)

        client.download(uuid, tmp_path / "out", on_progress=cut)
        assert proxy.cuts == 3
        assert moved == sorted(moved), "nothing was fetched twice"
    assert tree_digests(tmp_path / "out") == tree_digests(api.data / "converted" / uuid)


def test_a_part_that_is_wrong_is_fetched_anew(api: Api, tmp_path: Path) -> None:
    uuid, out = dataset(api, {"big.bin": os.urandom(3_000_000)}), tmp_path / "out"

    def stop(seen: Progress) -> None:
        if seen.sent_bytes > 1_000_000:
            raise RuntimeError("enough")

    with Proxy(api.port) as proxy, ScrayClient(proxy.url) as client:
        proxy.pause_seconds = 0.01
        with pytest.raises(RuntimeError, match="enough"):
            client.download(uuid, out, on_progress=stop)
        part = next(out.glob(".*.part"))
        assert 1_000_000 < part.stat().st_size < 3_000_000
        with part.open("r+b") as file:
            file.write(b"wrong")
        proxy.pause_seconds = 0.0
        assert client.download(uuid, out).fetched >= 1
    assert tree_digests(out) == tree_digests(api.data / "converted" / uuid)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ([{"path": "../evil", "size_bytes": 0, "chunks": []}], UnsafePath),
        ([{"path": "/tmp/evil", "size_bytes": 0, "chunks": []}], UnsafePath),
        ([{"path": "out/link/evil", "size_bytes": 0, "chunks": []}], UnsafePath),
        ({"evil": "../x"}, UnsafePath),
        ({"evil": "/tmp"}, UnsafePath),
        ({"evil": "out/link/x"}, UnsafePath),
        ({"evil": 5}, ServiceError),
        ([{"path": "a", "size_bytes": 5, "chunks": []}], ServiceError),
        ([{"path": "a", "size_bytes": "5", "chunks": []}], ServiceError),
        ([{"size_bytes": 0}], ServiceError),
        ("ab", ServiceError),
        (None, ServiceError),
    ],
    ids=str,
)
def test_a_service_cannot_write_outside_the_folder(tmp_path: Path, files: Any, error: type[Exception]) -> None:
    (tmp_path / "folder" / "out").mkdir(parents=True)
    (tmp_path / "folder" / "out" / "link").symlink_to(tmp_path)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = {"files": [], "links": files} if isinstance(files, dict) else {"files": files}
            body = json.dumps({"dataset_uuid": "x", **listed}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        with ScrayClient(f"http://127.0.0.1:{server.server_port}") as client, pytest.raises(error):
            client.download("x", tmp_path / "folder")
        server.shutdown()
    assert not list(tmp_path.rglob("evil"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "state") == ["folder"]


# --- the command -----------------------------------------------------------------------------------


def scray(url: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cluster.cli", "download", *map(str, words), "--api", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_says_what_it_did(api: Api, small: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = CliRunner().invoke(app, ["download", small, str(out), "--api", api.url])
    assert (first.exit_code, f"{len(SMALL) + 1} were fetched" in first.stdout) == (0, True)
    again = CliRunner().invoke(app, ["download", small, str(out), "--api", api.url, "--json"])
    assert json.loads(again.stdout) | {"size_bytes": 0} == {
        "out": str(out), "dataset_uuid": small, "files": len(SMALL) + 1, "size_bytes": 0, "fetched": 0,
    }  # fmt: skip
    wrong = CliRunner().invoke(app, ["download", small, str(out / "visus.idx"), "--api", api.url])
    assert (wrong.exit_code, "is a file" in wrong.stderr) == (2, True)


def test_after_ctrl_c_the_same_command_goes_on(api: Api, tmp_path: Path, large_bytes: bytes) -> None:
    uuid, out = dataset(api, {LARGE: large_bytes, "visus.idx": b"(version)\n6\n"}), tmp_path / "out"

    def held() -> int:
        return sum(path.stat().st_size for path in out.rglob(".*.part"))

    with Proxy(api.port) as proxy:
        proxy.pause_seconds = 0.002
        first = scray(proxy.url, uuid, out)
        until(lambda: held() > LARGE_BYTES // 4 and (out / MANIFEST).exists(), 60, "a quarter of the file")
        first.send_signal(signal.SIGINT)
        said, told = first.communicate()
        assert (first.returncode, said) == (130, "")
        assert "The same command again goes on" in told
        assert "Traceback" not in told
        assert not (out / "visus.idx").exists()
        kept = held()
        assert kept > LARGE_BYTES // 4
        part = next(out.rglob(".*.part"))
        inode = part.stat().st_ino
        proxy.pause_seconds = 0.0
        again = scray(proxy.url, uuid, out, "--json")
        said, told = again.communicate()
        assert (again.returncode, json.loads(said)["fetched"]) == (0, 2), told  # the manifest was there
    assert (out / LARGE).stat().st_ino == inode
    assert tree_digests(out) == tree_digests(api.data / "converted" / uuid)


TOKEN = "a-long-token"


def test_who_may_fetch_a_result(mongo_url: str, mongo: MongoClient[dict[str, Any]], tmp_path: Path) -> None:
    database = mongo[f"test_{uuid4().hex[:12]}"]
    with serving(mongo_url, database, tmp_path / "api", SCRAY_API_TOKEN=TOKEN) as api:
        api.http.headers["Authorization"] = f"Bearer {TOKEN}"
        uuid = dataset(api, SMALL)
        database.teams.insert_one({"uuid": "t-1", "team_name": "lab", "owner": "head@b.org", "emails": ["team@b.org"]})
        database.user_profile.insert_one({"email": "profile@b.org", "team_id": "lab"})

        def answers(headers: dict[str, str], **query: str) -> set[int]:
            """The statuses of the list and of a file."""
            place = f"/api/v1/datasets/{uuid}/files"
            asked = [("GET", place), ("HEAD", f"{place}/visus.idx"), ("GET", f"{place}/visus.idx")]
            return {api.http.request(how, path, headers=headers, params=query).status_code for how, path in asked}

        def told(**values: Any) -> None:
            database.visstoredatas.update_one({"uuid": uuid}, {"$set": values})

        held = {"Authorization": f"Bearer {TOKEN}"}
        people = ("friend@b.org", "team@b.org", "head@b.org", "profile@b.org")
        del api.http.headers["Authorization"]
        assert answers(held) == answers(held, user_email="ada@example.org") == {200}
        assert {status for who in people for status in answers(held, user_email=who)} == {403}
        told(shared_with=["friend@b.org"], team_uuid="lab")
        assert {status for who in people for status in answers(held, user_email=who)} == {200}
        told(shared_with="friend@b.org and others", team_uuid="t-1")
        assert (answers(held, user_email="team@b.org"), answers(held, user_email="friend@b.org")) == ({200}, {403})
        for public, downloadable in ((False, False), (True, False), (False, True)):
            told(is_public=public, is_public_downloadable=downloadable)
            assert answers({}) == answers({}, user_email="ada@example.org") == {401}
            assert answers(held, user_email="stranger@b.org") == {403}
        told(is_public=True, is_public_downloadable="true")
        assert answers({}) == answers({}, user_email="stranger@b.org") == answers(held, user_email="x@b.org") == {200}
        assert answers({"Authorization": "Bearer wrong"}) == {401}
        for path in ("nothing/files", "nothing/files/visus.idx", uuid, f"{uuid}/status", f"{uuid}/logs"):
            assert api.http.get(f"/api/v1/datasets/{path}").status_code == 401
        assert api.http.get(f"/api/v1/datasets/{uuid}/files/nothing").status_code == 404
    mongo.drop_database(database.name)


def test_many_files_are_listed_in_pages(api: Api) -> None:
    uuid = dataset(api, {"visus.idx": b"1"})
    root, one = api.data / "converted" / uuid, digest_file(api.data / "converted" / uuid, "visus.idx")
    outputs = tuple(FileDigest(f"{number:05}.bin", 1, one.chunks) for number in range(10_000))
    (root / MANIFEST).write_bytes(Manifest((), outputs).to_json())
    place = f"/api/v1/datasets/{uuid}/files"
    whole = api.http.get(place).json()
    assert (len(whole["files"]), whole["total_files"]) == (10_001, 10_001)
    pages = [api.http.get(place, params={"limit": 4000, "offset": at}).json() for at in range(0, 16_000, 4000)]
    assert [len(page["files"]) for page in pages] == [4000, 4000, 2001, 0]
    assert [file for page in pages for file in page["files"]] == whole["files"]
    assert {(page["total_files"], page["total_bytes"]) for page in pages} == {(10_001, whole["total_bytes"])}
    for wrong in ({"limit": 0}, {"offset": -1}, {"limit": 1 << 40}):
        assert api.http.get(place, params=wrong).status_code == 422
