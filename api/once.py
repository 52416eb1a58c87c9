"""A request that its sender may repeat: under one `Idempotency-Key` (a header) it is carried out once."""

from __future__ import annotations

import hashlib

from fastapi import Request

from api.backend import Backend
from scray.database import Document
from scray.errors import ChunkBusy, InvalidField
from scray.uploads import PLACING, RECEIVING, STORED

KEY_LENGTH = 255


def read_key(request: Request) -> str:
    """The key of a request, empty where it has none. One key means different things on different routes."""
    text = request.headers.get("idempotency-key", "")
    if len(text) > KEY_LENGTH:
        raise InvalidField(f"The Idempotency-Key is longer than {KEY_LENGTH} characters.")
    return hashlib.sha256(f"{request.url.path}\0{text}".encode()).hexdigest() if text else ""


def earlier(backend: Backend, key: str, job_id: str) -> Document | None:
    """The record of what was made under this key before; None: `job_id` may go on, and holds the key now.

    Raises ChunkBusy while an earlier request is still being carried out.
    """
    if not key:
        return None
    holder, held_seconds = backend.keys.claim(key, job_id)
    if holder == job_id:
        return None
    record = backend.uploads.find(holder)
    if record and (record["state"] in {PLACING, STORED} or (record.get("session") and record["state"] == RECEIVING)):
        return record
    begins = record is None and held_seconds < backend.settings.lease_seconds
    if begins or (record and record["state"] == RECEIVING) or not backend.keys.replace(key, holder, job_id):
        raise ChunkBusy("A request with this Idempotency-Key is still being carried out.")
    return None
