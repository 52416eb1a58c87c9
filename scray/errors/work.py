"""What can go wrong while a dataset is converted: memory, disk, workers, the result, the lease."""

from __future__ import annotations

from scray.errors.base import ScrayError
from scray.errors.content import BadInput


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


class StorageMissing(ScrayError):
    """No node of the cluster sees the storage: mount it under the same path on every node."""

    code = "storage-missing"
    transient = True

    def __init__(self, message: str | None = None, node: str = "") -> None:
        super().__init__(message)
        self.node = node  # Ray's number of the node that said so


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
    transient = True

    def __init__(self, message: str | None = None, node: str = "") -> None:
        super().__init__(message)
        self.node = node  # as of StorageMissing


class TimedOut(ScrayError):
    """A step took longer than its limit."""

    code = "timed-out"


class VerificationFailed(ScrayError):
    """What was written differs from what was read."""

    code = "verification-failed"


class Incomplete(ScrayError):
    """The staged result does not hold everything the plan promises."""

    code = "incomplete"
    transient = True


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
