"""Every error scray raises on purpose: a stable kebab-case code, a sentence, and whether another try may help.

The docstring of a class is its default message, and what the error table in the docs is made from.
"""

from __future__ import annotations

from scray.errors.base import ScrayError
from scray.errors.content import (
    ArchiveBomb,
    ArchiveDevice,
    ArchiveLink,
    BadArchive,
    BadInput,
    BadParameter,
    EmptyInput,
    EncryptedArchive,
    HostileInput,
    MissingFilter,
    MissingSource,
    MixedInput,
    NothingToConvert,
    TooLarge,
    TruncatedInput,
    UnsafePath,
    Unsupported,
    WrongSensor,
)
from scray.errors.request import (
    Ambiguous,
    BadRequest,
    BodyTooLarge,
    ChunkBusy,
    ChunkDamaged,
    ChunkDiffers,
    ChunkMismatch,
    Conflict,
    DigestMismatch,
    DiskFull,
    Forbidden,
    InvalidField,
    MissingChunks,
    NotFound,
    QuotaExceeded,
    ServiceError,
    SessionExpired,
    SourceChanged,
    Unauthorised,
    Unreachable,
    UploadBroken,
)
from scray.errors.source import (
    ChecksumMismatch,
    ForbiddenAddress,
    RemoteChanged,
    SealBroken,
    SourceDenied,
    SourceNotFound,
    SourceRefused,
    SourceUnreachable,
)
from scray.errors.work import (
    Cancelled,
    DatabaseError,
    IllegalTransition,
    Incomplete,
    LeaseLost,
    NeverFits,
    NoSpace,
    PoisonBrick,
    ReaderCrashed,
    StorageError,
    TimedOut,
    Unsealed,
    VerificationFailed,
    WorkerLost,
)

__all__ = [
    "Ambiguous",
    "ArchiveBomb",
    "ArchiveDevice",
    "ArchiveLink",
    "BadArchive",
    "BadInput",
    "BadParameter",
    "BadRequest",
    "BodyTooLarge",
    "Cancelled",
    "ChecksumMismatch",
    "ChunkBusy",
    "ChunkDamaged",
    "ChunkDiffers",
    "ChunkMismatch",
    "Conflict",
    "DatabaseError",
    "DigestMismatch",
    "DiskFull",
    "EmptyInput",
    "EncryptedArchive",
    "Forbidden",
    "ForbiddenAddress",
    "HostileInput",
    "IllegalTransition",
    "Incomplete",
    "InvalidField",
    "LeaseLost",
    "MissingChunks",
    "MissingFilter",
    "MissingSource",
    "MixedInput",
    "NeverFits",
    "NoSpace",
    "NotFound",
    "NothingToConvert",
    "PoisonBrick",
    "QuotaExceeded",
    "ReaderCrashed",
    "RemoteChanged",
    "ScrayError",
    "SealBroken",
    "ServiceError",
    "SessionExpired",
    "SourceChanged",
    "SourceDenied",
    "SourceNotFound",
    "SourceRefused",
    "SourceUnreachable",
    "StorageError",
    "TimedOut",
    "TooLarge",
    "TruncatedInput",
    "Unauthorised",
    "Unreachable",
    "UnsafePath",
    "Unsealed",
    "Unsupported",
    "UploadBroken",
    "VerificationFailed",
    "WorkerLost",
    "WrongSensor",
    "every_error",
]


def every_error() -> tuple[type[ScrayError], ...]:
    """All error classes, the base first, then by code."""
    found: set[type[ScrayError]] = set()
    waiting = [ScrayError]
    while waiting:
        cls = waiting.pop()
        found.add(cls)
        waiting.extend(cls.__subclasses__())
    return tuple(sorted(found, key=lambda cls: (cls is not ScrayError, cls.code)))
