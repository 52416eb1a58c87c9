"""Every error scray raises on purpose: a stable kebab-case code, a sentence, and whether another try may help.

The docstring of a class is its default message, and what the error table in the docs is made from.
"""

from __future__ import annotations

from typing import ClassVar


class ScrayError(Exception):
    """Something went wrong inside scray."""

    code: ClassVar[str] = "internal"
    transient: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])


def every_error() -> tuple[type[ScrayError], ...]:
    """All error classes, the base first, then by code."""
    found: set[type[ScrayError]] = set()
    waiting = [ScrayError]
    while waiting:
        cls = waiting.pop()
        found.add(cls)
        waiting.extend(cls.__subclasses__())
    return tuple(sorted(found, key=lambda cls: (cls is not ScrayError, cls.code)))


# --- the input -----------------------------------------------------------------------------------


class BadInput(ScrayError):
    """The input cannot be read as what it claims to be."""

    code = "bad-input"


class EmptyInput(BadInput):
    """There is nothing to convert: the input is empty."""

    code = "empty-input"


class TruncatedInput(BadInput):
    """The file ends before the data it promises."""

    code = "truncated-input"


class NothingToConvert(BadInput):
    """No array of numbers was found in the input."""

    code = "nothing-to-convert"


class WrongSensor(BadInput):
    """The content of the file does not fit the sensor that was named."""

    code = "wrong-sensor"


class MissingSource(BadInput):
    """The file refers to data in another file that is not part of the dataset."""

    code = "missing-source"


class MixedInput(BadInput):
    """The files of the dataset do not fit together."""

    code = "mixed-input"


class Unsupported(ScrayError):
    """This kind of data cannot be converted."""

    code = "unsupported"


class MissingFilter(Unsupported):
    """The data are compressed with a filter that is not available here."""

    code = "missing-filter"


class HostileInput(ScrayError):
    """The input tries to reach outside its own dataset or to exhaust the machine."""

    code = "hostile-input"


class UnsafePath(HostileInput):
    """A name in the input leads outside the dataset's own folder."""

    code = "unsafe-path"


class TooLarge(HostileInput):
    """The input declares more data than the limits allow."""

    code = "too-large"


class BadArchive(BadInput):
    """The archive is damaged."""

    code = "bad-archive"


class EncryptedArchive(BadInput):
    """The archive is encrypted; upload it without a password."""

    code = "encrypted-archive"


class ArchiveLink(HostileInput):
    """The archive holds links; pack the files themselves."""

    code = "archive-link"


class ArchiveDevice(HostileInput):
    """The archive holds a device, pipe or socket."""

    code = "archive-device"


class ArchiveBomb(TooLarge):
    """The archive unpacks to far more than any data would."""

    code = "archive-bomb"


class BadParameter(ScrayError):
    """A conversion parameter is unknown or has an impossible value."""

    code = "bad-parameter"


# --- resources -----------------------------------------------------------------------------------


class NeverFits(ScrayError):
    """The conversion needs more memory or disk than this system will ever have."""

    code = "never-fits"


class NoSpace(ScrayError):
    """There is not enough free disk space for the conversion now."""

    code = "no-space"
    transient = True


class StorageError(ScrayError):
    """Reading or writing the storage failed."""

    code = "storage"
    transient = True


class WorkerLost(ScrayError):
    """A worker died in the middle of its work."""

    code = "worker-lost"
    transient = True


class PoisonBrick(ScrayError):
    """The same part of the conversion killed its worker three times."""

    code = "poison-brick"


class ReaderCrashed(BadInput):
    """Reading the file ends the process that reads it."""

    code = "reader-crashed"


class Unsealed(ScrayError):
    """The kernel cannot seal off the process that reads the files, and the settings ask for it."""

    code = "unsealed"


class TimedOut(ScrayError):
    """A step took longer than its limit."""

    code = "timed-out"


# --- the result ----------------------------------------------------------------------------------


class VerificationFailed(ScrayError):
    """What was written differs from what was read."""

    code = "verification-failed"


class Incomplete(ScrayError):
    """The staged result does not hold everything the plan promises."""

    code = "incomplete"
    transient = True


# --- the queue -----------------------------------------------------------------------------------


class IllegalTransition(ScrayError):
    """The status table does not allow this change."""

    code = "illegal-transition"


class LeaseLost(ScrayError):
    """The dataset is owned by somebody else now."""

    code = "lease-lost"


class Cancelled(ScrayError):
    """The dataset was cancelled."""

    code = "cancelled"


class DatabaseError(ScrayError):
    """The database could not be reached."""

    code = "database"
    transient = True


# --- remote sources ------------------------------------------------------------------------------


class SourceNotFound(ScrayError):
    """The remote source does not exist."""

    code = "source-not-found"


class SourceDenied(ScrayError):
    """The remote source refuses access: the key is wrong, or the data are not shared with it."""

    code = "source-denied"


class SourceRefused(ScrayError):
    """The remote source answered with something that cannot be imported."""

    code = "source-refused"


class SourceUnreachable(ScrayError):
    """The remote source could not be reached."""

    code = "source-unreachable"
    transient = True
    wait_seconds = 0.0  # what the source asks for before another try


class RemoteChanged(ScrayError):
    """The remote source was changed while it was fetched."""

    code = "remote-changed"


class ChecksumMismatch(ScrayError):
    """What arrived differs from the checksum that the source gives."""

    code = "checksum-mismatch"


class ForbiddenAddress(ScrayError):
    """This address may not be asked: only public ones may, and those the operator lists."""

    code = "forbidden-address"


class SealBroken(ScrayError):
    """The stored credentials cannot be opened: SECRET_KEY is not the one they were sealed with."""

    code = "seal-broken"


# --- requests ------------------------------------------------------------------------------------


class NotFound(ScrayError):
    """There is no such thing."""

    code = "not-found"


class Ambiguous(ScrayError):
    """The name fits more than one dataset."""

    code = "ambiguous"


class Conflict(ScrayError):
    """This cannot be done in the present state."""

    code = "conflict"


class BadRequest(ScrayError):
    """The request cannot be understood."""

    code = "bad-request"


class InvalidField(ScrayError):
    """A field of the request is missing or has a value that is not allowed."""

    code = "invalid-field"


class UploadBroken(ScrayError):
    """The upload broke off before its end."""

    code = "upload-broken"


class MissingChunks(ScrayError):
    """Some chunks of the file have not been received yet."""

    code = "missing-chunks"


class ChunkMismatch(ScrayError):
    """The chunk is not what its length or digest promised; send it again."""

    code = "chunk-mismatch"


class ChunkDiffers(ScrayError):
    """This chunk was received before with other bytes, which stay."""

    code = "chunk-differs"


class ChunkBusy(ScrayError):
    """Somebody else is just sending these bytes; try again in a moment."""

    code = "chunk-busy"
    transient = True


class ChunkDamaged(ScrayError):
    """A chunk on the disk is not what was received; send it again and complete the upload once more."""

    code = "chunk-damaged"


class SourceChanged(ScrayError):
    """File hash validation failed: the file was changed while it was being sent."""

    code = "source-changed"


class SessionExpired(ScrayError):
    """Nothing was sent for too long, so the upload was given up; begin it anew."""

    code = "session-expired"


class DigestMismatch(ScrayError):
    """The body is not what its Content-Digest or Repr-Digest promised; send it again."""

    code = "digest-mismatch"


class QuotaExceeded(ScrayError):
    """This user may not store that much, or send that many files at a time."""

    code = "quota-exceeded"


class Unauthorised(ScrayError):
    """A valid token is needed."""

    code = "unauthorised"


class Forbidden(ScrayError):
    """Requests from this place are not accepted."""

    code = "forbidden"


class DiskFull(ScrayError):
    """The disk cannot hold this upload."""

    code = "disk-full"


class BodyTooLarge(ScrayError):
    """The upload is larger than the limit."""

    code = "body-too-large"


# --- the client ----------------------------------------------------------------------------------


class ServiceError(ScrayError):
    """The service answered with something that is not an answer of scray."""

    code = "service"


class Unreachable(ServiceError):
    """The service could not be reached; is it running?"""

    code = "unreachable"
    transient = True
