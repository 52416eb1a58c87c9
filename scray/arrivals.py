"""What was hashed while it arrived, and whether it is what lies on the disk now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scray.errors import ChunkDamaged
from scray.manifest import FileDigest

NAMED_CHUNKS = 20  # so many damaged chunks are told by number


@dataclass(frozen=True)
class Arrival:
    """A file as it arrived, and when its last byte was on the disk."""

    file: FileDigest
    at: datetime


def compare(root: Path, found: Iterable[FileDigest], arrivals: Iterable[Arrival]) -> None:
    """Raises ChunkDamaged where a file, hashed again, is not what arrived although nobody has written to it since.

    Of several arrivals under one name the latest counts. Whoever changes a file in its place changes its time: what he
    put there is what he wants.
    """
    latest = {arrival.file.path: arrival for arrival in sorted(arrivals, key=lambda arrival: arrival.at)}
    for file in found:
        arrival = latest.get(file.path)
        if arrival and arrival.file != file and not _written_since(root / file.path, arrival.at):
            raise ChunkDamaged(
                f"On the disk, '{file.path}' is not what was received ({_difference(arrival.file, file)}), and nobody "
                "has written to it since: the disk may be failing. Upload it again."
            )


def _written_since(path: Path, at: datetime) -> bool:
    return path.stat().st_mtime > at.timestamp()


def _difference(arrived: FileDigest, found: FileDigest) -> str:
    if arrived.size != found.size:
        return f"{found.size} bytes instead of {arrived.size}"
    damaged = [i for i, (one, other) in enumerate(zip(arrived.chunks, found.chunks, strict=True)) if one != other]
    return f"chunks {', '.join(map(str, damaged[:NAMED_CHUNKS]))}{', …' if len(damaged) > NAMED_CHUNKS else ''}"
