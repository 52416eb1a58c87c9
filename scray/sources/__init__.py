"""Remote sources: each is probed once for its files, which are then fetched range by range, by anybody, in any order.

One file a source. A source knows how to list and how to read; where the bytes go, what was fetched already and whether
it is right is the business of `intake.py`, the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scray.errors import TooLarge, Unsupported
from scray.settings import Settings
from scray.spans import Span

Sink = Callable[[bytes], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file of a source.

    `path` is where it goes in the dataset (safe, relative), `key` what the source calls it (nothing secret: it is noted
    on the disk). `size` in bytes, None where the source does not say. `version` is what a change of the content
    changes; a file that is `ranged` has one and can be read from anywhere, others are read from their beginning to
    their end. `checksum` is "" or one of "md5:hex", "sha256:hex", "etag:hex-parts" (MD5 of the MD5 of parts of
    `part_bytes`).
    """

    path: str
    key: str
    size: int | None
    version: str = ""
    ranged: bool = False
    checksum: str = ""
    part_bytes: int = 0


@dataclass(frozen=True)
class Listing:
    """What a probe found; `notes` say what was left out and why."""

    files: tuple[RemoteFile, ...]
    notes: tuple[str, ...] = ()


class Source(ABC):
    """Where files come from. Raises SourceNotFound, SourceDenied, SourceRefused, ForbiddenAddress, TooLarge: for good;
    SourceUnreachable, RemoteChanged: worth another try.
    """

    @abstractmethod
    def probe(self) -> Listing:
        """All files, without their bytes."""

    @abstractmethod
    def read(self, file: RemoteFile, span: Span, sink: Sink) -> None:
        """Give the bytes of a span to `sink`, in order; for files of unknown size up to their end.

        May stop early, with an error or without: what the sink has is kept, and the rest asked for again.
        """

    def adopt(self, file: RemoteFile, part: Path) -> bool:  # noqa: ARG002
        """Make the file appear at `part` without copying it; whether that was possible."""
        return False


def open_source(kind: str, config: Mapping[str, Any], settings: Settings) -> Source:
    """The source of an import: `kind` is url, path, s3 or google_drive, `config` what the request said of it."""
    if kind == "url":
        from scray.sources.url import UrlSource

        return UrlSource(config, settings)
    if kind == "path":
        from scray.sources.path import PathSource

        return PathSource(config, settings)
    if kind == "s3":
        from scray.sources.s3 import S3Source

        return S3Source(config, settings)
    if kind == "google_drive":
        from scray.sources.drive import DriveSource

        return DriveSource(config, settings)
    raise Unsupported(f"There is no source {kind!r}.")


def check_size(size: int, name: str, settings: Settings) -> None:
    """Raises TooLarge above the limit of one file."""
    if size > settings.max_bytes:
        raise TooLarge(f"'{name}' is larger than the limit of {settings.max_bytes:,} bytes (SCRAY_MAX_BYTES).")
