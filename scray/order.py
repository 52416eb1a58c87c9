"""Whose turn it is: pure, over a bounded window of waiting datasets. It orders the queue and excludes nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from scray.dataset import HIGH, Dataset

AGEING_SECONDS: Final = 3600.0  # after so long a wait a dataset counts as one priority higher
LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def waiting_since(dataset: Dataset) -> datetime:
    """Datasets of other programs have no `queued_at`."""
    return dataset.queued_at or dataset.updated_at or dataset.created_at or LONG_AGO


def rank(dataset: Dataset, now: datetime) -> int:
    """The priority, 1 before 3, raised by waiting."""
    aged = int((now - waiting_since(dataset)).total_seconds() // AGEING_SECONDS)
    return max(HIGH, dataset.priority - max(aged, 0))


def in_turn(
    waiting: Iterable[Dataset], now: datetime, owners_running: Mapping[str, int] | None = None
) -> list[Dataset]:
    """By priority, then who waits longest. With `owners_running` (datasets in work by user), users of one
    priority take turns, those with the least in work first.
    """
    line = sorted(waiting, key=lambda dataset: (rank(dataset, now), waiting_since(dataset), dataset.uuid))
    if owners_running is None:
        return line
    ahead: Counter[tuple[int, str]] = Counter()
    turns = []
    for dataset in line:
        place = rank(dataset, now)
        turns.append((place, owners_running.get(dataset.user, 0) + ahead[place, dataset.user]))
        ahead[place, dataset.user] += 1
    return [line[i] for i in sorted(range(len(line)), key=lambda i: (turns[i], i))]
