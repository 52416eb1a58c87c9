"""What arrived is what is converted, or the disk is to blame."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scray.arrivals import Arrival, compare
from scray.errors import ChunkDamaged
from scray.manifest import FileDigest, digest_file

MINUTE = timedelta(minutes=1)


def arrive(root: Path, content: bytes, after: timedelta = MINUTE) -> Arrival:
    """A file that was written, and noted so long after."""
    (root / "a.tif").write_bytes(content)
    written = datetime.fromtimestamp((root / "a.tif").stat().st_mtime, UTC)
    return Arrival(digest_file(root, "a.tif"), written + after)


def rot(path: Path, content: bytes) -> None:
    """Other bytes, the same times: what a failing disk does."""
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_what_is_as_it_arrived_is_taken(tmp_path: Path) -> None:
    arrival = arrive(tmp_path, b"samples")
    found = digest_file(tmp_path, "a.tif")
    compare(tmp_path, [found], [arrival])
    compare(tmp_path, [found], [])
    compare(tmp_path, [], [arrival])


@pytest.mark.parametrize(("content", "what"), [(b"sampleS", "chunks 0"), (b"sample", "6 bytes instead of 7")])
def test_what_changed_without_being_written_is_damage(content: bytes, what: str, tmp_path: Path) -> None:
    arrival = arrive(tmp_path, b"samples")
    rot(tmp_path / "a.tif", content)
    with pytest.raises(ChunkDamaged, match=what):
        compare(tmp_path, [digest_file(tmp_path, "a.tif")], [arrival])


def test_what_was_written_since_is_wanted(tmp_path: Path) -> None:
    arrival = arrive(tmp_path, b"samples")
    (tmp_path / "a.tif").write_bytes(b"better samples")
    later = arrival.at.timestamp() + 1
    os.utime(tmp_path / "a.tif", (later, later))
    compare(tmp_path, [digest_file(tmp_path, "a.tif")], [arrival])


def test_of_several_arrivals_the_latest_counts(tmp_path: Path) -> None:
    first = Arrival(FileDigest("a.tif", 1, ("ab" * 32,)), datetime.now(UTC) - MINUTE)
    second = arrive(tmp_path, b"samples")
    for both in ([first, second], [second, first]):
        compare(tmp_path, [digest_file(tmp_path, "a.tif")], both)
