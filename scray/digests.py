"""The digests of input files that were found already, kept in the staging of their dataset.

*What was hashed is not hashed again by the next driver, as long as its file is the one it was:* with the digests the
size, the number and the time of change of each file are noted, as they were before it was read. Where one of them is
another now, or a note is damaged, the note says nothing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from scray.spans import Span
from scray.storage import inside, write_atomic

FOLDER = "digests"

Part = tuple[str, Span]  # of a file, by its name below the root
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Digests:
    """Of the files below `root`; `stamps` are taken when it is made, before anything is read."""

    folder: Path
    stamps: Mapping[str, Stamp]

    @classmethod
    def of(cls, parent: Path, root: Path, names: Iterable[str]) -> Self:
        """Those in the staging folder `parent`, which is made where it is missing."""
        folder = parent / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, {name: _stamp(inside(root, Path(name))) for name in names})

    def known(self) -> dict[Part, str]:
        """What was noted of files that are as they were."""
        found: dict[Part, str] = {}
        for path in sorted(self.folder.glob("*.json")):
            with suppress(ValueError, TypeError, AttributeError, OSError):
                found |= self._read(path)
        return found

    def note(self, digests: Mapping[Part, str]) -> None:
        """Keep what was found; also after a power loss. Raises OSError where the staging is gone."""
        names = sorted({name for name, _ in digests})
        spans = [[name, *span, digest] for (name, span), digest in digests.items()]
        said = {"files": {name: self.stamps[name] for name in names}, "spans": spans}
        write_atomic(self.folder / f"{secrets.token_hex(8)}.json", json.dumps(said).encode())

    def _read(self, path: Path) -> dict[Part, str]:
        said = json.loads(path.read_bytes())
        same = {name for name, stamp in said["files"].items() if tuple(stamp) == self.stamps.get(name)}
        return {(name, Span(start, stop)): digest for name, start, stop, digest in said["spans"] if name in same}


def _stamp(path: Path) -> Stamp:
    """Not the time of the last change of its names: a link to a file leaves it as it is."""
    found = path.stat()
    return found.st_size, found.st_ino, found.st_mtime_ns
