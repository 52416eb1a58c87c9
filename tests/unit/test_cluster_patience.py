"""When a task is a straggler: by its fellows where there are enough, by its bytes before that, never within a while."""

from __future__ import annotations

from cluster.patience import FELLOWS, LEAST_SECONDS, SLOW_RATE, TIMES, Patience


def test_fellows_are_the_measure() -> None:
    patience = Patience()
    for seconds in [20.0] * FELLOWS + [1000.0]:
        patience.learn(seconds)
    assert patience.limit_seconds(1 << 40) == TIMES * 20.0


def test_nothing_short_is_a_straggler() -> None:
    patience = Patience()
    for _ in range(FELLOWS):
        patience.learn(0.1)
    assert patience.limit_seconds(0) == LEAST_SECONDS


def test_before_there_is_a_measure_bytes_count() -> None:
    patience = Patience()
    for _ in range(FELLOWS - 1):
        patience.learn(0.1)
    assert patience.limit_seconds(100 * SLOW_RATE) == LEAST_SECONDS + 100
