"""The live view, drawn without a terminal; what the doctor sees of open doors, on real sockets."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from cluster import exposure
from cluster.doctor import Check, strangers
from cluster.exposure import Door, doors, token_is_on
from cluster.watching import lines, picture

ROOT = Path(__file__).parents[2]
FOUND: dict[str, Any] = {
    "phase": "ready", "api": "http://127.0.0.1:1", "health": {"database": "ok", "driver": "ok", "disk": "Full."},
    "datasets": {"conversion queued": 3, "done": 0}, "oldest_seconds": {"conversion queued": 300.0},
    "running": True,
    "in_work": [{
        "uuid": "01234567-89", "name": "scan", "status": "converting",
        "progress": {"stage": "sealing", "percent": 42.0, "speed_bytes_per_second": 3 << 20, "eta_seconds": 7.0},
    }],
    "drivers": [
        {"name": "driver", "host": "a", "alive": True, "age_seconds": 2.0, "datasets": ["u"], "slots": 4, "cpus": 2},
        {"name": "driver-2", "alive": False, "age_seconds": 7200.0},
    ],
}  # fmt: skip


def drawn(found: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=150)
    console.print(picture(found))
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_the_view_shows_queue_work_and_drivers() -> None:
    text = drawn(FOUND)
    for word in ("conversion queued", "5 min", "scan", "sealing", "42 %", "3.0 MiB/s, 7 s left", "━", "1/4", "gone"):
        assert word in text, f"{word!r} is missing in\n{text}"
    assert "disk: Full." in text
    assert "nobody" in drawn({"phase": "down", "reason": "nobody answers"})


def test_off_a_terminal_there_are_lines() -> None:
    first, second = lines(FOUND)
    assert first.endswith(" 3 conversion queued")
    assert second.split() == ["scan", "01234567:", "sealing", "42", "%", "3.0", "MiB/s,", "7", "s", "left"]
    assert next(lines({"reason": "No stack runs here."})).endswith("No stack runs here.")


@pytest.mark.parametrize(
    ("address", "is_open"),
    [("127.0.0.1", False), ("127.8.8.8", False), ("::1", False), ("::ffff:127.0.0.1", False), ("0.0.0.0", True),
     ("::", True), ("10.0.0.1", True), ("::ffff:10.0.0.1", True)],
)  # fmt: skip
def test_what_is_not_loopback_is_open(address: str, is_open: bool) -> None:
    assert Door("GCS", address, 1).is_open is is_open


@contextmanager
def pretender(part: str, **environment: str) -> Iterator[psutil.Process]:
    """A process that looks like a part of Ray and listens on a port of loopback."""
    code = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(1, flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, part],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        assert process.stdout
        process.stdout.readline()
        yield psutil.Process(process.pid)
    finally:
        process.communicate(b"")


def test_doors_and_token_are_found_in_the_kernels_tables() -> None:
    with pretender("/x/gcs_server", RAY_AUTH_MODE="token") as safe, pretender("/x/raylet/raylet") as loose:
        assert {safe.pid, loose.pid} <= {process.pid for process in exposure.ours()}
        assert [(door.part, door.address, door.is_open) for door in doors([safe])] == [("GCS", "127.0.0.1", False)]
        assert token_is_on([safe]) is True
        assert token_is_on([safe, loose]) is False
    assert token_is_on([]) is None


def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: list[Door], on: bool | None) -> dict[str, Check]:
    """What the doctor says of these doors."""
    monkeypatch.setattr(exposure, "doors", lambda _: found)
    monkeypatch.setattr(exposure, "token_is_on", lambda _: on)
    return {check.name: check for check in strangers(tmp_path)}


@pytest.mark.parametrize(
    ("part", "on", "state"),
    [("dashboard", True, "fail"), ("database", True, "fail"), ("GCS", True, "warn"), ("client server", False, "fail")],
)
def test_the_doctor_names_open_doors(
    part: str, on: bool, state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checks = seen(monkeypatch, tmp_path, [Door(part, "0.0.0.0", 6379), Door("raylet", "127.0.0.1", 1)], on)
    assert (checks[f"ports: {part}"].state, checks["token"].ok) == (state, on)
    assert "0.0.0.0:6379" in checks[f"ports: {part}"].says
    assert checks[f"ports: {part}"].todo
    assert "ports: raylet" not in checks
    assert seen(monkeypatch, tmp_path, [], None)["ports"].ok


def test_the_watch_goes_on_until_it_is_interrupted(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "cluster.cli", "status", "--watch", "--every", "0.1", "--data", str(tmp_path)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert all("No stack runs here" in one for one in told)
