"""Links to Google Drive, as people copy them: which file or folder one means."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

HOSTS = frozenset({"drive.google.com", "docs.google.com", "drive.usercontent.google.com"})
VERBS = frozenset({"view", "edit", "open", "preview", "copy", "export", "uc", "download"})
ID = re.compile(r"[A-Za-z0-9_-]{3,200}")
PLACE = re.compile(r"/(?:d|folders)/([A-Za-z0-9_-]+)")


class DriveLink(NamedTuple):
    """The id of a file or folder, and the key that some old links need beside it."""

    id: str
    resource_key: str = ""


def read_link(text: str) -> DriveLink:
    """An id as it is, or `?id=ID`, `/file/d/ID/…`, `/folders/ID`, else the last part of the path that is no verb.

    ValueError for anything else.
    """
    if ID.fullmatch(text):
        return DriveLink(text)
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme not in {"http", "https"} or (parts.hostname or "") not in HOSTS:
        raise ValueError("this is not a link to Google Drive")
    query = parse_qs(parts.query)
    place = PLACE.search(parts.path)
    words = [word for word in parts.path.split("/") if word and word not in VERBS]
    found = query["id"][0] if "id" in query else place[1] if place else words[-1] if words else ""
    if not ID.fullmatch(found):
        raise ValueError("this link names no file or folder of Google Drive")
    key = query.get("resourcekey", [""])[0]
    return DriveLink(found, key if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", key) else "")
