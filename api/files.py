"""What a conversion made: the files of a dataset, listed with their digests, and each of them, whole or in ranges.

Their addresses are laid out as the folder is: a viewer that opens `…/files/visus.idx` finds the blocks beside it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel

from api.access import Fetchable
from api.state import BackendOf
from scray.dataset import Dataset
from scray.errors import Conflict, NotFound, UnsafePath
from scray.manifest import MANIFEST, FileDigest, Manifest
from scray.spans import CHUNK_BYTES, chunk_spans
from scray.status import Status
from scray.storage import inside, links

# a browser may show these; what else an upload brought must not run as a page of this service
SHOWN_AS = {".png": "image/png", ".json": "application/json"}
BINARY = {"schema": {"type": "string", "format": "binary"}}
KINDS = (*SHOWN_AS.values(), "application/octet-stream")
BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": dict.fromkeys(KINDS, BINARY)},
    206: {"description": "Ranges of it", "content": dict.fromkeys((*KINDS, "multipart/byteranges"), BINARY)},
}

router = APIRouter(prefix="/api/v1/datasets", tags=["datasets"])


class ResultFile(BaseModel):
    """`chunks` are the SHA-256, in hex, of every `chunk_bytes` of the file: of a smaller file one, of an empty none."""

    path: str
    size_bytes: int
    chunks: list[str]


class FileList(BaseModel):
    """`total_bytes` and `total_files` are of the whole result. `links` are folders at the top that are found under a
    second name: name -> relative path of the folder.
    """

    success: bool = True
    dataset_uuid: str
    chunk_bytes: int = CHUNK_BYTES
    total_bytes: int
    total_files: int
    files: list[ResultFile]
    links: dict[str, str]


@router.get("/{identifier}/files")
def list_files(
    document: Fetchable,
    backend: BackendOf,
    limit: Annotated[int | None, Query(ge=1, lt=1 << 31)] = None,
    offset: Annotated[int, Query(ge=0, lt=1 << 31)] = 0,
) -> FileList:
    """The files of a dataset that is done: their paths, sizes, and SHA-256 by chunks of 104,857,600 bytes; all of them,
    or `limit` from the one at `offset`.
    """
    dataset = Dataset.read(document)
    if dataset.status is not Status.DONE:
        raise Conflict(f"The dataset is '{dataset.status}': its files can be listed once it is 'done'.")
    try:
        folder = backend.storage.converted_dir(dataset.uuid)
        found, second = _digests(folder), links(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("This dataset has no result: it was not converted.") from error
    page = found[offset:] if limit is None else found[offset : offset + limit]
    return FileList(
        dataset_uuid=dataset.uuid,
        total_bytes=sum(file.size for file in found),
        total_files=len(found),
        files=[ResultFile(path=file.path, size_bytes=file.size, chunks=list(file.chunks)) for file in page],
        links=second,
    )


@router.get("/{identifier}/files/{path:path}", response_class=FileResponse, responses=BYTES)
@router.head("/{identifier}/files/{path:path}", response_class=FileResponse, responses=BYTES)
def get_file(document: Fetchable, path: str, backend: BackendOf) -> FileResponse:
    """One file of the result, or ranges of it (`Range`, `ETag`); the former result while a new one is made."""
    real = _file(backend.storage.converted_dir(document["uuid"]), path)
    kind = SHOWN_AS.get(real.suffix, "application/octet-stream")
    return FileResponse(real, media_type=kind, stat_result=real.stat(), headers={"X-Content-Type-Options": "nosniff"})


def _file(folder: Path, path: str) -> Path:
    """The file at a path below a folder, links resolved. Raises NotFound, also for what leads out."""
    try:
        real = inside(folder, Path(path))
        if real.is_file():
            return real
    except (UnsafePath, OSError):  # OSError: a name that no file can have
        pass
    raise NotFound(f"There is no file {path[:200]!r} in this dataset's result.")


def _digests(folder: Path) -> list[FileDigest]:
    """What the manifest lists, and the manifest itself."""
    text = (folder / MANIFEST).read_bytes()
    chunks = tuple(hashlib.sha256(text[span.start : span.stop]).hexdigest() for span in chunk_spans(len(text)))
    return [*Manifest.from_json(text).outputs, FileDigest(MANIFEST, len(text), chunks)]
