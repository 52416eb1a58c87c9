"""`scray upload` against a real server: what it prints, and that it goes on after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api_server import Api, until
from tests.proxy import Proxy

SIZE = 130_000_000  # more than goes as one form


AS_A_USER = (
    "setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-dac_override,-dac_read_search",
)  # fmt: skip  # root reads everything


def scray(tmp_path: Path, url: str, *words: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cluster.cli", "upload", *map(str, words), "--sensor", "TIFF", "--api", url]
    command = [*(AS_A_USER if os.geteuid() == 0 else ()), *command]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    return subprocess.Popen(
        [*command, "--user", "ada@example.org"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def test_a_folder_prints_lines_and_one_document(api: Api, tmp_path: Path) -> None:
    for name in ("a.tif", "sub/b.tif"):
        (tmp_path / "scan" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "scan" / name).write_bytes(b"pixels")
    said, told = scray(tmp_path, api.url, tmp_path / "scan").communicate()
    assert "2 of 2 files, 12 B of 12 B" in told
    root = api.data / "upload" / said.strip()
    assert sorted(path.name for path in root.rglob("*.tif")) == ["a.tif", "b.tif"]
    said, told = scray(tmp_path, api.url, tmp_path / "scan", "--json").communicate()
    assert (json.loads(said)["name"], told) == ("scan", "")


def test_after_ctrl_c_the_same_command_goes_on(api: Api, tmp_path: Path) -> None:
    source = tmp_path / "large.tif"
    source.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    with Proxy(api.port) as proxy:
        proxy.pause_seconds = 0.002
        first = scray(tmp_path, proxy.url, source)
        until(lambda: proxy.sent_bytes > SIZE // 2, 60, "half of the file")
        first.send_signal(signal.SIGINT)
        said, told = first.communicate()
        assert (first.returncode, said) == (130, "")
        assert "The same command again goes on" in told
        assert "Traceback" not in told
        until(lambda: _held(api) > SIZE // 3, what="the server's note of what came")
        proxy.pause_seconds = 0.0
        again = scray(tmp_path, proxy.url, source, "--json")
        said, told = again.communicate()
        assert again.returncode == 0, told
        assert proxy.sent_bytes <= 1.2 * SIZE
    stored = api.data / "upload" / json.loads(said)["dataset_uuid"] / "large.tif"
    assert stored.read_bytes() == source.read_bytes()


def test_what_is_not_sent_of_a_folder_is_told(api: Api, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.tif", "sub/b.tif", ".hidden"):
        (folder / name).write_bytes(b"pixels")
    (folder / "broken.tif").symlink_to("nowhere")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    said, told = scray(tmp_path, api.url, folder).communicate()
    assert f"{folder / 'broken.tif'} is not sent: it is a link that leads nowhere." in told
    assert f"{folder / 'linked'} is not sent: it is a link to a folder." in told
    assert f"{folder / 'pipe'} is not sent: it is neither a file nor a folder." in told
    assert ".hidden" not in told
    assert api.row(said.strip())["file_count"] == 2


@pytest.mark.parametrize("locked", ["sub", "sub/b.tif"])
def test_a_folder_that_cannot_be_read_is_not_sent_in_part(api: Api, tmp_path: Path, locked: str) -> None:
    folder, before = tmp_path / "scan", len(api.rows())
    (folder / "sub").mkdir(parents=True)
    for name in ("a.tif", "sub/b.tif"):
        (folder / name).write_bytes(b"pixels")
    (folder / locked).chmod(0)
    started = scray(tmp_path, api.url, folder)
    said, told = started.communicate()
    (folder / locked).chmod(0o700)
    assert (started.returncode, said) == (2, "")
    assert f"{folder / locked} cannot be read: Permission denied." in told
    assert len(api.rows()) == before


def test_a_service_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"pixels")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        started = scray(tmp_path, url, tmp_path / "a.tif")
        told = started.communicate(timeout=120)[1]
    assert started.returncode == 1
    assert f"{url} could not be reached" in told


def _held(api: Api) -> int:
    """How many bytes of chunks that broke off the server knows of."""
    parts = (page.get("part", {}) for page in api.database.upload_chunks.find())
    return sum(size for part in parts for size in part.values())
