"""Archives in an upload are unpacked before anything is probed; the originals stay as they are.

What an archive is, its content says and its name must not contradict: a spreadsheet is a zip too. Archives in
archives are unpacked as well, to a limit.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from converters.crate import Allowance, Crate
from converters.members import unpack
from converters.sniff import kind_of
from scray.errors import ArchiveBomb, MixedInput
from scray.storage import fsync_folder, inside

KINDS = frozenset({"zip", "7z", "tar", "gzip", "bzip2", "xz", "zstd"})
SUFFIXES = frozenset({
    "", ".zip", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst", ".zstd", ".tzst",
})  # fmt: skip
MAX_NESTING = 3


def archives_in(root: Path, files: Sequence[str]) -> tuple[str, ...]:
    """Those of the files that are archives, by content and name."""
    return tuple(name for name in files if _kind(root, name))


def _kind(root: Path, name: str) -> str:
    if PurePosixPath(name).suffix.lower() not in SUFFIXES:
        return ""
    kind = kind_of(inside(root, Path(name)))
    return kind if kind in KINDS else ""


def unpack_all(root: Path, files: Sequence[str], target: Path, alive: Callable[[], None] = lambda: None) -> None:
    """Unpack the archives among `files` into the empty folder `target`, flushed; `alive` hears of every piece.

    An archive that is alone comes out at the top, several in a folder each, named like them. Raises UnsafePath,
    ArchiveLink, ArchiveDevice, ArchiveBomb, EncryptedArchive, TruncatedInput, BadArchive, Unsupported, NoSpace.
    """
    allowance = Allowance.of(sum((root / name).stat().st_size for name in files), target)
    for name in archives_in(root, files):
        folder = target if len(files) == 1 else target / _stem(name)
        _unpack_one(root / name, name, folder, allowance, alive)


def _stem(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    while path.suffix.lower() in SUFFIXES - {""}:
        path = path.with_suffix("")
    return path


def _unpack_one(
    path: Path, name: str, folder: Path, allowance: Allowance, alive: Callable[[], None], depth: int = 1
) -> None:
    """One archive and those in it, which give way to what they held."""
    if depth > MAX_NESTING:
        raise ArchiveBomb(f"{name} is an archive in an archive, more than {MAX_NESTING} deep.")
    folder.mkdir(parents=True, exist_ok=True)
    crate = Crate(folder, name, allowance, alive)
    unpack(kind_of(path), path, crate)
    for inner in sorted(crate.names):
        if _kind(folder, inner):
            below = (folder / inner).parent / f".{secrets.token_hex(8)}.unpacking"  # hidden: no member is called so
            _unpack_one(folder / inner, f"{name}/{inner}", below, allowance, alive, depth + 1)
            (folder / inner).unlink()
            _give_way(folder / inner, below)


def _give_way(archive: Path, below: Path) -> None:
    """What an inner archive held: a single file beside it, anything else in a folder named like it."""
    found = list(below.iterdir())
    alone = len(found) == 1 and found[0].is_file()
    target = archive.parent / (found[0].name if alone else _stem(archive.name))
    if target.exists():
        raise MixedInput(f"Unpacking {archive.name} would hide {target.name}; rename one of them.")
    (found[0] if alone else below).rename(target)
    if alone:
        below.rmdir()


def settle(root: Path, files: Sequence[str], made: Path, final: Path) -> None:
    """Give the unpacked folder `made` its name, after the files that are no archives were linked into it."""
    archives = set(archives_in(root, files))
    for name in files:
        if name not in archives:
            _link(inside(root, Path(name)), made / name)
    for folder, _, _ in os.walk(made):
        fsync_folder(Path(folder))
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():  # nobody else was faster
            raise
        shutil.rmtree(made, ignore_errors=True)
    fsync_folder(final.parent)


def _link(source: Path, target: Path) -> None:
    if target.exists():
        raise MixedInput(f"An archive and the upload itself both hold {target.name}; rename one of them.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MixedInput(f"An archive holds a file where {target.name} needs a folder; rename one of them.") from error
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb+") as file:
            os.fsync(file.fileno())
