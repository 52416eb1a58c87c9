"""When a task is a straggler: by its fellows where there are enough, by its bytes before that, never within a while."""

from __future__ import annotations

from cluster.patience import FELLOWS, LEAST_SECONDS, SLOW_RATE, TIMES, UNKNOWN_TIMES, Patience
from converters.task import Kind, Task


def task(name: str, size: int = 128, kind: Kind = "brick") -> Task:
    return Task(name, kind, read_bytes=size)


def taught(seconds: float, cpus: int = 1) -> Patience:
    """It knows that a brick of 128 bytes takes so long."""
    patience = Patience(cpus)
    for number in range(FELLOWS):
        patience.submit(task(f"fellow {number}"), 0)
        patience.end(f"fellow {number}", seconds)
    return patience


def test_fellows_are_the_measure_as_large_as_the_task_is() -> None:
    patience = taught(60.0, cpus=2)
    patience.submit(task("same"), 1000)
    patience.submit(task("twice", 256), 1000)
    assert {name: at for at, name in patience.limits()} == {
        "same": 1000 + TIMES * 60,
        "twice": 1000 + TIMES * 120,
    }


def test_nothing_short_is_a_straggler() -> None:
    patience = taught(0.1)
    patience.submit(task("d"), 0)
    assert list(patience.limits()) == [(LEAST_SECONDS, "d")]


def test_what_waited_counts_from_when_there_were_workers_for_it() -> None:
    patience = taught(60.0)
    for name in ("first", "second"):
        patience.submit(task(name), 1000)
    assert [name for _, name in patience.limits()] == ["first"]
    patience.resize(2, 1500)
    assert list(patience.limits()) == [(1000 + TIMES * 60, "first"), (1500 + TIMES * 60, "second")]
    patience.resize(1, 1600)
    assert [name for _, name in patience.limits()] == ["first", "second"], "they run"


def test_before_there_is_a_measure_bytes_count() -> None:
    patience = taught(0.1, cpus=2)
    patience.submit(task("d", 100 * SLOW_RATE, "merge"), 0)
    patience.submit(task("e", 0, "place"), 0)
    least = UNKNOWN_TIMES * LEAST_SECONDS
    assert sorted(patience.limits()) == [(least, "e"), (least + 100, "d")]


def test_what_waits_for_a_worker_is_no_straggler() -> None:
    patience = taught(60.0, cpus=2)
    for name in ("a", "b", "c", "d"):
        patience.submit(task(name), 0)
    assert [name for _, name in patience.limits()] == ["a", "b"]
    patience.end("b", 60)
    assert list(patience.limits()) == [(TIMES * 60, "a"), (60 + TIMES * 60, "c")]


def test_one_that_ends_before_its_turn_teaches_nothing() -> None:
    patience = taught(60.0)
    patience.submit(task("a"), 0)
    patience.submit(task("b"), 0)
    patience.end("b", 1e9)
    assert list(patience.limits()) == [(TIMES * 60, "a")]
