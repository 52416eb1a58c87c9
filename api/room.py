"""Whether there is room for what a sender announces: the limit of one file, the disk, and the user's quota."""

from __future__ import annotations

from api.backend import Backend
from scray.errors import BodyTooLarge, DiskFull, QuotaExceeded
from scray.storage import free_bytes

FORM_BYTES = 65_536 * 16  # what the fields around a file may add to a body
RESERVE_BYTES = 64 << 20  # left free for the database and the logs


def check_size(size_bytes: int, backend: Backend) -> None:
    """Raises BodyTooLarge."""
    limit = backend.settings.max_bytes
    if size_bytes > limit:
        raise BodyTooLarge(f"The upload exceeds maximum allowed size of {limit} bytes.")


def check_room(size_bytes: int, backend: Backend, form_bytes: int = 0) -> None:
    """Refuse before the first byte what is too large (BodyTooLarge) or does not fit on the disk (DiskFull) beside
    what others have begun to send; up to `form_bytes` of it may be no bytes of the file.
    """
    check_size(size_bytes - form_bytes, backend)
    free = free_bytes(backend.storage.upload)
    promised = backend.sessions.wanted_bytes()
    if size_bytes + promised + RESERVE_BYTES > free:
        raise DiskFull(
            f"The disk cannot hold this upload: {size_bytes} bytes are sent, {free} bytes are free and {promised} of "
            "them are kept for uploads that have begun."
        )


def check_quota(user: str, size_bytes: int, backend: Backend, upload_id: str = "") -> None:
    """Raises QuotaExceeded. A file of unknown size counts with what is there of it; `upload_id` is not counted."""
    settings = backend.settings
    if not (settings.quota_bytes or settings.quota_uploads):
        return
    count, coming = backend.sessions.open_of(user, upload_id)
    if settings.quota_uploads and count >= settings.quota_uploads:
        raise QuotaExceeded(f"{user} is sending {count} files already; no more are allowed at a time.")
    stored = backend.sessions.stored_bytes(user)
    if settings.quota_bytes and stored + coming + size_bytes > settings.quota_bytes:
        raise QuotaExceeded(f"{user} may store {settings.quota_bytes} bytes; {stored + coming} are stored or coming.")
