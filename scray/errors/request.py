"""What the API answers to a request it cannot serve, and what the client says of it."""

from __future__ import annotations

from scray.errors.base import ScrayError


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


class ServiceError(ScrayError):
    """The service answered with something that is not an answer of scray."""

    code = "service"


class Unreachable(ServiceError):
    """The service could not be reached; is it running?"""

    code = "unreachable"
    transient = True
