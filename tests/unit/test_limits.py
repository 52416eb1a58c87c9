"""Time limits: one table, and a task that exceeds its own is over with all it started."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from cluster import limited
from cluster.limited import within
from scray.errors import BadParameter
from scray.limits import MEANINGS, SECONDS, time_limits

ROOT = Path(__file__).parents[2]


def test_the_table_can_be_changed() -> None:
    assert MEANINGS.keys() == SECONDS.keys()
    assert time_limits([]) == SECONDS
    assert time_limits(["perform=7", " seal = 0.5"]) == {**SECONDS, "perform": 7.0, "seal": 0.5}


@pytest.mark.parametrize(
    "word", ["no-such=1", "perform", "perform=", "perform=x", "perform=0", "perform=-1", "seal=inf"]
)
def test_what_is_no_limit_is_refused(word: str) -> None:
    with pytest.raises(BadParameter, match="SCRAY_TIME_LIMITS"):
        time_limits([word])


def test_what_takes_too_long_ends_with_its_whole_tree() -> None:
    """A child and its own child, while the task waits for them and would swallow any Exception."""
    code = """
import subprocess, sys, time
import psutil
from cluster.limited import within
from scray.errors import TimedOut
family = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', 'input()']).wait()"
try:
    with subprocess.Popen([sys.executable, "-S", "-c", family], stdin=subprocess.PIPE) as child:
        while not (below := psutil.Process(child.pid).children()):
            time.sleep(0.01)
        with within("perform", 0.2):
            try:
                time.sleep(60)
            except Exception as error:
                print("swallowed", repr(error))
except TimedOut as error:
    print(child.pid, below[0].pid, error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    child, grandchild, *words = done.stdout.split()
    assert " ".join(words).startswith("The stage 'perform' took longer than 0.2 seconds"), done.stdout
    assert not any(psutil.pid_exists(int(pid)) for pid in (child, grandchild))


def test_what_is_in_time_is_left_alone() -> None:
    with within("seal", 60):
        pass
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(timer.finished.is_set() for timer in timers)
    with pytest.raises(ValueError, match="its own"), within("seal", 60):
        raise ValueError("its own")


def test_what_no_signal_reaches_is_ended_with_its_process() -> None:
    code = """
import signal, sys
from cluster import limited
limited.GRACE_SECONDS = 0.2
with limited.within("hash", 0.1, lambda says: print(says, flush=True)):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    sys.stdin.read()
"""
    assert limited.GRACE_SECONDS > 1
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, "nothing to read: it is over at once"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.wait(60) == 1
        assert process.stdout
        assert process.stdout.read() == "The stage 'hash' took longer than 0.1 seconds (SCRAY_TIME_LIMITS).\n"


def test_a_word_that_hangs_holds_nobody_up() -> None:
    code = """
import signal, threading
from cluster import limited
limited.GRACE_SECONDS = 0.2
with limited.within("hash", 0.1, lambda says: threading.Event().wait()):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    threading.Event().wait()
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 1
