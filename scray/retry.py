"""Which error is worth another try, and when: the one retry policy."""

from __future__ import annotations

import errno
from enum import StrEnum
from random import Random
from typing import Final

from scray.errors import DatabaseError, NoSpace, ScrayError, StorageMissing, Unsealed, WorkerLost

MAX_ATTEMPTS: Final = 4
BASE_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 300.0
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Verdict(StrEnum):
    """What an error means for the dataset.

    PERMANENT: fails at once. TRANSIENT: tried again, a limited number of times without progress. WAIT:
    nobody's fault (a worker, node or database went away, the disk is full now); tried again for as long as it
    takes.
    """

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    WAIT = "wait"


def judge(error: BaseException) -> Verdict:
    """The verdict on an error. Errors that are not ours are permanent, except those of the operating system."""
    if isinstance(error, WorkerLost | DatabaseError | NoSpace | StorageMissing | Unsealed):
        return Verdict.WAIT
    if isinstance(error, ScrayError):
        return Verdict.TRANSIENT if error.transient else Verdict.PERMANENT
    if isinstance(error, PermissionError | IsADirectoryError | NotADirectoryError):
        return Verdict.PERMANENT
    if isinstance(error, OSError):
        return Verdict.WAIT if error.errno in FULL else Verdict.TRANSIENT
    return Verdict.TRANSIENT if isinstance(error, MemoryError) else Verdict.PERMANENT


def exhausted(attempt: int) -> bool:
    """Whether so many claims that failed without any progress are enough."""
    return attempt >= MAX_ATTEMPTS


def delay_seconds(attempt: int, random: Random) -> float:
    """How long to wait after the `attempt`-th fruitless claim: doubling, at most 5 minutes, the upper half
    random.
    """
    longest = min(LONGEST_SECONDS, BASE_SECONDS * 2.0 ** min(max(attempt, 1) - 1, 30))
    return longest * random.uniform(0.5, 1.0)


def explain(error: BaseException) -> tuple[str, str]:
    """`error_code` and `error_message` for the dataset."""
    if isinstance(error, ScrayError):
        return error.code, error.message
    if isinstance(error, OSError):
        code = "no-space" if error.errno in FULL else "storage"
        return code, f"Reading or writing the storage failed: {error}"
    if isinstance(error, MemoryError):
        return "out-of-memory", "The conversion needed more memory than its worker has."
    return "internal", f"Something went wrong inside scray: {type(error).__name__}: {error}"
