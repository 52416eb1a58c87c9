"""The checksum that a source gives for a file: what of it a part of the file can be checked by, and whether it fits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from scray.sources import RemoteFile
from scray.spans import Span, chunk_spans


class Proof(NamedTuple):
    """Spans of a file whose digests by this algorithm say whether they are right."""

    algorithm: str
    spans: tuple[Span, ...]


def whole(file: RemoteFile, size: int) -> Proof:
    """What proves a file with a checksum."""
    algorithm = file.checksum.partition(":")[0]
    if algorithm == "etag":
        return Proof("md5", chunk_spans(size, file.part_bytes))
    return Proof(algorithm, (Span(0, size),))


def part(file: RemoteFile, span: Span, size: int) -> Proof | None:
    """What proves a span of a file of `size` bytes; None where only the whole file can be proved."""
    if not file.checksum:
        return Proof("sha256", (span,))
    if span.size == size:
        return whole(file, size)
    ends = span.stop == size or span.stop % (file.part_bytes or size) == 0
    if file.checksum.startswith("etag:") and span.start % file.part_bytes == 0 and ends:
        spans = chunk_spans(span.size, file.part_bytes)
        return Proof("md5", tuple(Span(span.start + one.start, span.start + one.stop) for one in spans))
    return None


def fits(checksum: str, algorithm: str, digests: Sequence[str]) -> bool:
    """Whether these digests of a file are what its source promised (see `RemoteFile.checksum`)."""
    kind, _, promised = checksum.partition(":")
    if kind != "etag":
        return [promised.lower()] == list(digests)
    top = hashlib.new(algorithm, b"".join(map(bytes.fromhex, digests)), usedforsecurity=False).hexdigest()
    return promised.lower() == f"{top}-{len(digests)}"
