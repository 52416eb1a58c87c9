"""Where an archive is unpacked into: a folder that takes only safe names, and no more than the limits allow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from converters.visible import visible
from scray.errors import ArchiveBomb, BadArchive, NoSpace, UnsafePath
from scray.sizes import size_text
from scray.storage import free_bytes, safe_relative

MAX_MEMBERS = 500_000
MAX_RATIO = 250  # unpacked to packed; beyond it nobody has data
UNSUSPICIOUS_BYTES = 256 << 20  # what may be unpacked at any ratio
PIECE_BYTES = 1 << 20


@dataclass
class Allowance:
    """What may be unpacked from an upload, all its archives and those in them together."""

    packed_bytes: int
    free_bytes: int
    members: int = 0
    written_bytes: int = 0

    @classmethod
    def of(cls, packed_bytes: int, folder: Path) -> Allowance:
        return cls(packed_bytes, free_bytes(folder))

    def admit(self, members: int, size: int, archive: str) -> None:
        """Raise ArchiveBomb or NoSpace where so many members of so many bytes would be too much."""
        if self.members + members > MAX_MEMBERS:
            raise ArchiveBomb(f"{archive} holds more than {MAX_MEMBERS:,} members.")
        total = self.written_bytes + size
        if total > max(UNSUSPICIOUS_BYTES, MAX_RATIO * self.packed_bytes):
            raise ArchiveBomb(
                f"{archive} unpacks to more than {MAX_RATIO} times its size; upload the files themselves."
            )
        if total > self.free_bytes:
            raise NoSpace(f"Unpacking {archive} needs {size_text(total)} and {size_text(self.free_bytes)} are free.")


class Crate:
    """Takes the members of one archive into `root`; each file is flushed before the next begins."""

    def __init__(self, root: Path, archive: str, allowance: Allowance, alive: Callable[[], None]) -> None:
        self.root, self.archive = root, archive
        self.allowance, self.alive = allowance, alive
        self.names: set[str] = set()

    def place(self, name: str) -> Path | None:
        """Where a member goes; None where it is hidden and ignored. Raises UnsafePath, and BadArchive for a name
        that comes twice.
        """
        self.allowance.admit(1, 0, self.archive)
        self.allowance.members += 1
        self.alive()
        try:
            safe = str(safe_relative(name))
        except UnsafePath as error:
            raise UnsafePath(f"{self.archive} holds a member that leads outside: {error.message}") from error
        if not visible("/".join(part for part in name.split("/") if part not in ("", "."))):
            return None
        if safe in self.names:
            raise BadArchive(f"{self.archive} holds {safe!r} twice.")
        self.names.add(safe)
        return self._made(safe)

    def _made(self, safe: str) -> Path:
        path = self.root / safe
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadArchive(f"{self.archive} uses the name of a file for a folder: {safe!r}.") from error
        if path.is_dir():
            raise BadArchive(f"{self.archive} uses the name of a folder for a file: {safe!r}.")
        return path

    def keep(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a member; pieces are counted as they come, whatever the archive declared, also of a hidden one."""
        path = self.place(name)
        if path is None:
            for piece in pieces:
                self.count(len(piece))
            return
        with path.open("xb") as file:
            for piece in pieces:
                self.count(len(piece))
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())

    def count(self, size: int) -> None:
        """So many bytes more are about to be written."""
        self.allowance.admit(0, size, self.archive)
        self.allowance.written_bytes += size
        self.alive()
