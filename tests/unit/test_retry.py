"""One policy: which error is worth another try, and when."""

from __future__ import annotations

import errno
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray.errors import (
    BadInput,
    DatabaseError,
    NoSpace,
    PoisonBrick,
    ScrayError,
    StorageError,
    WorkerLost,
    every_error,
)
from scray.retry import LONGEST_SECONDS, MAX_ATTEMPTS, Verdict, delay_seconds, exhausted, explain, judge


@pytest.mark.parametrize(
    ("error", "verdict", "code"),
    [
        (BadInput(), Verdict.PERMANENT, "bad-input"),
        (PoisonBrick(), Verdict.PERMANENT, "poison-brick"),
        (StorageError(), Verdict.TRANSIENT, "storage"),
        (WorkerLost(), Verdict.WAIT, "worker-lost"),
        (DatabaseError(), Verdict.WAIT, "database"),
        (NoSpace(), Verdict.WAIT, "no-space"),
        (OSError(errno.EIO, "i/o"), Verdict.TRANSIENT, "storage"),
        (OSError(errno.ENOSPC, "full"), Verdict.WAIT, "no-space"),
        (PermissionError(errno.EACCES, "no"), Verdict.PERMANENT, "storage"),
        (ConnectionResetError(), Verdict.TRANSIENT, "storage"),
        (MemoryError(), Verdict.TRANSIENT, "out-of-memory"),
        (KeyError("x"), Verdict.PERMANENT, "internal"),
    ],
)
def test_verdicts_and_codes(error: BaseException, verdict: Verdict, code: str) -> None:
    assert judge(error) is verdict
    assert explain(error)[0] == code
    assert explain(error)[1]


def test_every_error_of_ours_has_a_verdict_that_fits() -> None:
    for kind in every_error():
        assert (judge(kind()) is Verdict.PERMANENT) != kind.transient
    assert explain(ScrayError("Told so."))[1] == "Told so."


@given(st.integers(-2, 10_000), st.integers())
def test_delays_grow_and_are_bounded(attempt: int, seed: int) -> None:
    delay = delay_seconds(attempt, Random(seed))
    assert 0 < delay <= LONGEST_SECONDS
    assert attempt < 1 or delay_seconds(attempt + 2, Random(seed)) >= min(delay, LONGEST_SECONDS)


def test_delays_are_spread() -> None:
    assert len({delay_seconds(3, Random(seed)) for seed in range(20)}) == 20


def test_enough_is_enough() -> None:
    assert not exhausted(MAX_ATTEMPTS - 1)
    assert exhausted(MAX_ATTEMPTS)
