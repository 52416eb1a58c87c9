"""What was hashed is not hashed again, as long as its file is the one it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scray.digests import FOLDER, Digests
from scray.spans import Span

FOUND = {("a", Span(0, 5)): "11", ("a", Span(5, 9)): "22", ("sub/b", Span(0, 1)): "33"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "upload"
    (found / "sub").mkdir(parents=True)
    (found / "a").write_bytes(b"123456789")
    (found / "sub" / "b").write_bytes(b"1")
    return found


def opened(root: Path) -> Digests:
    return Digests.of(root.parent / "staging" / "u", root, ["a", "sub/b"])


def test_another_driver_knows_what_the_first_one_noted(root: Path) -> None:
    first = opened(root)
    assert first.known() == {}
    for part, digest in FOUND.items():
        first.note({part: digest})
    assert opened(root).known() == FOUND


def test_a_link_to_a_file_changes_nothing(root: Path) -> None:
    opened(root).note(FOUND)
    (root.parent / "result").hardlink_to(root / "a")
    assert opened(root).known() == FOUND


def longer(path: Path) -> None:
    found = path.stat()
    path.write_bytes(b"1234567890")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def written_to(path: Path) -> None:
    path.write_bytes(b"987654321")
    os.utime(path, ns=(0, 0))


def replaced(path: Path) -> None:
    found = path.stat()
    new = path.with_name("new")
    new.write_bytes(b"987654321")
    os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))
    new.replace(path)


@pytest.mark.parametrize("change", [longer, written_to, replaced])
def test_nothing_is_known_of_a_file_that_is_another_now(root: Path, change: Callable[[Path], None]) -> None:
    opened(root).note(FOUND)
    change(root / "a")
    assert opened(root).known() == {("sub/b", Span(0, 1)): "33"}


def test_a_file_that_changes_while_it_is_read_is_not_known(root: Path) -> None:
    early = opened(root)
    written_to(root / "a")
    early.note(FOUND)
    assert opened(root).known() == {("sub/b", Span(0, 1)): "33"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": {"a": 3}, "spans": []}', b'{"files": []}'])
def test_a_damaged_note_says_nothing_and_hides_no_other(root: Path, content: bytes) -> None:
    opened(root).note(FOUND)
    (root.parent / "staging" / "u" / FOLDER / "0.json").write_bytes(content)
    assert opened(root).known() == FOUND
