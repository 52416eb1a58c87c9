"""The folder in which an import arrives: what there is to fetch, what was fetched, and whether it is right.

    portions.json    the files of the source, as they were probed
    parts/<n>        the bytes of the n-th file, each at its final offset
    marks/<n>.json   the n-th portion is in its parts and flushed, with the digests of what lies there

*A range that has its mark is on disk and is not fetched again; one that has none may be fetched by anybody, any number
of times.* A process that dies between any two lines costs at most the portions it was fetching.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from scray.errors import BadInput, ChecksumMismatch, Conflict, RemoteChanged, TimedOut
from scray.sources import RemoteFile, Source, checksum
from scray.sources.landing import land
from scray.sources.portions import check_listing, check_room, portions
from scray.spans import Span, hash_spans
from scray.storage import free_bytes, fsync_folder, inside, remove_tree, write_atomic

PLAN = "portions.json"
CHECK_BYTES = 1 << 30
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


class Check(NamedTuple):
    """Spans of one file whose digests say whether it is right."""

    file: int
    algorithm: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Mark:
    """A portion that is there: the bytes of each of its pieces, and the digests that prove it, read from the disk."""

    sizes: tuple[int, ...]
    digests: tuple[tuple[str, ...], ...]

    @property
    def size(self) -> int:
        return sum(self.sizes)


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
            self.origin = str(plan["origin"])
            found = portions(self.files, self.linked, int(plan["most_bytes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{PLAN} of the import is damaged: {error}") from error
        self.portions = tuple(found)
        self._spans: dict[int, list[Span]] = {number: [] for number in range(len(self.files))}
        for piece in (piece for portion in self.portions for piece in portion):
            self._spans[piece.file].append(piece.span)

    @classmethod
    def begin(cls, folder: Path, source: Source, most_bytes: int, origin: str = "") -> Intake:
        """Ask the source, link what can be linked, and note what there is to fetch.

        `most_bytes` is the limit for files whose size nobody knows, `origin` tells this import from others. Raises what
        the source does, EmptyInput, BadInput for files that get in each other's way, NoSpace.
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
        plan["origin"] = origin
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

    def mark(self, number: int) -> Mark | None:
        """That of one portion, once it is there."""
        try:
            return _read_mark(self._mark(number))
        except FileNotFoundError:
            return None

    def _mark(self, number: int) -> Path:
        return self.folder / "marks" / f"{number}.json"

    def part(self, number: int) -> Path:
        return self.folder / "parts" / str(number)

    def fetch(self, source: Source, numbers: Iterable[int], until: float, lines: int = 1) -> int:
        """Fetch portions that have no mark yet, `lines` at a time; their bytes. `until` (time.time) is the limit.

        Raises what the source does, for one of them; those under way beside it are finished, further ones not begun.
        """

        def check() -> None:
            if time.time() > until:
                raise TimedOut("The import took longer than SCRAY_IMPORT_SECONDS allows.")

        pool = ThreadPoolExecutor(lines)
        try:
            marks = pool.map(lambda number: self.mark(number) or self._portion(source, number, check), numbers)
            return sum(mark.size for mark in marks)
        finally:
            pool.shutdown(cancel_futures=True)

    def _portion(self, source: Source, number: int, check: Callable[[], None]) -> Mark:
        landed = [
            land(source, self.files[piece.file], piece.span, self.part(piece.file), check)
            for piece in self.portions[number]
        ]
        mark = Mark(tuple(size for size, _ in landed), tuple(digests for _, digests in landed))
        write_atomic(self._mark(number), json.dumps(asdict(mark)).encode(), flush_folder=False)
        return mark

    # --- checking ------------------------------------------------------------------------------------

    def checks(self) -> Iterator[Check]:
        """What is still to be read, once everything is there, about a gibibyte at a time where that is possible: files
        in several ranges whose checksum is of the whole.
        """
        for number, file in enumerate(self.files):
            if file.checksum and not self._proved(number):
                proof = checksum.whole(file, file.size or 0)
                for group in _groups(proof.spans):
                    yield Check(number, proof.algorithm, group)

    def _proved(self, number: int) -> bool:
        """Whether the marks of a file prove all of it."""
        file, spans = self.files[number], self._spans[number]
        size = spans[-1].stop if spans else 0
        return bool(spans) and all(checksum.part(file, span, size) for span in spans)

    def digest(self, check: Check) -> tuple[str, ...]:
        """The digests of a check, from disk."""
        return hash_spans(self.part(check.file), check.spans, check.algorithm)

    def compare(self, digests: Mapping[tuple[int, Span], str]) -> None:
        """`digests` are those of all checks. Raises ChecksumMismatch naming the file, which is then fetched anew."""
        marks = self.marks()
        self._compare_sizes(marks)
        received = self._received(marks)
        for number, file in enumerate(self.files):
            if not file.checksum:
                continue
            proof = checksum.whole(file, file.size or 0)
            found = received[number] if self._proved(number) else [digests[number, span] for span in proof.spans]
            if not checksum.fits(file.checksum, proof.algorithm, found):
                self._forget(number)
                raise ChecksumMismatch(f"'{file.path}' does not have the checksum that its source gives.")

    def _compare_sizes(self, marks: Mapping[int, Mark]) -> None:
        """Raises RemoteChanged where what has arrived is not what was promised."""
        found: dict[int, int] = dict.fromkeys(range(len(self.files)), 0)
        for number, mark in marks.items():
            for piece, size in zip(self.portions[number], mark.sizes, strict=True):
                found[piece.file] += size
        for number, file in enumerate(self.files):
            there = self.part(number).stat().st_size if self.part(number).exists() else 0
            fetched = there if number in self.linked else found[number]
            if fetched != there or file.size not in {None, there}:
                raise RemoteChanged(f"'{file.path}' has {there:,} bytes instead of {file.size or found[number]:,}.")

    def _received(self, marks: Mapping[int, Mark]) -> dict[int, list[str]]:
        """The digests of each file, in the order of its spans."""
        found: dict[int, list[str]] = {number: [] for number in range(len(self.files))}
        for number in sorted(marks):
            for piece, digests in zip(self.portions[number], marks[number].digests, strict=True):
                found[piece.file] += digests
        return found

    def _forget(self, file: int) -> None:
        """What is there of a file does not count any more."""
        for number, portion in enumerate(self.portions):
            if any(piece.file == file for piece in portion):
                self._mark(number).unlink(missing_ok=True)
        self.part(file).unlink(missing_ok=True)

    # --- landing -------------------------------------------------------------------------------------

    def check_free(self, root: Path) -> None:
        """Raises Conflict where anything else has the name of one of the files below `root`."""
        for number, file in enumerate(self.files):
            target, part = root / file.path, self.part(number)
            if os.path.lexists(target) and not (part.exists() and target.samefile(part)):
                raise Conflict(f"The dataset already has another '{file.path}'.")

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
    return Mark(tuple(values["sizes"]), tuple(map(tuple, values["digests"])))


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
