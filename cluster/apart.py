"""Work in a forked process that is watched: what crashes, hangs or takes all memory there ends nothing but itself.

Forked before anything large is imported, it costs next to nothing. The sealed child of `converters.sandbox`, which is
also kept from everything else on the machine, is for what strangers have uploaded.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from converters.confine import die_with_parent
from scray.errors import ReaderCrashed, ScrayError, TimedOut, WorkerLost

SILENCE_SECONDS = 60.0
PATIENCE_SECONDS = 30.0  # for clearing up after Ctrl-C
LIBRARY_BYTES = 3 << 30  # what the readers and codecs hold themselves, and what probing may take
READ_BYTES = 1 << 16
QUIET, WATCHED, OUTCOME = b"0", b"1", b"="
FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGHUP})
T = TypeVar("T")


class Pulse:
    """Says that the work goes on, and whether, from now on, silence would mean that it hangs."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._said, self._watched = 0.0, False

    def __call__(self, watched: bool = True) -> None:
        now = time.monotonic()
        if watched != self._watched or now - self._said > 1.0:
            self._said, self._watched = now, watched
            os.write(self._fd, WATCHED if watched else QUIET)


def apart(work: Callable[[Pulse], T], memory_bytes: int, silence_seconds: float = SILENCE_SECONDS) -> T:
    """What `work` returns or raises, done in a process of its own, whose tasks may take `memory_bytes` of memory.

    Raises ReaderCrashed where that process breaks down, WorkerLost where somebody ends it, TimedOut where it is
    silent for too long while it said that it is watched.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, writing, memory_bytes)
    os.close(writing)
    try:
        said = _listen(child, reading, silence_seconds)
    except TimedOut:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(reading)
        status = os.waitpid(child, 0)[1]
    result: T = _outcome(said, status)
    return result


def _work(work: Callable[[Pulse], Any], writing: int, memory_bytes: int) -> NoReturn:
    """The life of the child."""
    try:
        die_with_parent()
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its buffers for many cores would count as memory
        limit = LIBRARY_BYTES + memory_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        said = OUTCOME + pickle.dumps(_done(work, writing))
        with os.fdopen(writing, "wb") as out:
            out.write(said)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


def _done(work: Callable[[Pulse], Any], writing: int) -> tuple[bool, Any]:
    try:
        return True, work(Pulse(writing))
    except (ScrayError, OSError, KeyboardInterrupt) as error:
        return False, error
    except BaseException:
        traceback.print_exc()
        return False, ScrayError()


def _listen(child: int, reading: int, silence_seconds: float) -> bytes:
    """What the child says in the end; Ctrl-C is passed on to it, once."""
    said = bytearray()
    try:
        _hear(said, reading, silence_seconds, watched=False)
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGINT)
        try:
            _hear(said, reading, PATIENCE_SECONDS, watched=True)
        except TimedOut:
            os.kill(child, signal.SIGKILL)
            raise KeyboardInterrupt from None
    return bytes(said)


def _hear(said: bytearray, reading: int, silence_seconds: float, *, watched: bool) -> None:
    """Add to `said` what comes until the child is gone, without its pulse."""
    while True:
        if not select.select([reading], [], [], silence_seconds if watched else None)[0]:
            raise TimedOut(f"Reading the file made no progress for {silence_seconds:.0f} seconds.")
        piece = os.read(reading, READ_BYTES)
        if not piece:
            return
        said += piece if said else piece.lstrip(QUIET + WATCHED)
        watched = not said and piece.endswith(WATCHED)


def _outcome(said: bytes, status: int) -> Any:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number in FROM_OUTSIDE:
        raise WorkerLost(f"The work was ended by {signal.Signals(number).name}; the same command goes on where it was.")
    if not said.startswith(OUTCOME):
        how = signal.Signals(number).name if number else "it said nothing"
        raise ReaderCrashed(f"Reading the file ended its process ({how}).")
    fine, outcome = pickle.loads(said[len(OUTCOME) :])  # from our own child, over our own pipe
    if not fine:
        raise outcome
    return outcome
