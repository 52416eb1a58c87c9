"""One tus upload made of finished partial ones. Nobody waits long until they are put together.

File systems that can share blocks between files (XFS, btrfs) do so where they are aligned; others copy in the kernel.
"""

from __future__ import annotations

import logging

from api.backend import Backend
from api.growing import Growth, open_record
from api.sessions import end, settle
from scray.database import Document
from scray.errors import Cancelled, Conflict, NotFound, ScrayError, UploadBroken
from scray.sessions import BY_OFFSET
from scray.uploads import CANCELLED

log = logging.getLogger(__name__)


def claim(backend: Backend, record: Document) -> None:
    """From now on the parts are this upload's alone. Raises Conflict, and the upload is given up."""
    for part_id, _ in record["parts"]:
        if not backend.sessions.claim(part_id, record["_id"]):
            error = Conflict(f"The partial upload {part_id} is part of another upload already.")
            end(backend, record, error)
            raise error


def join_left(backend: Backend) -> list[str]:
    """Put together what is still in parts; returns the uploads."""
    found = [record["_id"] for record in backend.sessions.in_parts()]
    for upload_id in found:
        join(backend, upload_id)
    return found


def join(backend: Backend, upload_id: str) -> None:
    """Put the parts of an upload together, unless somebody else is at it; the last one sends its dataset on its way.

    Killed at any moment, it is taken up where it was. What keeps it from its end is told in the log; a part that is
    gone ends the upload.
    """
    try:
        record = open_record(backend, upload_id)
        claim(backend, record)
        _fill(backend, record)
        settle(backend, backend.sessions.get(upload_id, BY_OFFSET), "")
    except (ScrayError, OSError) as error:  # the next round tries again
        log.info("%s was not put together: %s", upload_id, error)


def _fill(backend: Backend, record: Document) -> None:
    growth = Growth(backend, record["_id"], record["received_bytes"], None)
    stop = 0
    try:
        for part_id, size in record["parts"]:
            start, stop = stop, stop + size
            if growth.offset < stop:
                growth.take_from(backend.part(part_id), growth.offset - start, stop - growth.offset)
            _drop(backend, part_id)
    except FileNotFoundError as error:
        gone = UploadBroken("A partial upload is gone; send the file again.")
        end(backend, record, gone)
        raise gone from error
    finally:
        growth.release()


def _drop(backend: Backend, part_id: str) -> None:
    """A part is no longer needed; done again, harmless."""
    try:
        part = backend.sessions.get(part_id, BY_OFFSET)
    except NotFound:
        return
    end(backend, part, Cancelled("It is part of another upload now."), CANCELLED)
