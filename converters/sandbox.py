"""Probing, planning and bricks in a sealed child process, so that a hostile file ends nothing but its own dataset.

A child serves one dataset and is kept for all its tasks. One that crashes, exceeds its memory or says nothing for
too long is killed with all it started, and its request is tried once more in a new child; then the input is to blame.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import json
import os
import pickle
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters import run
from converters.archives import archives_in, settle
from converters.mark import Mark, read_mark
from converters.prepare import Job, find_files
from converters.run import load_plan
from scray.errors import EmptyInput, Incomplete, ReaderCrashed, ScrayError, TimedOut, Unsealed, every_error
from scray.manifest import FileDigest

SILENCE_SECONDS = 60.0
ANSWER_BYTES = 2 << 20  # more than any answer has: the largest is a preview
HANGING_UP_SECONDS = 5.0
PROBE_BYTES = UNPACK_BYTES = 2 << 30
WANTED = frozenset({"network", "reach", "memory"})
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "SCRAY_STACK_ID")


class Sandbox:
    """One child: what it may read and write, and how much memory it may map beyond its libraries.

    `sealing` is SCRAY_SANDBOX: "auto" takes what the kernel gives, "required" raises Unsealed where that is not all,
    "off" bounds memory alone.
    """

    program = "converters.child"
    silence_seconds = SILENCE_SECONDS

    def __init__(self, read: Iterable[Path], write: Iterable[Path], memory_bytes: int, sealing: str = "auto") -> None:
        self.sealing = sealing
        self.limits = {
            "read": [str(p.resolve()) for p in read],
            "write": [str(p.resolve()) for p in write],
            "memory_bytes": memory_bytes,
            "sealed": sealing != "off",
        }
        self._start()

    def _start(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", self.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # select must see every line
            env=_environment(),
            cwd="/",
        )
        self._heard = b""
        self._tell(self.limits)
        self.force = frozenset(self._listen(SILENCE_SECONDS).get("force", ()))
        if self.sealing == "required" and (missing := WANTED - self.force):
            self.close()
            raise Unsealed(f"SCRAY_SANDBOX=required, but the kernel gives no limit on: {', '.join(sorted(missing))}.")

    def call(
        self,
        request: dict[str, Any],
        silence_seconds: float | None = None,
        *,
        wait_again: bool = True,
        crash_again: bool = True,
    ) -> str:
        """The result of a request; raises what the child raised, ReaderCrashed or TimedOut after a second try.

        Without `wait_again` a silent child is given up at once, without `crash_again` one that crashed.
        """
        silence_seconds = silence_seconds or self.silence_seconds
        try:
            return self._once(request, silence_seconds)
        except (ReaderCrashed, TimedOut) as error:
            self.close()
            if not (wait_again if isinstance(error, TimedOut) else crash_again):
                raise
            self._start()
        try:
            return self._once(request, silence_seconds)
        except (ReaderCrashed, TimedOut):
            self.close()
            raise

    def _once(self, request: dict[str, Any], silence_seconds: float) -> str:
        self._tell(request)
        while "alive" in (answer := self._listen(silence_seconds)):
            pass
        if "done" in answer:
            return str(answer["done"])
        raise _error(str(answer.get("error")), str(answer.get("message")))

    def _tell(self, message: dict[str, Any]) -> None:
        assert self.child.stdin
        with suppress(BrokenPipeError):  # it died: the answer will tell how
            self.child.stdin.write(json.dumps(message).encode() + b"\n")
            self.child.stdin.flush()

    def _listen(self, silence_seconds: float) -> dict[str, Any]:
        """The next answer; a child that was taken over cannot make its parent wait for ever, or hold much."""
        end = time.monotonic() + silence_seconds
        while b"\n" not in self._heard:
            self._hear(end, silence_seconds)
        line, _, self._heard = self._heard.partition(b"\n")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ReaderCrashed("Reading the file made its process answer nonsense.") from error
        return answer if isinstance(answer, dict) else {}

    def _hear(self, end: float, silence_seconds: float) -> None:
        assert self.child.stdout
        if not select.select([self.child.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
            raise TimedOut(f"Reading the file made no progress for {silence_seconds:.0f} seconds.")
        piece = os.read(self.child.stdout.fileno(), ANSWER_BYTES)
        if not piece:
            raise ReaderCrashed(f"Reading the file ended its process ({self._end()}).")
        self._heard += piece
        if len(self._heard) > ANSWER_BYTES:
            raise ReaderCrashed("Reading the file made its process answer without end.")

    def _end(self) -> str:
        """How a child ended that has hung up; one that lives on is killed."""
        try:
            return _how(self.child.wait(HANGING_UP_SECONDS))
        except subprocess.TimeoutExpired:
            self.close()
            return "it hung up"

    @property
    def alive(self) -> bool:
        return self.child.poll() is None

    def close(self) -> None:
        """End the child and all that it started."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            assert pipe
            with suppress(BrokenPipeError):
                pipe.close()


def prepare(job: Job, inputs: tuple[FileDigest, ...], staging_parent: Path, *, crash_again: bool = True) -> Path:
    """`converters.prepare.prepare` in a child of its own: within 60 s and 2 GiB."""
    staging_parent.mkdir(parents=True, exist_ok=True)
    box = Sandbox([job.root], [staging_parent], PROBE_BYTES, job.choices.sandbox)
    try:
        parcel = base64.b64encode(pickle.dumps((job, inputs))).decode()
        request = {"do": "prepare", "job": parcel, "parent": str(staging_parent.resolve())}
        return Path(box.call(request, wait_again=False, crash_again=crash_again))
    finally:
        box.close()


def unpack(job: Job, inputs: tuple[FileDigest, ...], staging_parent: Path, *, crash_again: bool = True) -> Job:
    """The job on what its archives hold, unpacked by a child into a folder of the staging; itself where it has none.

    The folder is named after the inputs, appears whole, and is found again. Raises as `unpack_all` does.
    """
    if not archives_in(job.root, job.files):
        return job
    final = staging_parent / f"unpacked-{_key(inputs)}"
    if not final.is_dir():
        made = staging_parent / f"unpacking-{secrets.token_hex(8)}"
        made.mkdir(parents=True)
        try:
            _unpack(job, made, crash_again)
            settle(job.root, job.files, made, final)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
    try:
        root, files = find_files([final])
    except EmptyInput as error:
        raise EmptyInput(f"There is no file in {', '.join(job.files[:5])}.") from error
    return replace(job, root=root, files=files, packed=job)


def require(sealing: str) -> None:
    """Raises Unsealed where SCRAY_SANDBOX is "required" and this node's kernel cannot seal off a child."""
    if sealing == "required":
        Sandbox([], [], PROBE_BYTES, sealing).close()


def _key(inputs: tuple[FileDigest, ...]) -> str:
    return hashlib.sha256(json.dumps([(f.path, f.size, f.root) for f in inputs]).encode()).hexdigest()[:32]


def _unpack(job: Job, made: Path, crash_again: bool) -> None:
    box = Sandbox([job.root], [made], UNPACK_BYTES, job.choices.sandbox)
    request = {"do": "unpack", "root": str(job.root.resolve()), "files": job.files, "target": str(made.resolve())}
    try:
        box.call(request, crash_again=crash_again)
    finally:
        box.close()


Seat = tuple[Path, int, int]  # a staging folder, and which folders it and the input are: a name may come again

_kept: dict[Seat, Sandbox] = {}


def perform(staging: Path, task_id: str, *, crash_again: bool = True) -> Mark:
    """`converters.run.perform` in this process's child for the dataset.

    What only moves files to where a child cannot reach is done here: it parses nothing.
    """
    if load_plan(staging).task(task_id).kind in ("link", "place"):
        return run.perform(staging, task_id)
    request = {"do": "perform", "staging": str(staging.resolve()), "task": task_id}
    _box_for(staging).call(request, crash_again=crash_again)
    mark = read_mark(staging, task_id)
    if mark is None:
        raise Incomplete(f"The mark of {task_id} vanished.")
    return mark


def sketch(staging: Path) -> bytes | None:
    """`converters.sketch.sketch` in this process's child for the dataset, which is not waited for twice."""
    plan = load_plan(staging)
    if not plan.grids and not plan.source.linked:
        return None
    request = {"do": "sketch", "staging": str(staging.resolve())}
    return base64.b64decode(_box_for(staging).call(request, wait_again=False)) or None


def _box_for(staging: Path) -> Sandbox:
    plan = load_plan(staging)
    root = Path(plan.root)
    seat = (staging, staging.stat().st_ino, root.stat().st_ino)
    box = _kept.get(seat)
    if box and box.alive:
        return box
    end_all()
    memory = max((task.memory_bytes for task in plan.tasks), default=0)
    box = _kept[seat] = Sandbox([root], [staging], memory, plan.choices.sandbox)
    return box


def end_all() -> None:
    """End the kept child, as another dataset is begun or this process ends."""
    while _kept:
        _kept.popitem()[1].close()


atexit.register(end_all)


def _environment() -> dict[str, str]:
    """No secret reaches a child."""
    here = str(Path(__file__).resolve().parents[1])
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": here,
        "HOME": "/nonexistent",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
        "HDF5_USE_FILE_LOCKING": "FALSE",
        "PYTHONWARNINGS": "ignore",
    }


def _error(code: str, message: str) -> Exception:
    if code == "gone":
        return FileNotFoundError(message)
    return next((cls for cls in every_error() if cls.code == code), ScrayError)(message)


def _how(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
