"""A file or folder of this system, below one of the folders the operator lists in SCRAY_IMPORT_ROOTS.

Every open file is checked to lie there, after all symbolic links: what is renamed meanwhile leads nowhere else.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import Any

from scray.errors import BadParameter, EmptyInput, RemoteChanged, SourceDenied, SourceNotFound, SourceRefused
from scray.settings import Settings
from scray.sources import Listing, RemoteFile, Sink, Source, check_size
from scray.spans import READ_BYTES, Span
from scray.storage import safe_relative

MOST_FILES = 1_000_000
NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EROFS})


class PathSource(Source):
    """`config` has `path` and, for a file, `name`: what it is called in the dataset."""

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        self._settings = settings
        self._path = allowed_path(str(config["path"]), settings)
        self._name = str(config.get("name") or self._path.name)

    def probe(self) -> Listing:
        if not self._path.is_dir():
            return Listing((self._file(self._path, self._name),))
        found = sorted(_walk(self._path))[: MOST_FILES + 1]
        if not found:
            raise EmptyInput(f"There are no files in '{self._path.name}'.")
        if len(found) > MOST_FILES:
            raise SourceRefused(f"'{self._path.name}' holds more than {MOST_FILES:,} files.")
        return Listing(tuple(self._file(path, str(path.relative_to(self._path))) for path in found))

    def _file(self, path: Path, name: str) -> RemoteFile:
        with self._opened(path) as fd:
            size = os.fstat(fd).st_size
            check_size(size, path.name, self._settings)
            return RemoteFile(str(safe_relative(name)), str(path), size, _version(fd), ranged=True)

    def read(self, file: RemoteFile, span: Span, sink: Sink) -> None:
        with self._opened(Path(file.key)) as fd:
            _check_same(fd, file)
            for start in range(span.start, span.stop, READ_BYTES):
                sink(os.pread(fd, min(READ_BYTES, span.stop - start), start))
            _check_same(fd, file)

    def adopt(self, file: RemoteFile, part: Path) -> bool:
        """A hard link, where source and dataset lie on one file system."""
        with self._opened(Path(file.key)) as fd:
            _check_same(fd, file)
            part.unlink(missing_ok=True)
            try:
                # with a folder's descriptor, Python calls linkat, which follows the descriptor's name to the file
                os.link(f"/proc/self/fd/{fd}", part, src_dir_fd=fd, follow_symlinks=True)
            except OSError as error:
                if error.errno not in NO_LINK:
                    raise
                return False
        return True

    @contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        """A regular file, open, that really lies below an allowed folder."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise SourceNotFound(f"File not found: {path}") from error
        except PermissionError as error:
            raise SourceDenied(f"The service may not read {path}.") from error
        try:
            allowed_path(str(Path(f"/proc/self/fd/{fd}").readlink()), self._settings)
            if not S_ISREG(os.fstat(fd).st_mode):
                raise SourceRefused(f"Path is not a file: {path}")
            yield fd
        finally:
            os.close(fd)


def allowed_path(text: str, settings: Settings) -> Path:
    """The path with all links resolved. Raises SourceDenied outside SCRAY_IMPORT_ROOTS, SourceNotFound."""
    roots = [Path(root) for root in settings.import_roots]
    if not all(root.is_absolute() for root in roots):
        raise BadParameter("SCRAY_IMPORT_ROOTS must list absolute paths.")
    denied = SourceDenied("This path is not in a folder that the operator has opened for imports.")
    try:
        path = Path(text)
        real = path.resolve()
        below = any(real.is_relative_to(root.resolve()) for root in roots)
        if not (path.is_absolute() and below) or real.is_relative_to(settings.storage().auth.resolve()):
            raise denied
        if not real.exists():
            raise SourceNotFound(f"File not found: {text}")
    except (OSError, ValueError, RuntimeError) as error:
        raise denied from error
    return real


def _walk(root: Path) -> Iterator[Path]:
    """Every file below a folder; names that begin with a dot are left out, links are not followed into folders."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _version(fd: int) -> str:
    found = os.fstat(fd)
    return f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


def _check_same(fd: int, file: RemoteFile) -> None:
    if _version(fd) != file.version:
        raise RemoteChanged(f"'{file.path}' was changed while it was imported.")
