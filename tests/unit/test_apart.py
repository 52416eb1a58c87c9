"""Work in a process of its own: what it returns, what it raises, and how it may end."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.apart import Pulse, apart
from scray.errors import ReaderCrashed, ScrayError, TimedOut, TruncatedInput, WorkerLost

pytestmark = pytest.mark.slow  # every test starts processes

ROOT = Path(__file__).parents[2]
MEMORY = 1 << 30


def test_results_and_errors_come_back() -> None:
    assert apart(lambda pulse: os.getpid(), MEMORY) != os.getpid()
    assert len(apart(lambda pulse: b"x" * 5_000_000, MEMORY)) == 5_000_000

    def fails(pulse: Pulse) -> None:
        pulse()
        raise TruncatedInput("It ends at byte 7.")

    with pytest.raises(TruncatedInput, match="byte 7"):
        apart(fails, MEMORY)


def test_a_mistake_of_ours_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ScrayError) as caught:
        apart(lambda pulse: [][1], MEMORY)
    assert caught.value.code == "internal"
    assert "IndexError" in capfd.readouterr().err


def test_a_crash_ends_nothing_else() -> None:
    with pytest.raises(ReaderCrashed, match="SIGSEGV"):
        apart(lambda pulse: ctypes.string_at(0), MEMORY)
    with pytest.raises(ReaderCrashed, match="nothing"):
        apart(lambda pulse: os._exit(0), MEMORY)


def test_who_ends_it_from_outside_is_not_the_file() -> None:
    with pytest.raises(WorkerLost, match="SIGTERM"):
        apart(lambda pulse: os.kill(os.getpid(), signal.SIGTERM), MEMORY)


def test_silence_counts_while_it_is_watched() -> None:
    def hangs(pulse: Pulse) -> None:
        pulse()
        time.sleep(60)

    def takes_its_time(pulse: Pulse) -> str:
        pulse()
        pulse(watched=False)
        time.sleep(0.6)
        return "done"

    before = psutil.Process().children()
    with pytest.raises(TimedOut, match="no progress"):
        apart(hangs, MEMORY, silence_seconds=0.2)
    assert apart(takes_its_time, MEMORY, silence_seconds=0.2) == "done"
    assert psutil.Process().children() == before


def test_memory_is_bounded() -> None:
    def grows(pulse: Pulse) -> str:
        try:
            held = [bytearray(1 << 28) for _ in range(64)]
        except MemoryError:
            return "refused"
        return f"{len(held)} pieces"

    assert apart(grows, MEMORY) == "refused"


CRASHES = """
import ctypes, sys
import converters.prepare
converters.prepare.prepare = lambda *a: WAY
import converters.convert
converters.convert.prepare = converters.prepare.prepare
from cluster import cli
cli.main()
"""


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("ctypes.string_at(0)", "reader-crashed"),
        ("[bytearray(1 << 28) for _ in range(99)]", "too-large"),
    ],
)
def test_a_file_that_breaks_its_reader_is_a_failure_with_a_code(tmp_path: Path, way: str, code: str) -> None:
    sample = ROOT / "examples" / "data" / "img3d.tif"
    words = ["convert", str(sample), "--sensor", "TIFF", "--out", str(tmp_path / "out"), "--json"]
    script = CRASHES.replace("WAY", way)
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (1, code), done.stderr
    assert list(tmp_path.iterdir()) == []
