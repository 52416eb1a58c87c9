"""Who is heard of and who is not, by any clock."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.pulse import BEAT_SECONDS, BEATS, Pulse, beat_seconds, beating

SILENCE = 80.0


class Storage:
    """The touches of some tasks, by a clock of its own, and the clock of who looks."""

    def __init__(self) -> None:
        self.now = 0.0
        self.touched: dict[str, int] = {}
        self.asked = 0
        self.pulse = Pulse(self.last, lambda: self.now)

    def last(self, task: str) -> int | None:
        self.asked += 1
        return self.touched.get(task)

    def silent(self, *tasks: str) -> set[str]:
        return self.pulse.silent(tasks, SILENCE)


def test_what_waits_is_not_silent_and_what_stops_is() -> None:
    storage = Storage()
    storage.touched["stopped"] = 7
    found = {}
    while storage.now < 3 * SILENCE:
        storage.touched["alive"] = int(storage.now) - 1_000_000
        found[storage.now] = storage.silent("waiting", "alive", "stopped")
        storage.now += 10
    assert [now for now, silent in found.items() if silent] == list(range(80, 240, 10))
    assert set().union(*found.values()) == {"stopped"}


def test_what_goes_on_again_is_not_silent() -> None:
    storage = Storage()
    for touch in range(20):
        storage.touched["slow"] = touch
        assert storage.silent("slow") == set()
        storage.now += SILENCE - 1


@given(st.lists(st.floats(0.01, SILENCE), max_size=40))
def test_nobody_looks_more_often_than_needed(steps: list[float]) -> None:
    storage = Storage()
    for step in steps:
        storage.silent("one")
        storage.now += step
    assert storage.asked <= 1 + sum(steps) / (SILENCE / BEATS)


def test_a_file_is_touched_while_its_task_runs(tmp_path: Path) -> None:
    file = tmp_path / "task"
    file.touch()
    os.utime(file, (0, 0))
    with beating(file, 0.01):
        deadline = time.monotonic() + 30
        while not file.stat().st_mtime:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        file.unlink()  # somebody thought that it is over
    assert not file.exists()


@pytest.mark.parametrize(("silence", "beat"), [(120.0, BEAT_SECONDS), (4.0, 0.5)])
def test_several_beats_are_missed_before_anybody_is_given_up(silence: float, beat: float) -> None:
    assert beat_seconds(silence) == beat
