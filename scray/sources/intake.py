"""The folder in which an import arrives: what there is to fetch, what was fetched, and whether it is right.

    plan.json        the files of the source, as they were probed
    parts/<n>        the bytes of the n-th file, each at its final offset
    marks/<n>.json   the n-th portion is in its parts and flushed, with the digests of what was received

*A range that has its mark is on disk and is not fetched again; one that has none may be fetched by anybody, any number
of times.* A process that dies between any two lines costs at most the portion it was fetching.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from scray.errors import (
    BadInput,
    ChecksumMismatch,
    Conflict,
    EmptyInput,
    NoSpace,
    RemoteChanged,
    ScrayError,
    SourceUnreachable,
    TimedOut,
    TooLarge,
)
from scray.sources import Listing, RemoteFile, Source
from scray.spans import CHUNK_BYTES, Span, chunk_spans, hash_spans
from scray.storage import free_bytes, fsync_folder, inside, remove_tree, write_atomic

PLAN = "plan.json"
RANGE_BYTES = CHUNK_BYTES // 4
LARGE_BYTES = 4096 * RANGE_BYTES  # beyond that, ranges are whole chunks
PORTION_FILES = 64
CHECK_BYTES = 1 << 30
TRIES = 5
PAUSE_SECONDS = 0.5
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


class Piece(NamedTuple):
    """A span of the n-th file."""

    file: int
    span: Span


Portion = tuple[Piece, ...]


class Check(NamedTuple):
    """Spans of one file whose digests say whether it is right."""

    file: int
    algorithm: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Mark:
    """A portion that is there: the bytes and, where the source gives no checksum, SHA-256 of each of its pieces."""

    sizes: tuple[int, ...]
    digests: tuple[str, ...]


class Intake:
    """One import, for as long as it takes. Any number of processes may fetch from it at once."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where nothing was begun, BadInput for a damaged plan."""
        self.folder = folder
        try:
            plan = json.loads((folder / PLAN).read_bytes())
            self.files = tuple(RemoteFile(**file) for file in plan["files"])
            self.linked = frozenset(plan["linked"])
            self.notes = tuple(plan["notes"])
            found = portions(self.files, self.linked, int(plan["most_bytes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{PLAN} of the import is damaged: {error}") from error
        self.portions = tuple(found)
        self._spans: dict[int, list[Span]] = {number: [] for number in range(len(self.files))}
        for piece in (piece for portion in self.portions for piece in portion):
            self._spans[piece.file].append(piece.span)

    @classmethod
    def begin(cls, folder: Path, source: Source, most_bytes: int) -> Intake:
        """Ask the source, link what can be linked, and note what there is to fetch.

        `most_bytes` is the limit for files whose size nobody knows. Raises what the source does, EmptyInput, BadInput
        for files that get in each other's way, NoSpace.
        """
        listing = source.probe()
        check_listing(listing)
        if folder.exists():  # somebody died before there was a plan
            remove_tree(folder)
        for name in ("parts", "marks"):
            (folder / name).mkdir(parents=True)
        linked = [n for n, file in enumerate(listing.files) if source.adopt(file, folder / "parts" / str(n))]
        check_room(listing.files, set(linked), free_bytes(folder))
        files = [asdict(file) for file in listing.files]
        plan = {"files": files, "linked": linked, "most_bytes": most_bytes, "notes": listing.notes}
        write_atomic(folder / PLAN, json.dumps(plan).encode())
        return cls(folder)

    @property
    def total_bytes(self) -> int:
        """What is to be fetched, as far as it is known."""
        return sum(self.files[number].size or 0 for number in self._spans if number not in self.linked)

    # --- fetching ------------------------------------------------------------------------------------

    def marks(self) -> dict[int, Mark]:
        """The portions that are there."""
        found = (self.folder / "marks").glob("[0-9]*.json")
        return {int(path.stem): _read_mark(path) for path in found}

    def part(self, number: int) -> Path:
        return self.folder / "parts" / str(number)

    def fetch(self, source: Source, number: int, until: float) -> int:
        """Fetch one portion, trying again where a line breaks; its bytes. `until` (time.time) is the limit."""
        received = [self._piece(source, piece, until) for piece in self.portions[number]]
        sizes, digests = zip(*received, strict=True)
        mark = {"sizes": sizes, "digests": digests}
        write_atomic(self.folder / "marks" / f"{number}.json", json.dumps(mark).encode(), flush_folder=False)
        return sum(sizes)

    def _piece(self, source: Source, piece: Piece, until: float) -> tuple[int, str]:
        file, part = self.files[piece.file], self.part(piece.file)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            landing = _Landing(fd, file, piece.span, until)
            landing.fetch(source)
            os.fdatasync(fd)
        finally:
            os.close(fd)
        return landing.received, landing.digest.hexdigest() if not file.checksum else ""

    # --- checking ------------------------------------------------------------------------------------

    def checks(self) -> Iterator[Check]:
        """What to read again, once everything is there: about a gibibyte at a time where that is possible."""
        sizes = self.sizes()
        for number, file in enumerate(self.files):
            algorithm, spans = self._promise(number, file, sizes[number])
            for group in _groups(spans):
                yield Check(number, algorithm, group)

    def digest(self, check: Check) -> tuple[str, ...]:
        """The digests of a check, from disk."""
        return hash_spans(self.part(check.file), check.spans, check.algorithm)

    def compare(self, digests: dict[tuple[int, Span], str]) -> None:
        """Raises ChecksumMismatch naming the file, which is then fetched anew."""
        sizes, received = self.sizes(), self._received()
        for number, file in enumerate(self.files):
            algorithm, spans = self._promise(number, file, sizes[number])
            found = [digests[number, span] for span in spans]
            kept = [received.get((number, span), digest) for span, digest in zip(spans, found, strict=True)]
            right = fits(file.checksum, algorithm, found) if file.checksum else kept == found
            if not right:
                self._forget(number)
                raise ChecksumMismatch(f"'{file.path}' does not have the checksum that its source gives.")

    def sizes(self) -> dict[int, int]:
        """The size of each file, from what has arrived; RemoteChanged where that is not what was promised."""
        found: dict[int, int] = dict.fromkeys(range(len(self.files)), 0)
        for number, mark in self.marks().items():
            for piece, size in zip(self.portions[number], mark.sizes, strict=True):
                found[piece.file] += size
        for number, file in enumerate(self.files):
            there = self.part(number).stat().st_size if self.part(number).exists() else 0
            fetched = there if number in self.linked else found[number]
            if fetched != there or file.size not in {None, there}:
                raise RemoteChanged(f"'{file.path}' has {there:,} bytes instead of {file.size or found[number]:,}.")
        return found

    def _promise(self, number: int, file: RemoteFile, size: int) -> tuple[str, tuple[Span, ...]]:
        """How a file is checked: the algorithm and the spans it is applied to."""
        if not file.checksum:
            return "sha256", tuple(Span(span.start, min(span.stop, size)) for span in self._spans[number])
        algorithm = file.checksum.partition(":")[0]
        if algorithm == "etag":
            return "md5", chunk_spans(size, file.part_bytes)
        return algorithm, (Span(0, size),)

    def _received(self) -> dict[tuple[int, Span], str]:
        """The digests of what was received, where they are what a file is checked by."""
        found = {}
        for number, mark in self.marks().items():
            for piece, size, digest in zip(self.portions[number], mark.sizes, mark.digests, strict=True):
                if digest:
                    found[piece.file, Span(piece.span.start, piece.span.start + size)] = digest
        return found

    def _forget(self, file: int) -> None:
        """What is there of a file does not count any more."""
        for number, portion in enumerate(self.portions):
            if any(piece.file == file for piece in portion):
                (self.folder / "marks" / f"{number}.json").unlink(missing_ok=True)
        self.part(file).unlink(missing_ok=True)

    # --- landing -------------------------------------------------------------------------------------

    def land(self, root: Path) -> Iterator[tuple[RemoteFile, int]]:
        """Give every file its name below `root`, never over another file; done again, harmless.

        Raises Conflict where other bytes are, UnsafePath where the path leads out of `root`.
        """
        folders = {root, root.parent}
        for number, file in enumerate(self.files):
            target = root / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(self.part(number), inside(root, Path(file.path).parent) / target.name)
            folders.update(folder for folder in target.parents if folder.is_relative_to(root))
            yield file, target.stat().st_size
        for folder in folders:
            fsync_folder(folder)

    def clear(self) -> None:
        remove_tree(self.folder)


class _Landing:
    """One piece on its way to the disk: how far it is, and its digest."""

    def __init__(self, fd: int, file: RemoteFile, span: Span, until: float) -> None:
        self._fd, self._file, self._span, self._until = fd, file, span, until
        self.received = 0
        self.digest = hashlib.sha256()

    def __call__(self, data: bytes) -> None:
        if time.time() > self._until:
            raise TimedOut(f"Importing '{self._file.path}' took longer than SCRAY_IMPORT_SECONDS allows.")
        if self.received + len(data) > self._span.size:
            raise self._too_much()
        _write_all(self._fd, data, self._span.start + self.received)
        self.received += len(data)
        if not self._file.checksum:
            self.digest.update(data)

    def _too_much(self) -> ScrayError:
        name = self._file.path
        if self._file.size is None:
            return TooLarge(f"'{name}' is larger than the limit of {self._span.size:,} bytes (SCRAY_MAX_BYTES).")
        return RemoteChanged(f"The source sends more of '{name}' than it announced.")

    def fetch(self, source: Source) -> None:
        """All of the span; raises the last error when several tries in a row brought nothing."""
        fruitless = 0
        while self._span.size:
            before = self.received
            try:
                source.read(self._file, Span(self._span.start + before, self._span.stop), self)
                if self._file.size is None or self.received == self._span.size:
                    return
                error = SourceUnreachable(f"The source ended in the middle of '{self._file.path}'.")
            except SourceUnreachable as broken:
                error = broken
            fruitless = 0 if self.received > before and self._file.ranged else fruitless + 1
            if fruitless == TRIES:
                raise error
            if not self._file.ranged:
                self._start_again()
            time.sleep(max(error.wait_seconds, PAUSE_SECONDS * 2**fruitless))

    def _start_again(self) -> None:
        self.received, self.digest = 0, hashlib.sha256()
        os.ftruncate(self._fd, 0)


# --- plans -------------------------------------------------------------------------------------------


def portions(files: Sequence[RemoteFile], linked: Container[int], most_bytes: int) -> Iterator[Portion]:
    """All of all files that are not linked, cut into ranges and packed into portions; the same for every reader of
    the plan.
    """
    total = sum(file.size or 0 for file in files)
    range_bytes = RANGE_BYTES if total <= LARGE_BYTES else CHUNK_BYTES
    open_portion: list[Piece] = []
    held = 0
    for piece in _pieces(files, linked, range_bytes, most_bytes):
        if open_portion and (held + piece.span.size > range_bytes or len(open_portion) == PORTION_FILES):
            yield tuple(open_portion)
            open_portion, held = [], 0
        open_portion.append(piece)
        held += piece.span.size
    if open_portion:
        yield tuple(open_portion)


def _pieces(files: Sequence[RemoteFile], linked: Container[int], range_bytes: int, most_bytes: int) -> Iterator[Piece]:
    for number, file in enumerate(files):
        if number in linked:
            continue
        if file.size is None:
            yield Piece(number, Span(0, most_bytes))
        elif not file.ranged or not file.size:
            yield Piece(number, Span(0, file.size))
        else:
            yield from (Piece(number, span) for span in chunk_spans(file.size, range_bytes))


def check_room(files: Sequence[RemoteFile], linked: Container[int], free: int) -> None:
    """Raises NoSpace where the disk cannot hold what is to be copied."""
    needed = sum(file.size or 0 for number, file in enumerate(files) if number not in linked)
    if needed > free:
        raise NoSpace(f"The import has {needed:,} bytes; {free:,} are free.")


def check_listing(listing: Listing) -> None:
    """Raises EmptyInput, and BadInput where two files, or a file and a folder, have one name."""
    if not listing.files:
        raise EmptyInput("There is nothing to import: " + (" ".join(listing.notes) or "no file was found."))
    paths = [PurePosixPath(file.path) for file in listing.files]
    folders = {str(folder) for path in paths for folder in path.parents}
    seen: set[str] = set()
    for path in map(str, paths):
        if path in seen or path in folders:
            raise BadInput(f"The source has two things that would both be called '{path}'.")
        seen.add(path)


def fits(checksum: str, algorithm: str, digests: Sequence[str]) -> bool:
    """Whether these digests of a file are what its source promised (see `RemoteFile.checksum`)."""
    kind, _, promised = checksum.partition(":")
    if kind != "etag":
        return [promised.lower()] == list(digests)
    whole = hashlib.new(algorithm, b"".join(map(bytes.fromhex, digests)), usedforsecurity=False).hexdigest()
    return promised.lower() == f"{whole}-{len(digests)}"


def _groups(spans: Sequence[Span]) -> Iterator[tuple[Span, ...]]:
    """Consecutive spans, so many that each group begins in another gibibyte."""
    ends = list(accumulate((span.size for span in spans), initial=0))
    groups: dict[int, list[Span]] = {}
    for span, before in zip(spans, ends, strict=False):
        groups.setdefault(before // CHECK_BYTES, []).append(span)
    yield from map(tuple, groups.values())


# --- files -------------------------------------------------------------------------------------------


def _read_mark(path: Path) -> Mark:
    values: dict[str, Any] = json.loads(path.read_bytes())
    return Mark(tuple(values["sizes"]), tuple(values["digests"]))


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _link(part: Path, target: Path) -> None:
    """A link, so that nothing is ever replaced; a rename where the file system has no links."""
    try:
        os.link(part, target, follow_symlinks=False)
    except FileExistsError as error:
        if not target.samefile(part):
            raise Conflict(f"The dataset already has another '{target.name}'.") from error
    except OSError as error:
        if error.errno not in NO_LINKS or target.exists():
            raise
        part.rename(target)
