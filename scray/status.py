"""Every status a dataset can have, which may follow which, and what each means to a client: the one table.

`docs/statuses.md` is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from scray.errors import IllegalTransition


class Status(StrEnum):
    """The strings written to `visstoredatas.status`."""

    SUBMITTED = "submitted"
    SYNC_QUEUED = "sync queued"
    SYNCING = "syncing"
    UPLOAD_QUEUED = "upload queued"
    UPLOADING = "uploading"
    CONVERSION_QUEUED = "conversion queued"
    CONVERTING = "converting"
    UNZIPPING = "unzipping"
    DONE = "done"
    SYNC_ERROR = "sync error"
    UPLOAD_ERROR = "upload error"
    UNZIP_ERROR = "unzip error"
    CONVERSION_FAILED = "conversion failed"
    CANCELLED = "cancelled"


S = Status

# Who claims work finds it here; a lost or drained claim goes back to where it came from.
CLAIMS: Final[Mapping[Status, Status]] = MappingProxyType({
    S.SYNC_QUEUED: S.SYNCING,
    S.UPLOAD_QUEUED: S.UPLOADING,
    S.CONVERSION_QUEUED: S.CONVERTING,
})  # fmt: skip
QUEUED: Final = tuple(CLAIMS)
RUNNING: Final[Mapping[Status, Status]] = MappingProxyType({
    S.SYNCING: S.SYNC_QUEUED,
    S.UPLOADING: S.UPLOAD_QUEUED,
    S.CONVERTING: S.CONVERSION_QUEUED,
    S.UNZIPPING: S.CONVERSION_QUEUED,
})  # fmt: skip
FAILURES: Final[Mapping[Status, Status]] = MappingProxyType({
    S.SYNCING: S.SYNC_ERROR,
    S.UPLOADING: S.UPLOAD_ERROR,
    S.CONVERTING: S.CONVERSION_FAILED,
    S.UNZIPPING: S.UNZIP_ERROR,
})  # fmt: skip
ENDS: Final = frozenset({
    S.DONE, S.SYNC_ERROR, S.UPLOAD_ERROR, S.UNZIP_ERROR, S.CONVERSION_FAILED, S.CANCELLED,
})  # fmt: skip
CONVERTIBLE: Final = frozenset({S.DONE, S.CONVERSION_FAILED, S.UNZIP_ERROR, S.CANCELLED})

_AFTER_RECEIVING = frozenset({S.UPLOAD_QUEUED, S.CONVERSION_QUEUED, S.DONE, S.UPLOAD_ERROR, S.CANCELLED})
TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = MappingProxyType({
    S.SUBMITTED: frozenset({S.SYNC_QUEUED, S.UPLOAD_QUEUED, S.UPLOADING, S.CONVERSION_QUEUED, S.CANCELLED}),
    S.SYNC_QUEUED: frozenset({S.SYNCING, S.SYNC_ERROR, S.CANCELLED}),
    S.SYNCING: _AFTER_RECEIVING | {S.UPLOADING, S.SYNC_QUEUED, S.SYNC_ERROR},
    S.UPLOAD_QUEUED: frozenset({S.UPLOADING, S.UPLOAD_ERROR, S.CANCELLED}),
    S.UPLOADING: _AFTER_RECEIVING,
    S.CONVERSION_QUEUED: frozenset({S.CONVERTING, S.UPLOADING, S.SYNC_QUEUED, S.CONVERSION_FAILED, S.CANCELLED}),
    S.CONVERTING: _AFTER_RECEIVING | {S.UNZIPPING, S.UPLOADING, S.CONVERSION_FAILED},
    S.UNZIPPING: _AFTER_RECEIVING | {S.CONVERTING, S.UPLOADING, S.UNZIP_ERROR},
    S.DONE: frozenset({S.UPLOADING, S.CONVERSION_QUEUED, S.SYNC_QUEUED}),
    S.SYNC_ERROR: frozenset({S.SYNC_QUEUED, S.UPLOADING}),
    S.UPLOAD_ERROR: frozenset({S.UPLOAD_QUEUED, S.UPLOADING, S.SYNC_QUEUED}),
    S.UNZIP_ERROR: frozenset({S.UPLOADING, S.CONVERSION_QUEUED, S.SYNC_QUEUED}),
    S.CONVERSION_FAILED: frozenset({S.UPLOADING, S.CONVERSION_QUEUED, S.SYNC_QUEUED}),
    S.CANCELLED: frozenset({S.UPLOADING, S.CONVERSION_QUEUED, S.SYNC_QUEUED}),
})  # fmt: skip

# What other programs wrote, or still write, and how it is read.
ALIASES: Final[Mapping[str, Status]] = MappingProxyType({
    "conversion error": S.CONVERSION_FAILED,
    "compression error": S.CONVERSION_FAILED,
    "error": S.CONVERSION_FAILED,
    "failed": S.UPLOAD_ERROR,
    "completed": S.DONE,
    "processing": S.CONVERTING,
    "zipping": S.CONVERTING,
    "retrying": S.SUBMITTED,
    "paused": S.CANCELLED,
    "unknown": S.SUBMITTED,
})  # fmt: skip

# status -> (stage of the way, what a client's job shows, meaning)
MEANING: Final[Mapping[Status, tuple[str, str, str]]] = MappingProxyType({
    S.SUBMITTED: ("accept", "queued", "the dataset is registered, no bytes have come yet"),
    S.SYNC_QUEUED: ("fetch", "queued", "waits for its remote source to be fetched"),
    S.SYNCING: ("fetch", "uploading", "is being fetched from its remote source"),
    S.UPLOAD_QUEUED: ("receive", "queued", "all bytes are here, waits for the check of their digest"),
    S.UPLOADING: ("receive", "uploading", "files are being received or checked"),
    S.CONVERSION_QUEUED: ("convert", "processing", "waits for a worker"),
    S.CONVERTING: ("convert", "processing", "is being converted"),
    S.UNZIPPING: ("convert", "processing", "its archives are being unpacked"),
    S.DONE: ("end", "completed", "complete; with conversion, `visus.idx` is published"),
    S.SYNC_ERROR: ("end", "failed", "the remote source could not be fetched"),
    S.UPLOAD_ERROR: ("end", "failed", "a file did not arrive as it was sent"),
    S.UNZIP_ERROR: ("end", "failed", "an archive could not be unpacked"),
    S.CONVERSION_FAILED: ("end", "failed", "could not be converted; `error_code` and `error_message` tell why"),
    S.CANCELLED: ("end", "cancelled", "was cancelled"),
})  # fmt: skip


def read_status(text: object) -> Status:
    """The status a document's string stands for, legacy spellings included; `submitted` for what nobody ever
    wrote.
    """
    word = str(text).strip().lower()
    if word in ALIASES:
        return ALIASES[word]
    return Status(word) if word in set(Status) else Status.SUBMITTED


def can(old: Status, new: Status) -> bool:
    """Whether the table allows `new` after `old`; staying is no change and always allowed."""
    return new == old or new in TRANSITIONS[old]


def check(old: Status, new: Status) -> None:
    """Raises IllegalTransition where the table forbids the change."""
    if not can(old, new):
        raise IllegalTransition(f"A dataset that is {old!s} cannot become {new!s}.")


def stage(status: Status) -> str:
    """accept, fetch, receive, convert or end."""
    return MEANING[status][0]


def job_status(status: Status) -> str:
    """The status of the job a client sees: queued, uploading, processing, completed, failed or cancelled."""
    return MEANING[status][1]


def table() -> str:
    """The table of statuses for the documentation, in Markdown."""
    rows = ["| status | stage | job shows | meaning | may become |", "|---|---|---|---|---|"]
    for status, (where, job, meaning) in MEANING.items():
        following = ", ".join(f"`{new}`" for new in Status if new in TRANSITIONS[status])
        rows.append(f"| `{status}` | {where} | {job} | {meaning} | {following} |")
    aliases = [f"- `{alias}` is read as `{status}`" for alias, status in sorted(ALIASES.items())]
    return "\n".join([*rows, "", "Other programs' spellings are read, never written:", "", *aliases, ""])
