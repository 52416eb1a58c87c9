"""The parts of the client that need no service: what is sent, what is remembered, what is shown, how long it waits."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray.client.diary import Diary, diary_path
from scray.client.local import find_files
from scray.client.progress import Meter, Progress
from scray.client.wire import Patience
from scray.errors import BadParameter, Conflict, EmptyInput, InvalidField, SourceChanged, Unreachable
from scray.spans import Span

NO_ROOM = """
import resource, signal, sys
from pathlib import Path
from scray.client.diary import Diary
from scray.errors import ScrayError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
try:
    with Diary(Path(sys.argv[1])) as diary:
        diary.note("x", session="s" * 1000)
except ScrayError as error:
    print(error.code)
"""


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"pixels")


def test_names_in_the_dataset(tmp_path: Path) -> None:
    make(tmp_path, "a/x.tif", "a/sub/x.tif", "a/.hidden", "a/.git/x", "b.tif")
    (tmp_path / "a" / "empty").touch()

    def names(*paths: Path) -> list[str]:
        return [file.relative for file in find_files(paths[0] if len(paths) == 1 else paths)]

    assert names(tmp_path / "b.tif") == ["b.tif"]
    assert names(tmp_path / "a") == ["empty", "sub/x.tif", "x.tif"]
    assert names(tmp_path / "a" / "sub" / "..") == ["empty", "sub/x.tif", "x.tif"]
    assert names(tmp_path / "a", tmp_path / "b.tif") == ["a/empty", "a/sub/x.tif", "a/x.tif", "b.tif"]
    with pytest.raises(InvalidField, match=r"x\.tif"):
        names(tmp_path / "a" / "x.tif", tmp_path / "a" / "sub" / "x.tif")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(EmptyInput):
        names(tmp_path / "nothing")


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    make(tmp_path, "x.tif")
    [file] = find_files(tmp_path / "x.tif")
    (tmp_path / "x.tif").write_bytes(b"1")
    with pytest.raises(SourceChanged):
        asyncio.run(file.digest(Span(0, 6)))


def interrupted(path: Path) -> None:
    with Diary(path) as diary:
        diary.note("a.tif", session="s1")
        diary.note("a.tif", session=None, job="j1")
        raise KeyboardInterrupt


@given(cut=st.integers(0, 400))
def test_a_diary_that_a_crash_cut_short_says_nothing_wrong(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("diary") / "x.jsonl"
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    dataset = json.loads(path.read_text().splitlines()[0])["dataset"]
    path.write_bytes(path.read_bytes()[:cut])
    with Diary(path) as again:
        assert again.of("a.tif") in ({}, {"session": "s1"}, {"session": None, "job": "j1"})
        if again.of("a.tif"):
            assert again.of("")["dataset"] == dataset
        again.note("b.tif", job="j2")
        with pytest.raises(Conflict):
            Diary(path)
        assert path.read_text().count("j2") == 1
    assert not path.exists()


def test_a_diary_that_cannot_be_kept_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadParameter, match="XDG_STATE_HOME"):
        Diary(tmp_path / "file" / "x.jsonl")
    full = subprocess.run(
        [sys.executable, "-c", NO_ROOM, tmp_path / "x.jsonl"], capture_output=True, text=True, check=False
    )
    assert full.stdout.strip() == "bad-parameter", full.stderr
    assert full.stderr == ""


def test_a_file_that_is_gone_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"pixels")
    [file] = find_files(tmp_path / "a.tif")
    (tmp_path / "a.tif").unlink()
    with pytest.raises(SourceChanged, match="is gone"):
        list(file.pieces(Span(0, 6)))


def test_another_upload_has_another_diary(tmp_path: Path) -> None:
    paths = {
        diary_path(url, {"name": name}, [tmp_path / file], tmp_path)
        for url in ("http://a", "http://b") for name in ("x", "y") for file in ("1", "2")
    }  # fmt: skip
    assert len(paths) == 8


def test_what_is_reported() -> None:
    seen: list[Progress] = []
    meter = Meter({"a": 10, "b": 20}, seen.append)
    meter.skip("a", 4)
    meter.add("a", 6)
    meter.finish("a")
    meter.add("b", 15)
    meter.skip("b", -15)
    meter.finish("b")
    assert (seen[0].sent_bytes, seen[0].speed_bytes_per_second, seen[0].eta_seconds) == (4, 0, None)
    assert (seen[-1].sent_bytes, seen[-1].total_bytes, seen[-1].files_done, seen[-1].files) == (30, 30, 2, 2)
    assert all(one.file_sent_bytes <= one.file_bytes for one in seen)


def test_patience_ends_and_what_is_no_use_is_not_tried_again() -> None:
    passing = Unreachable()
    passing.retry_after_seconds = 0.0
    with pytest.raises(Unreachable):
        asyncio.run(Patience(1).pause(passing))
    with pytest.raises(Conflict):
        asyncio.run(Patience().pause(Conflict()))
    asyncio.run(Patience(2).pause(passing))
