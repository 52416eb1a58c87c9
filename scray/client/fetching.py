"""One dataset on its way from the service: several files at once, each whole, as its digests say, or not there."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scray.client.progress import Meter
from scray.client.repeat import each
from scray.client.wire import Patience, Wire, segment
from scray.errors import ChecksumMismatch, RemoteChanged, ScrayError, ServiceError
from scray.manifest import FileDigest
from scray.spans import chunk_spans, hash_spans
from scray.storage import HEADER, fsync_folder, inside, safe_relative


@dataclass(frozen=True)
class Download:
    """What a folder holds now of a dataset: so many files and bytes; `fetched` of them were missing or differed."""

    dataset_uuid: str
    files: int
    size_bytes: int
    fetched: int


class Fetching:
    """Fetches files into a folder; what is there already, byte by byte, is not fetched again."""

    def __init__(self, wire: Wire, dataset: str, folder: Path, meter: Meter, connections: int) -> None:
        self._wire = wire
        self._place = f"/api/v1/datasets/{segment(dataset)}/files"
        self._folder = folder
        self._meter = meter
        self._connections = connections
        self._fetched = 0

    async def run(self, files: list[FileDigest], links: Mapping[str, str]) -> int:
        """Bring all, the headers last: a reader finds the data they name. How many were missing or differed."""
        for headers in (False, True):
            for name, target in links.items() if headers else ():
                self._link(Path(safe_relative(name)), Path(safe_relative(target)))
            some = [file for file in files if file.path.endswith(HEADER) is headers]
            await each(some, self._connections, self._bring)
        for folder in {path.parent for path in map(self._target, files)}:
            await asyncio.to_thread(fsync_folder, folder)
        return self._fetched

    def _link(self, name: Path, target: Path) -> None:
        """A second name, at the top of the folder, of a folder within it."""
        inside(self._folder, target)
        link = self._folder / name.name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)

    def _target(self, file: FileDigest) -> Path:
        return inside(self._folder, Path(safe_relative(file.path)))

    async def _bring(self, file: FileDigest) -> None:
        target = self._target(file)
        if not await _is_whole(target, file):
            target.parent.mkdir(parents=True, exist_ok=True)
            # the digests are in the name, so that what came of another version is not gone on with
            name = hashlib.sha256(f"{file.path} {file.size} {file.chunks}".encode()).hexdigest()[:32]
            part = target.parent / f".{name}.part"
            await self._fetch(file, part)
            await asyncio.to_thread(_settle, part, target)
            self._fetched += 1
        self._meter.finish(file.path)

    async def _fetch(self, file: FileDigest, part: Path) -> None:
        """Until the file is whole under its temporary name; what a former call left of it may be wrong."""
        before = _size(part)
        self._meter.skip(file.path, before)
        for _ in range(2 if before else 1):
            await self._pour(file, part)
            if await _is_whole(part, file):
                return
            part.unlink()
            self._meter.skip(file.path, -file.size)
        raise ChecksumMismatch(f"'{file.path}' is not what the list of files promised; the same call again may help.")

    async def _pour(self, file: FileDigest, part: Path) -> None:
        path = f"{self._place}/{quote(file.path)}"
        patience = Patience()
        part.touch()
        while (here := _size(part)) != file.size:
            try:
                await self._wire.fetch(path, part, file.size, lambda more: self._meter.add(file.path, more))
            except RemoteChanged:
                part.unlink()
                raise
            except ScrayError as error:
                if _size(part) > here:
                    patience.renew()
                await patience.pause(error)


def read_list(reply: Mapping[str, Any]) -> list[FileDigest]:
    """The files that the service lists. Raises ServiceError."""
    try:
        found = [FileDigest(str(row["path"]), row["size_bytes"], tuple(row["chunks"])) for row in reply["files"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceError(f"The list of files cannot be read: {error}") from error
    return list({file.path: file for file in found}.values())


def read_links(reply: Mapping[str, Any]) -> dict[str, str]:
    """The links that the service lists. Raises ServiceError."""
    links = reply.get("links") or {}
    if not isinstance(links, dict) or not all(isinstance(target, str) for target in links.values()):
        raise ServiceError("The list of links cannot be read.")
    return links


async def _is_whole(path: Path, file: FileDigest) -> bool:
    """Whether a file is what it should be, byte by byte; chunk by chunk, so that Ctrl-C need not wait for the rest."""
    if not path.is_file() or _size(path) != file.size:
        return False
    for span, digest in zip(chunk_spans(file.size), file.chunks, strict=True):
        if await asyncio.to_thread(hash_spans, path, (span,)) != (digest,):
            return False
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _settle(part: Path, target: Path) -> None:
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
