"""What a driver does next: pure, from a snapshot of what it holds and the time. The driver performs it and
decides nothing.

Times are seconds of the driver's own steady clock, of which only differences count: neither an offset from
the database's clock nor a small drift can make two drivers believe that they own one dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Order = Literal["lost", "cancel", "drain"]

BEATS_A_LEASE: Final = 3
REAPS_EVERY_LEASES: Final = 10
NEVER: Final = float("-inf")


@dataclass(frozen=True)
class Work:
    """A dataset this driver works on.

    `renewed_at` is when the claim, or its last renewal that succeeded, was *asked for*, so the lease that the
    database counts ends later than this driver believes. `lost`: the queue refused a renewal or a change.
    `ordered`: what the work was told already. `ended`: nothing of it runs any more, and the queue knows how
    it ended.
    """

    uuid: str
    renewed_at: float
    tried_at: float = NEVER  # the last renewal, whether or not it reached the database
    lost: bool = False
    cancel_wanted: bool = False
    ordered: Order | None = None
    ended: bool = False


@dataclass(frozen=True)
class Snapshot:
    """`slots`: datasets at a time. The other times are when each thing was last done; NEVER at the start.

    `draining`: it ends when it holds nothing; `resting`: it holds nothing, and stays until it may go on.
    """

    works: tuple[Work, ...]
    slots: int
    lease_seconds: float
    poll_seconds: float
    draining: bool = False
    resting: bool = False
    claimed_at: float = NEVER
    beat_at: float = NEVER
    expired_at: float = NEVER
    reaped_at: float = NEVER


@dataclass(frozen=True)
class Beat:
    """Tell everybody that this driver lives."""


@dataclass(frozen=True)
class Expire:
    """Take back what silent drivers hold."""


@dataclass(frozen=True)
class Reap:
    """Remove staging that no dataset in work needs, and data whose grace has ended."""


@dataclass(frozen=True)
class Renew:
    uuid: str


@dataclass(frozen=True)
class Stop:
    """End the tasks of a dataset; `lost`: touch nothing of it any more."""

    uuid: str
    order: Order


@dataclass(frozen=True)
class Forget:
    """It ended: its slot is free."""

    uuid: str


@dataclass(frozen=True)
class Take:
    """Claim up to so many datasets."""

    count: int


@dataclass(frozen=True)
class Leave:
    """Drained: the driver may end."""


Action = Beat | Expire | Reap | Renew | Stop | Forget | Take | Leave


def decide(snapshot: Snapshot, now: float) -> list[Action]:
    """The actions due, in the order to perform them: leases first, new work last."""
    held = [work for work in snapshot.works if not work.ended]
    actions: list[Action] = [action for work in held if (action := _renewal(work, snapshot, now))]
    actions += [Stop(work.uuid, order) for work in held if (order := _order(work, snapshot, now))]
    actions += [Forget(work.uuid) for work in snapshot.works if work.ended]
    actions += _rounds(snapshot, now)
    if snapshot.draining:
        return actions if held else [*actions, Leave()]
    free = 0 if snapshot.resting else snapshot.slots - len(held)
    if free > 0 and now - snapshot.claimed_at >= snapshot.poll_seconds:
        actions.append(Take(free))
    return actions


def holds(work: Work, lease_seconds: float, now: float) -> bool:
    """Whether this driver may still believe that the dataset is its own."""
    return not work.lost and now - work.renewed_at < lease_seconds


def _renewal(work: Work, snapshot: Snapshot, now: float) -> Renew | None:
    """Every third of a lease; when the database does not answer, again at each poll until the lease is over."""
    third = snapshot.lease_seconds / BEATS_A_LEASE
    due = now - work.renewed_at >= third and now - work.tried_at >= min(third, snapshot.poll_seconds)
    return Renew(work.uuid) if due and holds(work, snapshot.lease_seconds, now) else None


def _order(work: Work, snapshot: Snapshot, now: float) -> Order | None:
    """A new order, if there is one. Having lost it goes over everything, and the first of the other two
    counts.
    """
    if work.ordered == "lost":
        return None
    if not holds(work, snapshot.lease_seconds, now):
        return "lost"
    if work.ordered:
        return None
    return "cancel" if work.cancel_wanted else "drain" if snapshot.draining or snapshot.resting else None


def _rounds(snapshot: Snapshot, now: float) -> list[Action]:
    third = snapshot.lease_seconds / BEATS_A_LEASE
    due: list[Action] = [Beat()] if now - snapshot.beat_at >= third else []
    due += [Expire()] if now - snapshot.expired_at >= third else []
    due += [Reap()] if now - snapshot.reaped_at >= REAPS_EVERY_LEASES * snapshot.lease_seconds else []
    return due
