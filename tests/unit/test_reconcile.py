"""What a driver does next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray.reconcile import (
    NEVER,
    Beat,
    Expire,
    Forget,
    Leave,
    Reap,
    Renew,
    Snapshot,
    Stop,
    Take,
    Work,
    decide,
)

QUIET = Snapshot((), 2, 60.0, 0.5, claimed_at=100, beat_at=100, expired_at=100, reaped_at=100)


def test_a_new_driver_does_everything_once() -> None:
    assert decide(Snapshot((), 2, 60.0, 0.5), 0) == [Beat(), Expire(), Reap(), Take(2)]


def test_nothing_due_nothing_done() -> None:
    assert decide(QUIET, 100.1) == []


def test_full_slots_take_nothing() -> None:
    works = (Work("a", 100), Work("b", 100))
    assert decide(replace(QUIET, works=works), 101) == []
    assert decide(replace(QUIET, works=(works[0], replace(works[1], ended=True))), 101) == [Forget("b"), Take(1)]


def test_leases_are_renewed_in_time_and_again_when_that_fails() -> None:
    work = Work("a", 100)
    assert Renew("a") not in decide(replace(QUIET, works=(work,)), 119)
    assert Renew("a") in decide(replace(QUIET, works=(work,)), 120)
    tried = replace(work, tried_at=120.0)
    assert Renew("a") not in decide(replace(QUIET, works=(tried,)), 120.2)
    assert Renew("a") in decide(replace(QUIET, works=(tried,)), 120.5)


def test_who_could_not_renew_stops_by_itself() -> None:
    actions = decide(replace(QUIET, works=(Work("a", 100),)), 160)
    assert Stop("a", "lost") in actions
    assert Renew("a") not in actions


@pytest.mark.parametrize(
    ("work", "draining", "order"),
    [
        (Work("a", 100, lost=True), False, "lost"),
        (Work("a", 100, lost=True, ordered="cancel"), False, "lost"),
        (Work("a", 100, lost=True, ordered="lost"), False, None),
        (Work("a", 100, cancel_wanted=True), False, "cancel"),
        (Work("a", 100, cancel_wanted=True), True, "cancel"),
        (Work("a", 100, cancel_wanted=True, ordered="cancel"), False, None),
        (Work("a", 100), True, "drain"),
        (Work("a", 100, ordered="drain"), True, None),
        (Work("a", 100), False, None),
    ],
)
def test_orders(work: Work, draining: bool, order: str | None) -> None:
    actions = decide(replace(QUIET, works=(work,), draining=draining), 101)
    assert [action.order for action in actions if isinstance(action, Stop)] == ([order] if order else [])


def test_a_drained_driver_leaves_when_all_has_ended() -> None:
    work = Work("a", 100, ordered="drain")
    assert decide(replace(QUIET, works=(work,), draining=True), 101) == []
    assert decide(replace(QUIET, works=(replace(work, ended=True),), draining=True), 101) == [Forget("a"), Leave()]


def test_a_resting_driver_gives_everything_back_takes_nothing_and_stays() -> None:
    resting = replace(QUIET, resting=True)
    assert decide(replace(resting, works=(Work("a", 100),)), 101) == [Stop("a", "drain")]
    gone = Work("a", 100, ordered="drain", ended=True)
    assert decide(replace(resting, works=(gone,)), 101) == [Forget("a")]
    assert decide(resting, 101) == []
    assert decide(replace(QUIET, resting=False), 101) == [Take(2)]


works = st.builds(
    Work,
    uuid=st.uuids().map(str),
    renewed_at=st.floats(0, 200),
    tried_at=st.floats(0, 200) | st.just(NEVER),
    lost=st.booleans(),
    cancel_wanted=st.booleans(),
    ordered=st.sampled_from(["lost", "cancel", "drain", None]),
    ended=st.booleans(),
)


@given(st.lists(works, max_size=6, unique_by=lambda work: work.uuid), st.integers(0, 8), st.booleans())
def test_a_driver_never_asks_for_too_much(held: list[Work], slots: int, draining: bool) -> None:
    actions = decide(Snapshot(tuple(held), slots, 60.0, 0.5, draining), 200)
    running = [work for work in held if not work.ended]
    taken = sum(action.count for action in actions if isinstance(action, Take))
    assert taken == (0 if draining else max(0, slots - len(running)))
    renewed = {action.uuid for action in actions if isinstance(action, Renew)}
    lost = {action.uuid for action in actions if isinstance(action, Stop) and action.order == "lost"}
    assert not renewed & lost
    assert {action.uuid for action in actions if isinstance(action, Forget)} == {w.uuid for w in held if w.ended}
