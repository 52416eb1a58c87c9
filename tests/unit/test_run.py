"""One plan, any executor, any memory, any kill: the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from converters.bricks import BASE_BYTES
from converters.convert import Progress, Report, convert
from converters.mark import Mark, read_mark
from converters.plan import Choices, Plan
from converters.prepare import Job, find_files, prepare
from converters.run import Executor, Serial, Threads, execute, finished, load_plan, perform
from converters.volume import Array
from scray.errors import BadRequest, Cancelled, EmptyInput, NeverFits, NoSpace, UnsafePath
from scray.idx.reader import Dataset
from scray.manifest import digest_file
from tests.trees import tree_digests

KIB = 1 << 10
SHAPE = (128, 256, 250)
FILE_BYTES = 64 * KIB
LEAST, SOME, PLENTY = (BASE_BYTES + FILE_BYTES + n * KIB for n in (200, 1_500, 30_000))


@pytest.fixture(scope="module")
def volume() -> Array:
    rng = np.random.default_rng(7)
    return rng.integers(0, 200, SHAPE).astype("|u1")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, volume: Array) -> dict[str, Path]:
    """The same volume: contiguous, in slices, in columns, and as time steps in chunks of several."""
    folder = tmp_path_factory.mktemp("sources")
    layouts = {"contiguous": None, "slices": (1, 256, 250), "columns": (128, 16, 16)}
    paths = {}
    for name, chunks in layouts.items():
        paths[name] = folder / f"{name}.h5"
        with h5py.File(paths[name], "w") as file:
            file.create_dataset("data", data=volume, chunks=chunks, compression="gzip" if chunks else None)
    return paths


def job(path: Path, memory_bytes: int = PLENTY, workers: int = 1, **more: object) -> Job:
    root, files = find_files([path])
    choices = Choices(memory_bytes=memory_bytes, workers=workers, file_bytes=FILE_BYTES, **more)  # type: ignore[arg-type]
    return Job(root, files, "HDF5", choices=choices)


def ready(work: Job, parent: Path) -> Path:
    return prepare(work, tuple(digest_file(work.root, f) for f in work.files), parent)


def bricks(plan: Plan) -> int:
    return sum(task.kind == "brick" for task in plan.tasks)


@pytest.fixture(scope="module")
def reference(
    tmp_path_factory: pytest.TempPathFactory, stored: dict[str, Path], volume: Array
) -> dict[str, dict[str, str]]:
    """The trees of the serial executor with plenty of memory, each read back whole."""
    trees = {}
    for name, path in stored.items():
        out = tmp_path_factory.mktemp("reference") / name
        convert(job(path), out, Serial())
        with Dataset.open(out / "visus.idx") as dataset:
            assert np.array_equal(dataset.read(), volume)
        trees[name] = tree_digests(out)
    return trees


@pytest.mark.parametrize("layout", ["contiguous", "slices", "columns"])
@pytest.mark.parametrize(("memory_bytes", "threads"), [(LEAST, 0), (LEAST, 2), (SOME, 1), (PLENTY, 2)])
def test_every_executor_and_memory_gives_the_same_tree(
    layout: str,
    memory_bytes: int,
    threads: int,
    stored: dict[str, Path],
    reference: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    executor: Executor = Threads(threads) if threads else Serial()
    report = convert(job(stored[layout], memory_bytes, max(threads, 1)), tmp_path / "out", executor)
    assert tree_digests(tmp_path / "out") == reference[layout]
    if memory_bytes == LEAST:
        assert bricks(report.plan) >= 64


def test_the_strategies_are_all_met(stored: dict[str, Path], tmp_path: Path) -> None:
    found = {load_plan(ready(job(p, LEAST), tmp_path)).grids[0].strategy for p in stored.values()}
    assert found >= {"direct", "rechunk"}


def test_a_mark_without_its_files_is_not_believed(stored: dict[str, Path], tmp_path: Path) -> None:
    staging = ready(job(stored["contiguous"], SOME), tmp_path)
    plan = load_plan(staging)
    first = perform(staging, plan.tasks[0].id)
    assert set(finished(plan, staging)) == {first.task}
    path = staging / "tree" / first.files[0].path
    os.truncate(path, first.files[0].size - 1)
    assert not finished(plan, staging)
    perform(staging, first.task)
    (staging / first.kept[0].path).unlink()
    assert not finished(plan, staging)
    (staging / "marks" / f"{first.task}.json").write_text("{")
    assert read_mark(staging, first.task) is None


def test_a_worker_whose_staging_was_taken_away_stops(stored: dict[str, Path], tmp_path: Path) -> None:
    staging = ready(job(stored["contiguous"], SOME), tmp_path)
    task = load_plan(staging).tasks[0].id
    staging.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        perform(staging, task)
    assert not staging.exists()


def test_an_error_ends_the_run_and_a_stop_cancels_it(stored: dict[str, Path], tmp_path: Path) -> None:
    staging = ready(job(stored["contiguous"], SOME), tmp_path)
    for executor in (Serial(), Threads(2)):
        seen: list[Mark] = []
        with pytest.raises(Cancelled):
            execute(staging, executor, on_mark=seen.append, stop=lambda seen=seen: len(seen) > 1)  # type: ignore[misc]
        assert 1 < len(seen) < len(load_plan(staging).tasks)
    broken = ready(job(stored["contiguous"], PLENTY), tmp_path)
    (broken / "tree").rename(broken / "gone")
    with pytest.raises(FileNotFoundError):
        execute(broken, Threads(2))


def test_the_same_job_finds_its_staging_and_a_touched_input_another(stored: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "in.h5"
    path.write_bytes(stored["contiguous"].read_bytes())
    first = ready(job(path), tmp_path / "staging")
    assert ready(job(path), tmp_path / "staging") == first
    assert ready(job(path, LEAST, workers=3), tmp_path / "staging") == first, "memory and workers change no byte"
    os.utime(path, ns=(1, 1))
    assert ready(job(path), tmp_path / "staging") != first


def test_progress_and_report(stored: dict[str, Path], tmp_path: Path) -> None:
    seen: list[Progress] = []
    report: Report = convert(job(stored["contiguous"], SOME), tmp_path / "out", Serial(), seen.append)
    stages = list(dict.fromkeys(p.stage for p in seen))
    assert stages == ["hashing", "planning", "converting", "sealing"]
    converting = [p for p in seen if p.stage == "converting"]
    assert converting[-1].done_bytes == converting[-1].total_bytes
    assert [p.done_bytes for p in converting] == sorted(p.done_bytes for p in converting)
    assert report.bytes_in == int(np.prod(SHAPE))
    assert report.bytes_out == sum(p.stat().st_size for p in (tmp_path / "out").rglob("*.bin"))
    assert report.stages["write"] > 0


def test_a_result_is_replaced_whole_and_nothing_else_is_overwritten(stored: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    convert(job(stored["contiguous"]), out, Serial())
    before = tree_digests(out)
    convert(job(stored["slices"]), out, Serial())
    assert tree_digests(out).items() >= {k: v for k, v in before.items() if k.endswith(".bin")}.items(), "old data stay"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadRequest, match="no former result"):
        convert(job(stored["contiguous"]), tmp_path / "mine", Serial())
    with pytest.raises(BadRequest, match="is a file"):
        convert(job(stored["contiguous"]), stored["contiguous"], Serial())


def test_too_little_disk_waits_or_never_fits(
    stored: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converters.prepare.free_bytes", lambda _: 1000)
    with pytest.raises(NoSpace, match=r"needs up to [\d.]+ MiB on disk .* 1000 B are free"):
        ready(job(stored["contiguous"]), tmp_path / "not" / "there" / "yet")
    usage = type("Usage", (), {"total": 2000})
    monkeypatch.setattr("converters.prepare.shutil.disk_usage", lambda _: usage)
    with pytest.raises(NeverFits, match="whole disk is smaller"):
        ready(job(stored["contiguous"]), tmp_path)


def test_find_files(tmp_path: Path) -> None:
    for name in ("a10.tif", "a2.tif", ".hidden", "__MACOSX/x.tif", "sub/b.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert find_files([tmp_path]) == (tmp_path, ("a2.tif", "a10.tif", "sub/b.tif"))
    assert find_files([tmp_path / "sub" / "b.tif"]) == (tmp_path / "sub", ("b.tif",))
    assert find_files([tmp_path / "sub", tmp_path / "a2.tif"]) == (tmp_path, ("a2.tif", "sub/b.tif"))
    with pytest.raises(BadRequest, match="does not exist"):
        find_files([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmptyInput):
        find_files([tmp_path / "empty"])
    (tmp_path / "sub" / "link.tif").symlink_to("/etc/hostname")
    with pytest.raises(UnsafePath):
        find_files([tmp_path])
