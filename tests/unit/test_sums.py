"""Sums that are told now and then: nothing is told twice, nothing is forgotten."""

from __future__ import annotations

from threading import Thread

from hypothesis import given
from hypothesis import strategies as st

from scray.sums import Sums

NAMES = st.sampled_from("ab")
STEPS = st.tuples(st.just("add"), NAMES) | st.tuples(st.just("take"), NAMES) | st.tuples(st.just("wait"), NAMES)


@given(st.lists(STEPS, max_size=40))
def test_what_was_added_is_taken_once_and_in_time(steps: list[tuple[str, str]]) -> None:
    now = 0.0
    sums = Sums(1.0, lambda: now)
    held = dict.fromkeys("ab", 0)
    taken_at: dict[str, float] = {}
    for step, name in steps:
        if step == "add":
            held[name] += 1
            assert sums.add(name, 1) == held[name]
        elif step == "take":
            assert sums.take(name) == held[name]
            held[name], taken_at[name] = 0, now
        else:
            now += 0.4
        assert sums.is_due(name) == (now - taken_at.get(name, -1.0) >= 1.0)
        assert sorted(sums.held()) == [name for name in "ab" if held[name]]


def test_threads_lose_nothing() -> None:
    sums = Sums(0.0)
    taken: list[int] = []

    def work() -> None:
        for _ in range(2000):
            sums.add("a", 1)
            taken.append(sums.take("a"))

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) + sums.take("a") == 8000
