"""Safe names, atomic files, and publishing: a reader sees the old or the new dataset, whole, whatever dies
when.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scray import storage
from scray.errors import UnsafePath
from scray.storage import Storage, inside, let_go, publish_tree, safe_name, safe_relative, write_atomic

LAST_LINE = 5_000  # nothing here runs through so many lines
ONLY_LOOK = {"_files", "_publish_order", "_is_data", "data_folders", "<genexpr>"}  # dying there changes nothing


# --- a process that dies between any two lines ----------------------------------------------------


def dies_at(line: int, work: Callable[[], None]) -> bool:
    """Run `work` in a child that ends, without clean-up, before the `line`-th line of storage.py it would
    execute.

    True when it died there, False when the work ended first; an error of the work fails the test.
    """
    child = os.fork()
    if child == 0:
        code = 3
        try:
            _before(line, lambda: os._exit(9))
            work()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, 9}
    return code == 9


def _before(line: int, happens: Callable[[], None]) -> None:
    """Something `happens` before the `line`-th line of storage.py that this thread would execute."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        code = frame.f_code
        if code.co_filename != storage.__file__ or code.co_name in ONLY_LOOK:
            return None
        if event == "line":
            if left == 0:
                sys.settrace(None)
                happens()
            left -= 1
        return trace

    sys.settrace(trace)


# --- datasets small enough to read as a whole ------------------------------------------------------

OLD, NEW = "0000aaaa", "0000bbbb"
Tree = dict[str, str]


def tree_of(digest: str) -> Tree:
    return {
        "visus.idx": digest,
        "manifest.json": f"manifest {digest}",
        f"{digest}/00/0000.bin": f"{digest} block 0",
        "part/visus.idx": digest,
        f"part/{digest}/0000.bin": f"{digest} part",
        f"only-{digest}x/visus.idx": digest,
        f"only-{digest}x/{digest}/0000.bin": "block",
    }


def lay(root: Path, tree: Tree) -> Path:
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def reads_whole(target: Path, header: str = "visus.idx") -> str:
    """What a reader of the dataset sees: the digest its header names; all data of that digest must be there."""
    digest = (target / header).read_text()
    folder = (target / header).parent
    for name, text in tree_of(digest).items():
        path = target / name
        if path.is_relative_to(folder / digest):
            assert path.read_text() == text
    return digest


def no_exchange(*_: Path) -> None:
    raise OSError(errno.EINVAL, "this file system knows no exchange")


def no_link(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, "this file system knows no hard links")


def refuse(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "no exchange":
        monkeypatch.setattr(storage, "_exchange", no_exchange)
    elif what == "no links":
        monkeypatch.setattr(os, "link", no_link)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder where flushing costs nothing: these tests do it thousands of times."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["exchange", "no exchange", "no links"])
@pytest.mark.parametrize("old", [OLD, NEW, None])
def test_publish_can_die_between_any_two_lines(
    memory: Path, monkeypatch: pytest.MonkeyPatch, what: str, old: str | None
) -> None:
    refuse(monkeypatch, what)
    seen_after_death: set[str | None] = set()
    died = True
    line = -1
    while died:
        line += 1
        staged = lay(memory / str(line) / "staging" / "tree", tree_of(NEW))
        target = memory / str(line) / "converted" / "uuid"
        target.parent.mkdir()
        if old:
            lay(target, tree_of(old))
        died = dies_at(line, partial(publish_tree, staged, target))
        seen_after_death.add(reads_whole(target) if target.exists() else None)
        if staged.exists() or (staged.parent / ".tree.publishing").exists():
            publish_tree(staged, target)
        assert_published(staged, target, old)
    assert line > 5
    assert seen_after_death == {old, NEW}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["exchange", "no exchange"])
def test_a_late_publisher_whose_work_was_taken_over_changes_nothing(
    memory: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Between any two of its lines another one takes the folder, publishes what is in it, and is done."""
    refuse(monkeypatch, what)
    line, overtaken = 0, True
    while overtaken:
        staged = lay(memory / str(line) / "late" / "tree", tree_of(NEW))
        target = lay(memory / str(line) / "converted", tree_of(OLD))
        overtaken = False

        def take_over(staged: Path = staged, target: Path = target) -> None:
            nonlocal overtaken
            overtaken = True
            taken = staged.parent.rename(staged.parent.with_name("taken"))
            if (taken / "tree").exists():
                publish_tree(taken / "tree", target)

        before = sys.gettrace()
        with suppress(FileNotFoundError):
            _before(line, take_over)
            try:
                publish_tree(staged, target)
            finally:
                sys.settrace(before)
        assert reads_whole(target) == NEW, f"before line {line}"
        line += 1
    assert line > 5


def assert_published(staged: Path, target: Path, old: str | None) -> None:
    """All files of the new dataset, the data folders of the old one, and nothing else, also not in staging."""
    assert {name: (target / name).read_text() for name in tree_of(NEW)} == tree_of(NEW)
    present = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    kept = {name for name in tree_of(old) if f"{old}/" in name} if old else set()
    assert present == tree_of(NEW).keys() | kept
    assert not (staged.parent / ".tree.publishing").exists()


@pytest.mark.parametrize("what", ["exchange", "no exchange"])
def test_a_reader_with_the_old_header_goes_on_until_the_grace_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    refuse(monkeypatch, what)
    target = lay(tmp_path / "converted", tree_of(OLD))
    publish_tree(lay(tmp_path / "staging" / "tree", tree_of(NEW)), target)
    for name, text in tree_of(OLD).items():
        if f"{OLD}/" in name:
            assert (target / name).read_text() == text
    (target / f"{storage.DOOMED}left-by-a-dead-process").mkdir()
    gone = [Path(OLD), Path("part", OLD), Path(f"only-{OLD}x", OLD)]
    assert set(storage.data_folders(target)) > set(gone)
    storage.remove_superseded(target, gone)
    storage.remove_superseded(target, gone)  # as another driver does at the same time
    assert reads_whole(target) == NEW
    assert not [path for path in target.rglob("*") if OLD in path.name and path.is_file()]
    assert not list(target.glob(".*"))


def test_other_errors_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Path) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(storage, "_exchange", broken)
    target = lay(tmp_path / "converted", tree_of(OLD))
    staged = lay(tmp_path / "staging" / "tree", tree_of(NEW))
    with pytest.raises(OSError, match="broken"):
        publish_tree(staged, target)
    assert reads_whole(target) == OLD
    monkeypatch.undo()
    publish_tree(staged, target)
    assert reads_whole(target) == NEW


def test_links_are_published_as_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "no exchange")
    target = lay(tmp_path / "converted", tree_of(OLD))
    staged = lay(tmp_path / "staging" / "tree", tree_of(NEW))
    (staged / "data").symlink_to(NEW)
    publish_tree(staged, target)
    assert (target / "data").readlink() == Path(NEW)


def test_publishing_what_is_gone_fails(tmp_path: Path) -> None:
    target = lay(tmp_path / "converted", tree_of(OLD))
    (tmp_path / "staging").mkdir()
    with pytest.raises(FileNotFoundError):
        publish_tree(tmp_path / "staging" / "tree", target)
    assert reads_whole(target) == OLD


def test_a_system_without_renameat2_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises(OSError, match="not implemented"):
        storage._exchange(tmp_path, tmp_path)


def test_an_exchange_that_cannot_be_names_the_reason(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage._exchange(tmp_path / "a", tmp_path / "b")


# --- atomic files ---------------------------------------------------------------------------------


def test_a_file_holds_the_old_or_the_new_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for line in range(LAST_LINE):
        path.write_bytes(b"old")
        if not dies_at(line, lambda: write_atomic(path, [b"n", memoryview(b"ew")])):
            break
        assert path.read_bytes() in {b"old", b"new"}
    assert path.read_bytes() == b"new"
    assert line > 5


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def half() -> Any:
        yield b"half"
        raise OSError("no more")

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(OSError, match="no more"):
        write_atomic(tmp_path / "file", half())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_that_was_taken_away_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "gone" / "file", b"x")
    assert not (tmp_path / "gone").exists()


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    name = "ü" * 127
    write_atomic(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


# --- names ----------------------------------------------------------------------------------------


@given(st.text(max_size=400))
def test_safe_names_are_safe_and_stay(name: str) -> None:
    try:
        safe = safe_name(name)
    except UnsafePath:
        return
    assert safe_name(safe) == safe
    assert 1 <= len(safe.encode()) <= 255
    assert not set(safe) & set("/\\\0\n")
    assert not safe.startswith(".")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("scan 1.tif", "scan 1.tif"),
        ("C:\\data\\scan.tif", "scan.tif"),
        ("../../etc/passwd", "passwd"),
        ("..hidden", "hidden"),
        ("a\x00b\n.h5", "ab.h5"),
        ("a\u202etif.exe", "atif.exe"),
        ("u\u0308ber", "\u00fcber"),
        ("x" * 300 + ".tiff", "x" * 250 + ".tiff"),
        ("x." + "y" * 300, "x." + "y" * 253),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize("name", ["", ".", "..", "a/", "\x00", " . ", "/"])
def test_names_of_nothing_are_refused(name: str) -> None:
    with pytest.raises(UnsafePath):
        safe_name(name)


@pytest.mark.parametrize("path", ["/a", "../a", "a/../b", "C:/a", "c:a", "a\\b", "a\0", "", "./", "x/" * 600])
def test_paths_that_lead_out_are_refused(path: str) -> None:
    with pytest.raises(UnsafePath):
        safe_relative(path)


@given(st.text(max_size=60))
@example(".A:")
def test_safe_paths_stay_below_the_folder(path: str) -> None:
    try:
        safe = safe_relative(path)
    except UnsafePath:
        return
    assert not safe.is_absolute()
    assert ".." not in safe.parts
    assert safe_relative(str(safe)) == safe


def test_a_safe_path_keeps_its_folders() -> None:
    assert str(safe_relative("scans//day 1/./a.tif")) == "scans/day 1/a.tif"


def test_links_are_followed_before_a_path_is_trusted(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to("deep")
    (root / "loop").symlink_to("loop")
    assert inside(root, Path("in/x")) == (root / "deep" / "x").resolve()
    assert inside(root, root / "deep") == (root / "deep").resolve()
    for bad in ("out/x", "../x", "/etc/passwd", "a\0b", "loop/x"):
        with pytest.raises(UnsafePath):
            inside(root, Path(bad))


# --- folders --------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> Storage:
    made = Storage(*(tmp_path / "data" / name for name in ("upload", "converted", "sync", "auth", "tmp", "logs")))
    made.create()
    made.create()
    return made


def test_every_dataset_has_its_own_folders(folders: Storage) -> None:
    assert folders.upload_dir("u1") == folders.upload / "u1"
    assert folders.converted_dir("u1") == folders.converted / "u1"
    assert folders.staging_dir("u1") == folders.converted / ".staging" / "u1"
    assert folders.staging_root.is_dir()
    for bad in ("../u1", "", "a/b", ".staging"):
        with pytest.raises(UnsafePath):
            folders.converted_dir(bad)


def test_reaping_keeps_the_plan_in_work(folders: Storage) -> None:
    for key in ("one", "two", "two.token"):
        lay(folders.staging_dir("u1") / key, {"tree/x": "x"})
    (folders.staging_dir("u1") / "file").write_text("x")
    other = lay(folders.staging_dir("u2") / "one", {"x": "x"})
    assert storage.reap_staging(folders, "u1", "two") == ["file", "one", "two.token"]
    assert [path.name for path in folders.staging_dir("u1").iterdir()] == ["two"]
    assert storage.reap_staging(folders, "u1") == ["two"]
    assert not folders.staging_dir("u1").exists()
    assert storage.reap_staging(folders, "u1") == []
    assert other.is_dir()


def test_free_space_is_known_before_the_folder_is_there(tmp_path: Path) -> None:
    assert storage.free_bytes(tmp_path / "not" / "yet") > 0


def test_a_file_let_go_is_still_there(tmp_path: Path) -> None:
    write_atomic(tmp_path / "block", b"samples" * 1000)
    let_go(tmp_path / "block")
    assert (tmp_path / "block").read_bytes() == b"samples" * 1000
