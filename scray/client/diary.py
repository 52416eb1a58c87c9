"""What a sender has to know after a crash: a small file, one line of JSON a fact, kept until all is sent."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from scray.errors import BadParameter, Conflict


class Diary:
    """The facts about one dataset that is being sent. A context manager; one process at a time may hold it.

    Promise: what was noted is known to the next process that opens the file; a line that a crash cut short is ignored.
    Raises BadParameter where the file cannot be written.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._open()
        except OSError as error:
            raise _not_kept(path, error) from error
        if fresh:
            self._file.truncate(0)
        self._facts: dict[str, dict[str, Any]] = {}
        self._read()
        if "" not in self._facts:
            self.note("", dataset=str(uuid.uuid4()), key=uuid.uuid4().hex)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._path.unlink(missing_ok=True)
        with suppress(OSError):  # what could not be written has been told
            self._file.close()

    def of(self, name: str) -> Mapping[str, Any]:
        """All that is known of a file; of the dataset under the empty name."""
        return self._facts.get(name, {})

    def note(self, name: str, **values: Any) -> None:
        """Add to what is known; None takes a fact back."""
        self._facts.setdefault(name, {}).update(values)
        try:
            self._file.write(json.dumps({"name": name, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise _not_kept(self._path, error) from error

    def _open(self) -> TextIO:
        """Ours alone, and still the file of that name: the one who had it before may just have removed it."""
        while True:
            file = self._path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(file.fileno())):
                    return file
            except BlockingIOError as error:
                file.close()
                raise Conflict("Another process is sending or fetching the same just now.") from error
            file.close()

    def _read(self) -> None:
        self._file.seek(0)
        for line in self._file:
            try:
                fact = json.loads(line)
                self._facts.setdefault(fact.pop("name"), {}).update(fact)
            except (ValueError, KeyError, AttributeError):
                continue
        if self._file.tell() and not _ends_a_line(self._path):
            self._file.write("\n")


def _not_kept(path: Path, error: OSError) -> BadParameter:
    return BadParameter(
        f"What has to be known to go on after a crash cannot be kept in {path.parent}: {error.strerror}. "
        "Set XDG_STATE_HOME to a folder that can be written."
    )


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def diary_path(base_url: str, form: Mapping[str, Any], paths: Sequence[Path], folder: Path | None = None) -> Path:
    """Where the diary of this very upload is: below `folder`, or XDG_STATE_HOME, or ~/.local/state."""
    about = [base_url, dict(form), sorted(str(path.resolve()) for path in paths)]
    name = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:32]
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return (folder or home / "scray" / "uploads") / f"{name}.jsonl"
