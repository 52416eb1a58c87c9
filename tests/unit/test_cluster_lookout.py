"""A look at the queue that takes long holds up nobody, and is used while it is fresh."""

from __future__ import annotations

import threading
import time

import pytest

from cluster.lookout import Lookout
from scray.errors import DatabaseError
from scray.queue import Line
from scray.testing import MemoryQueue


class Slow:
    """A look that ends when it is told to."""

    def __init__(self, queue: MemoryQueue) -> None:
        self.queue, self.go, self.looks = queue, threading.Event(), 0

    def __call__(self) -> Line:
        self.looks += 1
        assert self.go.wait(60)
        return self.queue.look()


@pytest.fixture
def queue() -> MemoryQueue:
    queue = MemoryQueue()
    for uuid in ("a", "b"):
        queue.add({"uuid": uuid, "status": "conversion queued"})
    return queue


def later(lookout: Lookout, slow: Slow) -> Line:
    end = time.monotonic() + 60
    while not (line := lookout.line(slow, slow.queue.news)) and time.monotonic() < end:
        pass
    return line


def test_a_short_look_is_waited_for(queue: MemoryQueue) -> None:
    assert list(Lookout().line(queue.look, queue.news)) == ["a", "b"]


def test_a_long_look_holds_up_nobody_and_is_made_once(queue: MemoryQueue) -> None:
    lookout, slow = Lookout(), Slow(queue)
    assert lookout.line(slow, slow.queue.news) == lookout.line(slow, slow.queue.news) == {}
    assert slow.looks == 1
    slow.go.set()
    assert list(later(lookout, slow)) == ["a", "b"]
    assert slow.looks == 1


def test_what_took_long_is_used_again_until_it_is_used_up(queue: MemoryQueue) -> None:
    lookout, slow = Lookout(), Slow(queue)
    lookout.line(slow, slow.queue.news)
    slow.go.set()
    line = later(lookout, slow)
    queue.add({"uuid": "c", "status": "conversion queued"})
    assert [claim.uuid for claim in queue.take(line, "driver")] == ["a", "b"]
    assert line == {}
    assert list(later(lookout, slow)) == ["c"]
    assert slow.looks == 2


def test_what_came_since_a_long_look_is_seen_at_once(queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.lookout.TIMES", 1e9)  # as if it had taken very long
    lookout, slow = Lookout(), Slow(queue)
    lookout.line(slow, queue.news)
    slow.go.set()
    assert list(later(lookout, slow)) == ["a", "b"]
    queue.add({"uuid": "urgent", "status": "conversion queued", "priority": 1})
    end = time.monotonic() + 60
    while "urgent" not in (line := lookout.line(slow, queue.news)) and time.monotonic() < end:
        pass
    assert slow.looks == 1
    assert [claim.uuid for claim in queue.take(line, "driver")] == ["urgent", "a", "b"]


def test_what_is_no_longer_true_of_a_look_is_passed_over(queue: MemoryQueue) -> None:
    line = queue.look()
    queue.request_cancel("a")
    queue.add({"uuid": "c", "status": "conversion queued", "priority": 1})
    assert [claim.uuid for claim in queue.take(line, "driver")] == ["b"]


def test_an_error_is_the_callers_and_the_next_look_may_succeed(queue: MemoryQueue) -> None:
    lookout = Lookout()

    def fail() -> Line:
        raise DatabaseError

    with pytest.raises(DatabaseError):
        lookout.line(fail, queue.news)
    assert list(lookout.line(queue.look, queue.news)) == ["a", "b"]
