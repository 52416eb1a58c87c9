"""What there is to fetch, cut into portions: ranges of large files, small files together. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from scray.errors import BadInput, EmptyInput, NoSpace
from scray.sources import Listing, RemoteFile
from scray.spans import CHUNK_BYTES, Span, chunk_spans

RANGE_BYTES = CHUNK_BYTES // 4
LARGE_BYTES = 4096 * RANGE_BYTES  # beyond that, ranges are whole chunks
PORTION_FILES = 64


class Piece(NamedTuple):
    """A span of the n-th file."""

    file: int
    span: Span


Portion = tuple[Piece, ...]


def portions(files: Sequence[RemoteFile], linked: Container[int], most_bytes: int) -> Iterator[Portion]:
    """All of all files that are not linked, cut into ranges and packed into portions; the same for every reader of
    the plan.
    """
    total = sum(file.size or 0 for file in files)
    most = RANGE_BYTES if total <= LARGE_BYTES else CHUNK_BYTES
    open_portion: list[Piece] = []
    held = 0
    for piece in _pieces(files, linked, most, most_bytes):
        if open_portion and (held + piece.span.size > most or len(open_portion) == PORTION_FILES):
            yield tuple(open_portion)
            open_portion, held = [], 0
        open_portion.append(piece)
        held += piece.span.size
    if open_portion:
        yield tuple(open_portion)


def _pieces(files: Sequence[RemoteFile], linked: Container[int], most: int, most_bytes: int) -> Iterator[Piece]:
    for number, file in enumerate(files):
        if number in linked:
            continue
        if file.size is None:
            yield Piece(number, Span(0, most_bytes))
        elif not file.ranged or not file.size:
            yield Piece(number, Span(0, file.size))
        else:
            yield from (Piece(number, span) for span in chunk_spans(file.size, range_bytes(file, most)))


def range_bytes(file: RemoteFile, most: int) -> int:
    """Whole parts of the object where they are not too large, so that each range can be checked by itself."""
    if not 0 < file.part_bytes <= max(most, CHUNK_BYTES):
        return most
    return max(most // file.part_bytes, 1) * file.part_bytes


def check_room(files: Sequence[RemoteFile], linked: Container[int], free: int) -> None:
    """Raises NoSpace where the disk cannot hold what is to be copied."""
    needed = sum(file.size or 0 for number, file in enumerate(files) if number not in linked)
    if needed > free:
        raise NoSpace(f"The import has {needed:,} bytes; {free:,} are free.")


def check_listing(listing: Listing) -> None:
    """Raises EmptyInput, and BadInput where two files, or a file and a folder, have one name."""
    if not listing.files:
        raise EmptyInput("There is nothing to import: " + (" ".join(listing.notes) or "no file was found."))
    if not any(file.size is None or file.size for file in listing.files):
        raise EmptyInput(f"There is nothing to import but empty files, like '{listing.files[0].path}'.")
    paths = [PurePosixPath(file.path) for file in listing.files]
    folders = {str(folder) for path in paths for folder in path.parents}
    seen: set[str] = set()
    for path in map(str, paths):
        if path in seen or path in folders:
            raise BadInput(f"The source has two things that would both be called '{path}'.")
        seen.add(path)
