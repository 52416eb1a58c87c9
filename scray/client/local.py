"""Files of this machine that are to be sent: which they are, what they are called in the dataset, and their bytes."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from scray.errors import EmptyInput, InvalidField, SourceChanged
from scray.spans import Span

PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class LocalFile:
    """A file as it was when it was first looked at; `relative` is its path in the dataset, with slashes."""

    path: Path
    relative: str
    size_bytes: int
    changed_ns: int

    @property
    def fingerprint(self) -> list[int]:
        """What tells that the file is still the same."""
        return [self.size_bytes, self.changed_ns]

    def open(self) -> FileIO:
        """The file, to be read. Raises SourceChanged when it is gone."""
        try:
            return self.path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise SourceChanged(f"{self.path} is gone: it was moved or removed while it was being sent.") from error

    def pieces(self, span: Span) -> Iterator[bytes]:
        """Some of its bytes. Raises SourceChanged when it is gone or has become shorter."""
        with self.open() as file:
            file.seek(span.start)
            left = span.size
            while left:
                data = file.read(min(left, PIECE_BYTES))
                if not data:
                    raise SourceChanged(f"{self.path} became shorter while it was being sent.")
                left -= len(data)
                yield data

    async def stream(self, span: Span, on_bytes: Callable[[int], None]) -> AsyncIterator[bytes]:
        """The same, read beside everything else; `on_bytes` hears of each piece."""
        pieces = self.pieces(span)
        while data := await asyncio.to_thread(next, pieces, b""):
            yield data
            on_bytes(len(data))

    async def digest(self, span: Span) -> str:
        """SHA-256, in hex, of some of its bytes; given up when nobody waits for it any more."""
        given_up = threading.Event()
        try:
            return await asyncio.to_thread(_digest, self.pieces(span), given_up)
        finally:
            given_up.set()


def _digest(pieces: Iterable[bytes], given_up: threading.Event) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        if given_up.is_set():
            return ""
        digest.update(piece)
    return digest.hexdigest()


class Watched:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self.fileno = file.fileno

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._on_bytes(len(data))
        return data


def find_files(paths: Path | Sequence[Path]) -> list[LocalFile]:
    """The files to send: one file, all of a folder by their paths below it, or several of both, where folders keep
    their names. Of folders, hidden files are left out. Raises EmptyInput, InvalidField.
    """
    several = [paths] if isinstance(paths, Path) else list(paths)
    found = [_look(path, name) for path, name in _named(several)]
    if not found:
        raise EmptyInput(f"There is no file in {', '.join(map(str, several)) or 'nothing'}.")
    names = [file.relative for file in found]
    if twice := sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
        raise InvalidField(f"Two files would both be called {twice[0]!r} in the dataset; send them in a folder.")
    return found


def _named(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    for path in (Path(os.path.abspath(one)) for one in paths):  # noqa: PTH100  # links stay, dots go
        base = path if len(paths) == 1 and path.is_dir() else path.parent
        for file in files_below(path) if path.is_dir() else [path]:
            yield file, file.relative_to(base).as_posix()


def files_below(folder: Path) -> list[Path]:
    """The files of a folder that are worth sending, in the order of their paths. Raises InvalidField."""
    return [path for path in _shown(folder) if path.is_file()]


def left_out(paths: Sequence[Path]) -> dict[Path, str]:
    """What stays behind of folders though it is not hidden, and why."""
    found = (path for one in paths if one.is_dir() for path in _shown(one) if not path.is_file())
    return {path: _why_left_out(path) for path in found}


def _why_left_out(path: Path) -> str:
    if path.is_dir():
        return "a link to a folder"
    return "neither a file nor a folder" if path.exists() else "a link that leads nowhere"


def _shown(folder: Path) -> list[Path]:
    """What is in a folder and its folders without being hidden or a folder, in the order of the paths."""
    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [name for name in folders if Path(root, name).is_symlink()]
        found += [Path(root, name) for name in (*names, *linked) if not name.startswith(".")]
    return sorted(found)


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed is not an empty one."""
    raise InvalidField(f"{error.filename} cannot be read: {error.strerror}.") from error


def _look(path: Path, relative: str) -> LocalFile:
    found: Any = path.stat()
    if not os.access(path, os.R_OK):
        raise InvalidField(f"{path} cannot be read: {os.strerror(errno.EACCES)}.")
    return LocalFile(path, relative, found.st_size, found.st_mtime_ns)
