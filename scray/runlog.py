"""The log of one run of a dataset, kept on the disk beside the data: `logs/<uuid>/<run>.jsonl`.

It is bounded: what is routine is left out when a run has filled most of its share, of each dataset the last runs are
kept, and of a dataset that is not there any more none. It is for people; nothing depends on it, and a disk that is full
keeps no run from going on.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Unpack

from scray.errors import NotFound
from scray.log import Action, Facts, line

RUN_BYTES: Final = 1 << 20
ROUTINE_BYTES: Final = RUN_BYTES * 3 // 4
KEPT_RUNS: Final = 20
PAGE_BYTES: Final = 256 << 10
ROUTINE: Final = frozenset({Action.TASK_DONE, Action.NOTE})
NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


def run_name(token: str, at: datetime) -> str:
    """The name of a run: its time, so that names are in order, and a digest of its claim's token."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{sha256(token.encode()).hexdigest()[:8]}"


class RunLog:
    """Writes the log of one run, a new one or more of one that is there: one owner, events in their order."""

    def __init__(self, folder: Path, run: str) -> None:
        self.run, self._path = run, folder / f"{run}.jsonl"
        self._size = 0
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            for old in [name for name in runs(folder) if name != run][: -KEPT_RUNS + 1]:
                (folder / f"{old}.jsonl").unlink(missing_ok=True)
            self._size = self._path.stat().st_size if self._path.exists() else 0

    def write(self, action: Action, message: str = "", *, level: int = logging.INFO, **facts: Unpack[Facts]) -> None:
        """Append one event, if there is room for its kind."""
        whole: Facts = {**facts, "run": self.run}
        data = line(action, message, level=level, **whole).encode() + b"\n"
        if self._size + len(data) > (ROUTINE_BYTES if action in ROUTINE else RUN_BYTES):
            return
        with suppress(OSError), self._path.open("ab") as file:
            file.write(data)
            self._size += len(data)


def runs(folder: Path) -> list[str]:
    """The runs of a dataset that have a log, the latest last."""
    try:
        found = [path.stem for path in folder.iterdir() if path.suffix == ".jsonl"]
    except OSError:
        return []
    return sorted(name for name in found if NAME.fullmatch(name))


def forget(folder: Path, before: float) -> bool:
    """Remove the logs of a dataset if nothing was written to them since `before` (seconds of the epoch), and whatever
    else lies there stays; whether they are gone.
    """
    files = [folder / f"{run}.jsonl" for run in runs(folder)]
    with suppress(OSError):
        if all(path.stat().st_mtime < before for path in (folder, *files)):
            for path in files:
                path.unlink()
            folder.rmdir()
            return True
    return False


def read(folder: Path, run: str, after: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Some events of a run after a place in its log, and the place to go on from. Raises NotFound."""
    if not NAME.fullmatch(run):
        raise NotFound(f"There is no run {run[:80]!r}.")
    try:
        with (folder / f"{run}.jsonl").open("rb") as file:
            file.seek(after)
            data = file.read(PAGE_BYTES)
    except FileNotFoundError as error:
        raise NotFound(f"There is no log of run {run}.") from error
    whole = data[: data.rfind(b"\n") + 1]
    return list(_events(whole)), after + len(whole)


def _events(data: bytes) -> Iterator[dict[str, Any]]:
    """The lines that can be read: one that a kill or a full disk cut short is nobody's loss."""
    for text in data.splitlines():
        with suppress(ValueError):
            found = json.loads(text)
            if isinstance(found, dict):
                yield found
