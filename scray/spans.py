"""A size, cut into chunks; chunks, grouped into work; and the digest of a file from the digests of its
chunks.

The chunk of 104,857,600 bytes is the unit of uploads, of remote ranges and of hashing, so that a digest made
while bytes arrive is the one in the manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scray.errors import TruncatedInput

CHUNK_BYTES = 104_857_600
READ_BYTES = 1 << 20
ROOT_VERSION = b"\x01"


class Span(NamedTuple):
    """Bytes [start, stop) of a file."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


def chunk_spans(size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> tuple[Span, ...]:
    """The chunks of a file of `size_bytes`, in order; the last may be shorter, an empty file has none."""
    if size_bytes < 0 or chunk_bytes < 1:
        raise ValueError(f"no chunks of {chunk_bytes} bytes in {size_bytes} bytes")
    return tuple(Span(start, min(start + chunk_bytes, size_bytes)) for start in range(0, size_bytes, chunk_bytes))


def group_spans(spans: Sequence[Span], group_bytes: int) -> tuple[tuple[Span, ...], ...]:
    """Consecutive spans in groups of at most `group_bytes`; a span that is larger is a group of its own."""
    groups: list[list[Span]] = []
    held = 0
    for span in spans:
        if not groups or held + span.size > group_bytes:
            groups.append([])
            held = 0
        groups[-1].append(span)
        held += span.size
    return tuple(tuple(group) for group in groups)


def hash_spans(path: Path, spans: Sequence[Span], algorithm: str = "sha256") -> tuple[str, ...]:
    """The digest (SHA-256) of each span of a file, in hex, reading 1 MiB at a time; TruncatedInput when the file is
    shorter.
    """
    buffer = memoryview(bytearray(READ_BYTES))
    digests = []
    with path.open("rb", buffering=0) as file:
        for span in spans:
            digest = hashlib.new(algorithm, usedforsecurity=False)
            file.seek(span.start)
            left = span.size
            while left:
                count = file.readinto(buffer[: min(left, READ_BYTES)])
                if not count:
                    raise TruncatedInput(f"{path.name} ends at byte {span.stop - left}, before byte {span.stop}.")
                digest.update(buffer[:count])
                left -= count
            digests.append(digest.hexdigest())
    return tuple(digests)


def root_digest(size_bytes: int, chunk_digests: Sequence[str]) -> str:
    """The digest of a file: SHA-256, in hex, over the byte 1, its size (8 bytes, big-endian) and its chunks'
    digests.
    """
    digest = hashlib.sha256(ROOT_VERSION + size_bytes.to_bytes(8, "big"))
    for chunk in chunk_digests:
        digest.update(bytes.fromhex(chunk))
    return digest.hexdigest()
