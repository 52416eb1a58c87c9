"""Whose turn it is: pure, over what a look found waiting. It orders the queue and excludes nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Self

from scray.dataset import HIGH, read_moment, read_owner, read_priority

AGEING_SECONDS: Final = 3600.0  # after so long a wait a dataset counts as one priority higher
LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Waiting(NamedTuple):
    """What the order depends on of a dataset that waits; `since` when, and not to be claimed before `not_before`."""

    uuid: str
    user: str
    priority: int
    since: datetime
    not_before: datetime

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Self:
        """A document as the database returns it. Those of other programs have no `queued_at`."""
        moments = (read_moment(row.get(key)) for key in ("queued_at", "updated_at", "created_at"))
        since = next((moment for moment in moments if moment), LONG_AGO)
        not_before = read_moment(row.get("not_before")) or LONG_AGO
        return cls(str(row["uuid"]), read_owner(row), read_priority(row.get("priority")), since, not_before)


def rank(waiting: Waiting, now: datetime) -> int:
    """The priority, 1 before 3, raised by waiting."""
    aged = int((now - waiting.since).total_seconds() // AGEING_SECONDS)
    return max(HIGH, waiting.priority - max(aged, 0))


def in_turn(
    waiting: Iterable[Waiting], now: datetime, owners_running: Mapping[str, int] | None = None
) -> list[Waiting]:
    """By priority, then who waits longest. With `owners_running` (datasets in work by user), users of one
    priority take turns, those with the least in work first. Taking the first leaves the order of the rest.
    """
    line = sorted((rank(one, now), one.since, one.uuid, one) for one in waiting)
    if owners_running is None:
        return [one for *_, one in line]
    ahead: Counter[str] = Counter()  # of higher priorities, too: they will be in work by then
    turns: list[tuple[int, int, int]] = []
    for place, _, _, one in line:
        turns.append((place, owners_running.get(one.user, 0) + ahead[one.user], len(turns)))
        ahead[one.user] += 1
    return [line[number][-1] for *_, number in sorted(turns)]
