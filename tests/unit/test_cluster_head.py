import os
import stat
from pathlib import Path

import pytest

from cluster import embedded, head
from cluster.local_ray import environment


def test_free_ports_differ() -> None:
    ports = head.free_ports(50)
    assert len(set(ports)) == 50
    assert min(ports) > 1023


def test_head_listens_on_loopback_only(tmp_path: Path) -> None:
    ports = head.Ports.choose()
    words = head.command(ports, tmp_path, 2)
    assert "--node-ip-address=127.0.0.1" in words
    assert "--dashboard-host=127.0.0.1" in words
    assert head.environment({}, tmp_path)["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert head.environment({}, tmp_path)["RAY_AUTH_MODE"] == "token"


def test_every_port_of_the_head_is_chosen(tmp_path: Path) -> None:
    ports = head.Ports.choose()
    words = head.command(ports, tmp_path, 2)
    for number in vars(ports).values():
        assert any(word.endswith(f"={number}") for word in words)


def test_the_token_is_new_each_time_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    head.write_token(path)
    first = path.read_text()
    head.write_token(path)
    assert len(first) == 64
    assert path.read_text() != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_ray_gets_a_short_private_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 30)))
    monkeypatch.setattr("tempfile.tempdir", None)
    data = tmp_path / "data"
    folder = head.temporary_folder(data)
    (folder / "old").write_text("left by a former run")
    try:
        assert head.temporary_folder(data) == folder
        assert not list(folder.iterdir())
        assert len(str(folder)) <= head.SOCKET_PATH_LIMIT
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert head.temporary_folder(tmp_path / "other") != folder
    finally:
        folder.rmdir()
        head.temporary_folder(tmp_path / "other").rmdir()


def test_a_link_in_the_place_of_that_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    folder = head.temporary_folder(tmp_path)
    folder.rmdir()
    folder.symlink_to(tmp_path)
    try:
        with pytest.raises(head.UnsafeFolder):
            head.temporary_folder(tmp_path)
    finally:
        folder.unlink()


def test_the_port_of_the_database_is_the_last_it_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert embedded.port_in(log) is None
    log.write_text("starting\n")
    assert embedded.port_in(log) is None
    log.write_text("listening on 127.0.0.1:1234\nended\nlistening on 127.0.0.1:4321\n")
    assert embedded.port_in(log) == 4321


def test_without_a_database_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "REPOSITORY", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(embedded.NoDatabase, match="MONGO_URL"):
        embedded.find_server()


def test_the_database_is_told_to_stay_on_loopback_and_to_flush() -> None:
    words = embedded.command(Path("server"), Path("folder"))
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "--sync-on-commit" in words
    assert embedded.url(7).endswith("?retryWrites=false")


def test_what_a_private_ray_needs_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    before = dict(os.environ)
    values = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret"}
    with environment(values):
        assert {name: os.environ[name] for name in values} == values
    with pytest.raises(ZeroDivisionError), environment(values):
        raise ZeroDivisionError
    assert dict(os.environ) == before
