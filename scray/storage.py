"""The folders of the datasets: safe names, atomic files, staging, atomic publish, free space.

Everything written here appears whole or not at all: data go to a temporary name in the same folder, are
flushed to the disk, and get their name by one rename.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from ctypes import c_int64
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from scray.errors import UnsafePath

HEADER = "visus.idx"
NAME_BYTES = 255  # what ext4, xfs and NFS allow for one name
PATH_BYTES = 1024
DATA_FOLDER = re.compile(r"[0-9a-f]{8}")
RENAME_EXCHANGE = 2  # linux/fs.h
AT_FDCWD = -100
SYNC_FILE_RANGE_WRITE = 2  # the same
DOOMED = ".reap."
# what a file system answers that knows no exchange or no hard links
REFUSALS = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM, errno.EXDEV, errno.EMLINK})
sync_file_range: Callable[..., int] | None = getattr(ctypes.CDLL(None), "sync_file_range", None)


# --- files ---------------------------------------------------------------------------------------


def write_atomic(path: Path, data: bytes | Iterable[bytes | memoryview], *, flush_folder: bool = True) -> None:
    """Write a file so that `path` holds its old content or all of `data`, also after a crash or power loss.

    The folder must exist: a worker whose folder was taken away fails instead of making a new one. Who writes many
    files into one folder passes `flush_folder=False` and flushes the folder once: until then a power loss may take
    the name, never leave half a file under it.
    """
    chunks = (data,) if isinstance(data, bytes) else data
    temporary = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if flush_folder:
        fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def let_go(path: Path) -> None:
    """Have the system forget its copy in memory of a flushed file, so that writing displaces nothing that is read."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def start_write_back(fd: int, start: int, size_bytes: int) -> None:
    """Have the disk begin with these bytes of a file, so that a flush at its end has less to wait for; it promises
    nothing (sync_file_range, Linux >= 2.6.17), and a system without it begins when it likes.
    """
    if sync_file_range is not None and size_bytes:
        sync_file_range(fd, c_int64(start), c_int64(size_bytes), SYNC_FILE_RANGE_WRITE)


def free_bytes(path: Path) -> int:
    """Bytes an ordinary user may still write where `path` is, or will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


# --- names ---------------------------------------------------------------------------------------


def safe_name(name: str) -> str:
    """One file name made from what a client sent: its last component, without control characters or leading
    dots.

    At most 255 bytes of UTF-8, keeping the extension; applied twice it changes nothing more. Raises
    UnsafePath when nothing is left.
    """
    last = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    kept = "".join(c for c in last if unicodedata.category(c) not in {"Cc", "Cs", "Cf", "Zl", "Zp"})
    plain = kept.strip().lstrip(". \t")
    if not plain:
        raise UnsafePath(f"{name!r} cannot be used as a file name.")
    stem, dot, extension = plain.rpartition(".")
    tail = f"{dot}{extension}" if stem and len(extension.encode()) <= 32 else ""
    head = plain.removesuffix(tail).encode()[: NAME_BYTES - len(tail.encode())]
    return head.decode(errors="ignore").rstrip() + tail


def safe_relative(path: str) -> PurePosixPath:
    """A relative path of safe names below a dataset's folder.

    Raises UnsafePath for absolute paths, `..`, drive letters, backslashes, NUL, and paths over 1,024 bytes.
    """
    parts = [part for part in path.split("/") if part not in {"", "."}]
    hostile = path.startswith("/") or "\\" in path or "\0" in path or ".." in parts
    if hostile or not parts:
        raise UnsafePath(f"{path!r} is not a relative path inside the dataset.")
    safe = PurePosixPath(*(safe_name(part) for part in parts))
    if re.match(r"[A-Za-z]:", path) or re.match(r"[A-Za-z]:", str(safe)):
        raise UnsafePath(f"{path!r} begins like a drive of Windows; send a path inside the dataset.")
    if len(str(safe).encode()) > PATH_BYTES:
        raise UnsafePath(f"The path {path[:80]!r}… is longer than {PATH_BYTES} bytes.")
    return safe


def inside(root: Path, path: Path) -> Path:
    """`path` (relative to `root`, or absolute) with all symbolic links resolved; UnsafePath when that leaves
    `root`.
    """
    try:
        base, real = root.resolve(), (root / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UnsafePath(f"{str(path)!r} cannot be resolved: {error}") from error
    if not real.is_relative_to(base):
        raise UnsafePath(f"{str(path)!r} leads outside the dataset's folder.")
    return real


# --- the folders ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Storage:
    """The six roots, shared by all nodes under the same paths; staging lies in `converted`."""

    upload: Path
    converted: Path
    sync: Path
    auth: Path
    tmp: Path
    logs: Path

    def create(self) -> None:
        """Make the folders that are missing."""
        for root in (self.upload, self.converted, self.sync, self.auth, self.tmp, self.logs, self.staging_root):
            root.mkdir(parents=True, exist_ok=True)

    @property
    def staging_root(self) -> Path:
        return self.converted / ".staging"

    def upload_dir(self, uuid: str) -> Path:
        return self.upload / _one_name(uuid)

    def converted_dir(self, uuid: str) -> Path:
        return self.converted / _one_name(uuid)

    def log_dir(self, uuid: str) -> Path:
        """Where the logs of a dataset's runs are."""
        return self.logs / _one_name(uuid)

    def staging_dir(self, uuid: str) -> Path:
        """Where the plans of a dataset are carried out, each in a folder that its digest names."""
        return self.staging_root / _one_name(uuid)


def _one_name(name: str) -> str:
    if safe_name(name) != name:
        raise UnsafePath(f"{name!r} cannot name a dataset.")
    return name


def reap_staging(storage: Storage, uuid: str, *keep: str) -> list[str]:
    """Remove the staging of a dataset, except the folders of these names; returns the removed names.

    A folder is renamed before it is emptied, so a late owner can never publish one that is half gone.
    """
    parent = storage.staging_dir(uuid)
    gone: list[str] = []
    with suppress(FileNotFoundError):  # nothing was staged, or another driver was first
        gone = sorted(entry.name for entry in parent.iterdir() if entry.name not in keep)
    for name in gone:
        with suppress(FileNotFoundError):
            remove_tree(parent / name)
    with suppress(OSError):  # it still holds a plan
        parent.rmdir()
    return gone


def remove_tree(path: Path) -> None:
    """Take a folder (or file) out of its name at once, then delete it."""
    doomed = path.parent / f"{DOOMED}{secrets.token_hex(8)}"
    path.rename(doomed)
    if doomed.is_dir() and not doomed.is_symlink():
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        doomed.unlink(missing_ok=True)


# --- publish -------------------------------------------------------------------------------------


def publish_tree(tree: Path, target: Path) -> None:
    """Make the complete, flushed folder `tree` the dataset at `target`; readers see the old or the new one,
    whole.

    Where nothing is at `target` this is one rename. Otherwise the old data folders (named by 8 hex digits)
    are first hard-linked into the new tree, so that readers holding the old header can go on, and both trees
    change places in one step (renameat2 with RENAME_EXCHANGE, Linux >= 3.15); a file system without that gets
    the files one by one, each `visus.idx` after the data, the top one last. Stopped anywhere, calling it
    again completes it, unless it was complete: then `tree` is gone and FileNotFoundError is raised.
    """
    if target.is_dir():
        _Swap(tree, target).perform()
    else:
        tree.rename(target)
    fsync_folder(target.parent)


class _Swap:
    """Replacing a published dataset. A note beside the new tree tells a later call how far this one came."""

    def __init__(self, tree: Path, target: Path) -> None:
        self.tree, self.target = tree, target
        self.note = tree.parent / f".{tree.name}.publishing"

    def perform(self) -> None:
        if not self.note.exists():
            files = [str(path.relative_to(self.tree)) for path in _files(self.tree)]
            self._write({"inode": self.tree.stat().st_ino, "files": files, "each": False})
        state = json.loads(self.note.read_bytes())
        new = {Path(name) for name in state["files"]}
        if not state["each"] and state["inode"] != self.target.stat().st_ino and not self._exchange(new):
            state["each"] = True
            self._write(state)
        if state["each"]:
            self._replace_each(new)
        if self.tree.exists():
            remove_tree(self.tree)
        self.note.unlink()

    def _write(self, state: dict[str, Any]) -> None:
        write_atomic(self.note, json.dumps(state).encode())

    def _exchange(self, new: set[Path]) -> bool:
        """Whether the file system could do it."""
        replaced = {parent for name in new for parent in name.parents}
        try:
            for folder in data_folders(self.target):
                for path in _files(self.target / folder) if folder not in replaced else ():
                    self._link(path.relative_to(self.target))
            _exchange(self.tree, self.target)
        except OSError as error:
            if error.errno in REFUSALS:
                return False
            raise
        return True

    def _link(self, name: Path) -> None:
        """Never a new tree in the place of one that somebody else has taken: it would be published with nothing but
        this.
        """
        for folder in reversed(name.parents[:-1]):
            (self.tree / folder).mkdir(exist_ok=True)
        with suppress(FileExistsError):
            os.link(self.target / name, self.tree / name, follow_symlinks=False)

    def _replace_each(self, new: set[Path]) -> None:
        """File by file: data, then what describes them, then headers, the top one last; then what is left
        over.
        """
        for name in sorted((path.relative_to(self.tree) for path in _files(self.tree)), key=_publish_order):
            (self.target / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).replace(self.target / name)
            fsync_folder((self.target / name).parent)
        for path in _files(self.target):
            name = path.relative_to(self.target)
            if name not in new and not _is_data(name):
                path.unlink()


def remove_superseded(target: Path, folders: Iterable[Path]) -> None:
    """Delete these data folders of former versions, by relative path, and what a removal that was killed left."""
    for path in [*(target / folder for folder in folders), *target.rglob(f"{DOOMED}*")]:
        with suppress(FileNotFoundError):  # another driver was first
            remove_tree(path)


def data_folders(root: Path) -> list[Path]:
    """The folders of block files in a dataset, relative to it: names of 8 hex digits, at any depth."""
    found = []
    for folder, names, _ in os.walk(root):
        data = sorted(name for name in names if DATA_FOLDER.fullmatch(name))
        found += [Path(folder, name).relative_to(root) for name in data]
        names[:] = sorted(set(names) - set(data))
    return found


def links(root: Path) -> dict[str, str]:
    """Folders at the top of a result that are found under a second name, as ARCO readers need it: name -> relative path
    of the folder. Links that lead out are none of the result's.
    """
    found = {path.name: path.readlink() for path in sorted(root.iterdir()) if path.is_symlink() and path.is_dir()}
    return {
        name: target.as_posix()
        for name, target in found.items()
        if not target.is_absolute() and (root / target).resolve().is_relative_to(root.resolve())
    }


def _is_data(name: Path) -> bool:
    return any(DATA_FOLDER.fullmatch(part) for part in name.parts)


def _publish_order(name: Path) -> tuple[bool, bool, int, str]:
    return name.name == HEADER, not _is_data(name), -len(name.parts), str(name)


def _exchange(one: Path, other: Path) -> None:
    """The two folders change names in one step; OSError where the system cannot."""
    renameat2: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(other))


def _files(root: Path) -> Iterator[Path]:
    """Everything below a folder that is not a folder, links to folders included, in a fixed order."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        links = [name for name in folders if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in sorted(names + links))
