"""The sealed child: what a hostile file can reach, and what becomes of the process that read it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
import tifffile

from converters import child, confine, prepare, run, sandbox
from converters.prepare import Job, find_files
from converters.run import Serial, execute, load_plan
from converters.sandbox import Sandbox
from converters.seal import seal
from converters.sketch import sketch
from scray.errors import BadInput, ReaderCrashed, ScrayError, StorageError, TimedOut, TooLarge, Unsealed
from scray.manifest import digest_file
from tests.trees import tree_digests

pytestmark = pytest.mark.slow  # every test starts processes

MIB = 1 << 20
DATA = Path(__file__).parent.parent / "data" / "idx"


class HostileSandbox(Sandbox):
    program = "tests.hostile_child"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    inputs, staging = tmp_path / "upload", tmp_path / "staging"
    inputs.mkdir()
    staging.mkdir()
    (inputs / "data.txt").write_text("samples")
    return inputs, staging


@pytest.fixture
def box(folders: tuple[Path, Path]) -> Iterator[Sandbox]:
    made = HostileSandbox([folders[0]], [folders[1]], 256 * MIB)
    yield made
    made.close()


def test_a_crash_is_tried_once_more_and_then_the_input_is_to_blame(box: Sandbox, folders: tuple[Path, Path]) -> None:
    assert box.call({"do": "crash_once", "note": str(folders[1] / "note")}) == "second try"
    with pytest.raises(ReaderCrashed, match="SIGSEGV") as caught:
        box.call({"do": "crash"})
    assert not caught.value.transient
    assert not box.alive


def test_an_endless_loop_is_ended_with_all_it_started(box: Sandbox, folders: tuple[Path, Path]) -> None:
    note = folders[1] / "note"
    with pytest.raises(TimedOut, match="no progress"):
        box.call({"do": "hang_with_company", "note": str(note)}, silence_seconds=1.5)
    gone(int(note.read_text()))


def test_what_a_child_has_started_ends_with_it_however_it_ends(box: Sandbox, folders: tuple[Path, Path]) -> None:
    """As when Ray kills the worker that holds it: then nobody is there to clear up."""
    note = folders[1] / "note"
    box._tell({"do": "hang_with_company", "note": str(note)})
    deadline = time.monotonic() + 10
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < deadline, "it started nobody"
        time.sleep(0.05)
    box.child.kill()
    gone(int(note.read_text()))


@pytest.mark.parametrize("without", ["del os.pidfd_open", "os.pidfd_open = lambda pid: os.open('/nowhere', 0)"])
def test_where_the_kernel_knows_no_guard_a_child_works_without(without: str) -> None:
    code = f"import os; {without}; from converters.confine import end_together; end_together(); print('works')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("works\n", "")


def gone(pid: int) -> None:
    """Wait until there is no such process."""
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and _state(pid) != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(
    ("act", "error"),
    [
        ("hang_up", "hung up"),
        ("half_an_answer", "no progress"),
        ("nonsense", "nonsense"),
        ("endless_answer", "without end"),
    ],
)
def test_a_child_that_answers_badly_is_ended(
    box: Sandbox, act: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "HANGING_UP_SECONDS", 0.2)
    with pytest.raises((ReaderCrashed, TimedOut), match=error):
        box.call({"do": act}, silence_seconds=1.5)
    assert not box.alive


def test_a_child_that_nobody_asks_anything_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "IDLE_SECONDS", 0.05)
    reading, writing = os.pipe()
    with os.fdopen(reading) as requests, os.fdopen(writing, "w") as asking:
        asking.write("{}\n")
        asking.flush()
        assert child._next(requests) == "{}\n"
        assert child._next(requests) == ""


def test_long_work_that_shows_progress_is_left_alone(box: Sandbox) -> None:
    assert box.call({"do": "work_long"}, silence_seconds=1.8) == "done"


def test_an_allocation_bomb_meets_its_limit(box: Sandbox) -> None:
    assert box.call({"do": "bomb", "bytes": 100 * MIB}) == str(100 * MIB)
    with pytest.raises(TooLarge, match="more memory"):
        box.call({"do": "bomb", "bytes": 8 << 30})
    assert box.alive


@pytest.mark.skipif(confine.abi() < 1, reason="this kernel has no Landlock")
def test_only_the_dataset_can_be_read_and_only_staging_written(box: Sandbox, folders: tuple[Path, Path]) -> None:
    inputs, staging = folders
    secret = inputs.parent / "secret.txt"
    secret.write_text("a token")
    assert box.call({"do": "read", "path": str(inputs / "data.txt")}) == "samples"
    assert box.call({"do": "write", "path": str(staging / "out")}) == "written"
    (inputs / "link").symlink_to(secret)
    for forbidden in (secret, inputs / "link", Path("/etc/passwd"), Path("/proc/1/environ")):
        with pytest.raises(StorageError, match="denied"):
            box.call({"do": "read", "path": str(forbidden)})
    for forbidden in (inputs / "data.txt", secret, staging.parent / "new", Path("/tmp/scray-escape")):
        with pytest.raises(StorageError, match="denied"):
            box.call({"do": "write", "path": str(forbidden)})
    assert (inputs / "data.txt").read_text() == "samples"


def test_there_is_no_network(box: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ScrayError):
        box.call({"do": "connect", "port": server.getsockname()[1]})


def test_no_secret_is_in_its_environment(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "planted-secret")
    monkeypatch.setenv("MONGO_URL", "mongodb://user:planted-secret@host")
    made = HostileSandbox([folders[0]], [folders[1]], 64 * MIB)
    try:
        assert "planted-secret" not in made.call({"do": "environment"})
    finally:
        made.close()


def test_what_a_library_prints_is_no_answer(box: Sandbox) -> None:
    assert box.call({"do": "chatter"}) == "answer"


PARENT = """
import sys, time
from pathlib import Path
from converters.sandbox import Sandbox
box = Sandbox([Path(sys.argv[1])], [], 1 << 20)
print(box.child.pid, flush=True)
time.sleep(3600)
"""


def test_it_dies_with_its_parent(folders: tuple[Path, Path]) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(folders[0])], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
        parent.wait()
        gone(pid)


class UnsealedSandbox(Sandbox):
    program = "tests.unsealed_child"


def test_a_seal_that_is_required_and_missing_is_refused(folders: tuple[Path, Path]) -> None:
    taken = UnsealedSandbox([folders[0]], [folders[1]], 64 * MIB)
    assert taken.force == {"memory"}
    taken.close()
    with pytest.raises(Unsealed, match="no limit on: network, reach"):
        UnsealedSandbox([folders[0]], [folders[1]], 64 * MIB, "required")


def test_without_a_seal_memory_is_bounded_all_the_same(folders: tuple[Path, Path]) -> None:
    made = HostileSandbox([folders[0]], [folders[1]], 64 * MIB, "off")
    (outside := folders[0].parent / "outside").write_text("elsewhere")
    try:
        assert made.force == {"memory"}
        assert made.call({"do": "read", "path": str(outside)}) == "elsewhere"
        with pytest.raises(TooLarge):
            made.call({"do": "bomb", "bytes": 8 << 30})
    finally:
        made.close()


@pytest.mark.parametrize("step", ["prepare", "unpack", "perform", "sketch", "require"])
def test_every_step_refuses_where_the_seal_is_required_and_missing(
    step: str, stack: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(stack, choices=replace(stack.choices, sandbox="required"))
    with zipfile.ZipFile(stack.root / "stack.zip", "w") as archive:
        archive.write(stack.root / "stack.tif", "stack.tif")
    inputs = tuple(digest_file(stack.root, f) for f in stack.files)
    staging = prepare.prepare(job, inputs, tmp_path / "plain")
    monkeypatch.setattr(Sandbox, "program", "tests.unsealed_child")
    steps: dict[str, Callable[[], object]] = {
        "prepare": lambda: sandbox.prepare(job, inputs, tmp_path / "staging"),
        "unpack": lambda: sandbox.unpack(replace(job, files=("stack.zip",)), inputs, tmp_path / "staging"),
        "perform": lambda: sandbox.perform(staging, load_plan(staging).tasks[0].id),
        "sketch": lambda: sandbox.sketch(staging),
        "require": lambda: sandbox.require("required"),
    }
    with pytest.raises(Unsealed):
        steps[step]()


# --- bricks of a plan ----------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The staging folder of a plan of five bricks, performed by children that go bad where its trap says so."""
    folder = tmp_path / "in"
    folder.mkdir()
    with h5py.File(folder / "a.h5", "w") as file:
        for i in range(5):
            file[f"d{i}"] = np.arange(60 + i, dtype="<u2")
    monkeypatch.setattr(Sandbox, "program", "tests.hostile_child")
    monkeypatch.setattr(Sandbox, "silence_seconds", 1.5)
    names = ",".join(f"/d{i}" for i in range(5))
    job = Job(folder, ("a.h5",), "HDF5", {"dataset": names})
    return sandbox.prepare(job, (digest_file(folder, "a.h5"),), tmp_path / "staging")


GOES_BAD = [
    ("crash", ReaderCrashed),
    ("hang_with_company", TimedOut),
    ("bomb", TooLarge),
]


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize(("act", "error"), GOES_BAD)
def test_a_brick_that_goes_bad_ends_with_a_code_and_leaves_nothing(
    many: Path, act: str, error: type[ScrayError], which: int
) -> None:
    bad = load_plan(many).tasks[which].id
    (many / "trap").write_text(json.dumps({bad: act}))
    done: list[str] = []
    with pytest.raises(error) as caught:
        execute(many, Serial(sandbox.perform), on_mark=lambda mark: done.append(mark.task))
    assert not caught.value.transient
    assert bad not in done
    assert len(done) == (0 if which == 0 else len(load_plan(many).tasks) - 1)
    sandbox.end_all()
    for pid in _victims(many):
        gone(pid)
    (many / "trap").unlink()
    execute(many, Serial(sandbox.perform))
    sandbox.end_all()


@pytest.mark.parametrize(("act", "error"), GOES_BAD)
def test_probing_that_goes_bad_ends_with_a_code_and_leaves_nothing(
    many: Path, tmp_path: Path, act: str, error: type[ScrayError]
) -> None:
    plan = load_plan(many)
    job = Job(Path(plan.root), ("a.h5",), "HDF5")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "trap").write_text(act)
    with pytest.raises(error):
        sandbox.prepare(job, plan.inputs, tmp_path / "other")
    assert {path.name for path in (tmp_path / "other").iterdir()} <= {"trap", "company", "tries"}
    tries = (tmp_path / "other" / "tries").read_text()
    assert tries == {"crash": "xx", "hang_with_company": "x", "bomb": "x"}[act], "60 s for probing are not 120"
    for pid in _victims(tmp_path / "other"):
        gone(pid)
    assert not [child for child in psutil.Process().children() if "tests.hostile_child" in child.cmdline()]


@pytest.mark.parametrize(("act", "code"), [("crash", "reader-crashed"), ("hang", "timed-out"), ("bomb", "too-large")])
def test_blocks_that_break_the_drawing_of_a_preview_cost_the_preview_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, code: str
) -> None:
    """Kept IDX: what strangers encoded is decoded by the child, not by whoever seals."""
    shutil.copytree(DATA / "cat_gray", tmp_path / "in")
    root, files = find_files([tmp_path / "in"])
    inputs = tuple(digest_file(root, name) for name in files)
    staging = sandbox.prepare(Job(root, files, "IDX"), inputs, tmp_path / "staging")
    execute(staging, Serial(sandbox.perform))
    whole = sandbox.sketch(staging)
    assert whole
    assert whole == sketch(staging)
    sandbox.end_all()
    (staging / "trap").write_text(act)
    monkeypatch.setattr(Sandbox, "program", HostileSandbox.program)
    monkeypatch.setattr(Sandbox, "silence_seconds", 1.5)
    tree = seal(staging, sandbox.sketch)
    assert not (tree / "preview.png").exists()
    assert f"no preview: {code}" in json.loads((tree / "metadata.json").read_bytes())["notes"]
    sandbox.end_all()
    monkeypatch.undo()
    assert seal(staging, sandbox.sketch) == tree
    assert (tree / "preview.png").read_bytes() == whole
    sandbox.end_all()


def _victims(staging: Path) -> list[int]:
    company = staging / "company"
    return [int(word) for path in (staging / "victims", company) if path.exists() for word in path.read_text().split()]


# --- the real child ------------------------------------------------------------------------------


@pytest.fixture
def stack(tmp_path: Path) -> Job:
    path = tmp_path / "in" / "stack.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, np.arange(20 * 30 * 40, dtype="<u2").reshape(20, 30, 40), compression="zlib")
    root, files = find_files([path])
    return Job(root, files, "TIFF")


def test_prepare_and_perform_in_the_child_give_what_they_give_outside(stack: Job, tmp_path: Path) -> None:
    inputs = tuple(digest_file(stack.root, f) for f in stack.files)
    sealed = sandbox.prepare(stack, inputs, tmp_path / "sealed")
    plain = prepare.prepare(stack, inputs, tmp_path / "plain")
    assert load_plan(sealed) == load_plan(plain)
    for task in load_plan(sealed).tasks:
        mark = sandbox.perform(sealed, task.id)
        assert mark.verified
        assert sandbox.perform(sealed, task.id).files == mark.files
    execute(plain, run.Serial())
    assert tree_digests(sealed / "tree") == tree_digests(plain / "tree")
    sandbox.end_all()


def test_a_broken_file_is_an_error_of_its_own_kind_and_the_child_serves_on(stack: Job, tmp_path: Path) -> None:
    (stack.root / "stack.tif").write_bytes(b"II*\0" + b"\xff" * 100)
    inputs = tuple(digest_file(stack.root, f) for f in stack.files)
    with pytest.raises(BadInput):
        sandbox.prepare(stack, inputs, tmp_path / "staging")
    assert not list((tmp_path / "staging").iterdir())


def test_staging_that_was_taken_away_is_file_not_found(stack: Job, tmp_path: Path) -> None:
    inputs = tuple(digest_file(stack.root, f) for f in stack.files)
    staging = sandbox.prepare(stack, inputs, tmp_path / "staging")
    task = load_plan(staging).tasks[0].id
    (staging / "tree").rename(tmp_path / "tree")
    with pytest.raises(FileNotFoundError):
        sandbox.perform(staging, task)
    sandbox.end_all()


def test_staging_that_is_made_again_is_within_reach(stack: Job, tmp_path: Path) -> None:
    inputs = tuple(digest_file(stack.root, f) for f in stack.files)
    staging = sandbox.prepare(stack, inputs, tmp_path / "staging")
    task = load_plan(staging).tasks[0].id
    sandbox.perform(staging, task)
    staging.rename(tmp_path / "cancelled")
    assert sandbox.prepare(stack, inputs, tmp_path / "staging") == staging
    assert sandbox.perform(staging, task).verified
    sandbox.end_all()


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (BadInput("no"), "bad-input"),
        (MemoryError(), "too-large"),
        (FileNotFoundError("x"), "gone"),
        (PermissionError("x"), "storage"),
        (ZeroDivisionError("x"), "internal"),
    ],
)
def test_every_failure_becomes_an_answer(raised: Exception, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: dict[str, object], pulse: object) -> str:
        raise raised

    monkeypatch.setitem(child.REQUESTS, "fail", fail)
    assert child.answer({"do": "fail"}, io.StringIO())["error"] == code
    with pytest.raises(FileNotFoundError if code == "gone" else ScrayError):
        raise sandbox._error(code, "message")


def test_the_pulse_beats_at_most_once_a_second() -> None:
    out = io.StringIO()
    pulse = child._Pulse(out)
    pulse()
    assert not out.getvalue()
    pulse.last -= 2
    pulse()
    pulse()
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [{"alive": True}]


def test_without_landlock_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "abi", lambda: 0)
    assert confine.restrict([], []) is False
    with pytest.raises(OSError, match="Operation not permitted"):
        _fail_with(1)


def _fail_with(code: int) -> None:
    import ctypes

    ctypes.set_errno(code)
    confine._checked(-1)


def test_signals_are_named() -> None:
    assert sandbox._how(-signal.SIGKILL) == "SIGKILL"
    assert sandbox._how(3) == "exit status 3"
    assert os.environ.get("PATH") == sandbox._environment().get("PATH")
