"""The eight questions that users ask, and how each is answered: pure, from what is known of a service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from scray.dataset import Dataset
from scray.sizes import size_text
from scray.status import ENDS, QUEUED, RUNNING, Status

State = Literal["ok", "warn", "fail"]
LEAST_FREE_BYTES: Final = 1 << 30
FAILED: Final = (Status.CONVERSION_FAILED, Status.UPLOAD_ERROR, Status.SYNC_ERROR, Status.UNZIP_ERROR)
WORKED_ON: Final = frozenset(RUNNING) - {Status.UPLOADING}  # while files arrive, only its claim tells
NOBODY_KNOWS: Final = "Nobody knows without the database."


@dataclass(frozen=True)
class Place:
    """A folder as the asked process sees it; `free_bytes` is None where it cannot be looked at."""

    path: str
    writable: bool
    free_bytes: int | None


@dataclass(frozen=True)
class Known:
    """What is known of a service. `database` is empty, or says why it does not answer; then the rest is empty, too.

    `drivers` are those of `Catalog.drivers`, `failed` the last datasets that failed, `outputs` the headers in its
    result, where a `dataset` is asked about; `before`: so many wait with it that came earlier.
    """

    database: str
    places: Sequence[Place]
    drivers: Sequence[Mapping[str, Any]] = ()
    counts: Mapping[Status, int] = field(default_factory=dict)
    oldest: Mapping[Status, datetime | None] = field(default_factory=dict)
    failed: Sequence[Dataset] = ()
    dataset: Dataset | None = None
    before: int = 0
    result: str = ""
    outputs: Sequence[str] = ()
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    """`todo` says what to do, and is empty where there is nothing."""

    question: str
    state: State
    says: str
    todo: str = ""


def answers(known: Known) -> list[Answer]:
    """All eight, in the order in which they are asked."""
    if known.database:
        return [*_without(known)]
    return [
        _running(known),
        _queued(known),
        _why_not(known),
        _failed(known),
        _retry(known),
        _outputs(known),
        _paths(known.places),
        Answer("Is the database reachable?", "ok", "It answers."),
    ]


def _without(known: Known) -> Iterator[Answer]:
    yield Answer(
        "Is the service running?", "fail", "The API answers, but its database does not.", "Start the database."
    )
    for question in ("How many are queued?", "Why is mine not converting?", "Did it fail, and why?"):
        yield Answer(question, "warn", NOBODY_KNOWS)
    yield Answer("How do I retry?", "ok", "`scray retry UUID`, once the database is back.")
    yield Answer("Where are the outputs?", "ok", known.result)
    yield _paths(known.places)
    yield Answer("Is the database reachable?", "fail", known.database, "See that it runs and that MONGO_URL is right.")


def _living(known: Known) -> list[Mapping[str, Any]]:
    return [driver for driver in known.drivers if driver["alive"]]


def left_out(drivers: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why each node that gets no tasks now is left out: a sentence of each, from the heartbeats."""
    return sorted({says for driver in drivers if driver["alive"] for says in driver.get("left_out", ())})


def _running(known: Known) -> Answer:
    question, living = "Is the service running?", _living(known)
    if not living:
        ages = [driver["age_seconds"] for driver in known.drivers]
        said = f"the last heartbeat is {span(min(ages))} old" if ages else "none has ever answered"
        return Answer(question, "fail", f"No driver runs: {said}.", "Run `make up`, or `scray submit` on a cluster.")
    names = ", ".join(f"{driver['name']} ({len(driver.get('datasets', ()))} in work)" for driver in living)
    if all(driver.get("resting") for driver in living):
        return Answer(question, "warn", f"Drained: {names}.", "`scray resume` goes on.")
    if out := left_out(known.drivers):
        todo = "Mount the storage on these nodes, and see that their kernels can seal off readers (`scray doctor`)."
        return Answer(question, "warn", f"Yes: {names}; some nodes are left out. {' '.join(out)}", todo)
    return Answer(question, "ok", f"Yes: {names}.")


def _queued(known: Known) -> Answer:
    waits = [
        f"{known.counts[status]} {status} (the oldest for {span((known.now - since).total_seconds())})"
        for status in sorted(QUEUED)
        if known.counts.get(status) and (since := known.oldest.get(status))
    ]
    runs = sum(known.counts.get(status, 0) for status in WORKED_ON)
    return Answer("How many are queued?", "ok", f"{', '.join(waits) or 'None'}; {runs} in work.")


def _why_not(known: Known) -> Answer:
    question, dataset = "Why is mine not converting?", known.dataset
    if dataset is None:
        return Answer(question, "ok", "Name a dataset: `scray doctor UUID`.")
    if dataset.status in ENDS:
        return Answer(question, "ok", f"It is not waiting: it is '{dataset.status}'.")
    if dataset.status in WORKED_ON or dataset.running:
        at = f"{dataset.progress.stage}, {dataset.progress.percent:.0f} %" if dataset.progress.stage else dataset.status
        return Answer(question, "ok", f"It is in work: {at}.")
    if dataset.status not in QUEUED:
        return Answer(question, "ok", f"It is '{dataset.status}': {len(dataset.open_uploads)} of its files still come.")
    return Answer(question, *_waiting(known, dataset))


def _waiting(known: Known, dataset: Dataset) -> tuple[State, str, str]:
    if not _living(known):
        return "fail", "No driver runs.", "Run `make up`, or `scray submit` on a cluster."
    if all(driver.get("resting") for driver in _living(known)):
        return "warn", "The drivers are drained.", "`scray resume` goes on."
    if dataset.not_before and dataset.not_before > known.now:
        why = f"after an error: {dataset.error_message}" if dataset.error_message else "for further files"
        return "ok", f"It waits another {span((dataset.not_before - known.now).total_seconds())} {why}", ""
    return "ok", f"It waits its turn: {known.before} came before it, priority {dataset.priority}.", ""


def _failed(known: Known) -> Answer:
    question, dataset = "Did it fail, and why?", known.dataset
    if dataset is not None:
        if not dataset.error_code:
            return Answer(question, "ok", "No.")
        state: State = "fail" if dataset.status in FAILED else "warn"
        return Answer(question, state, f"{dataset.error_message} [{dataset.error_code}]", f"scray logs {dataset.uuid}")
    if not known.failed:
        return Answer(question, "ok", "Nothing has failed.")
    last = "; ".join(f"{one.uuid}: {one.error_message} [{one.error_code}]" for one in known.failed)
    count = sum(known.counts.get(status, 0) for status in FAILED)
    return Answer(question, "warn", f"{count} have failed. The last: {last}", "`scray logs UUID` tells more.")


def _retry(known: Known) -> Answer:
    dataset = known.dataset
    uuid = dataset.uuid if dataset else "UUID"
    how = f"`scray retry {uuid}`, or POST /api/v1/datasets/{uuid}/convert: what is done, failed or cancelled, any time."
    if dataset and dataset.status not in ENDS:
        how = f"Not needed: it is '{dataset.status}', and errors that may pass are tried again by themselves."
    return Answer("How do I retry?", "ok", how)


def _outputs(known: Known) -> Answer:
    question = "Where are the outputs?"
    if known.dataset is None:
        return Answer(question, "ok", f"In {known.result}/<uuid>/visus.idx.")
    if known.outputs:
        return Answer(question, "ok", f"{', '.join(f'{known.result}/{name}' for name in known.outputs)}.")
    missing = known.dataset.status is Status.DONE and known.dataset.convert
    says = f"{known.result} holds none{'' if missing else ' yet'}."
    return Answer(question, "fail" if missing else "ok", says, "`scray retry` makes them again." if missing else "")


def _paths(places: Iterable[Place]) -> Answer:
    question = "Are paths and permissions right?"
    closed = [place.path for place in places if not place.writable]
    if closed:
        todo = "See that they exist, are mounted, and belong to the user of the service."
        return Answer(question, "fail", f"Cannot be written: {', '.join(closed)}.", todo)
    full = [f"{place.path} ({size_text(place.free_bytes or 0)})" for place in places if _is_full(place)]
    if full:
        return Answer(question, "warn", f"Almost full: {', '.join(full)}.", "Make room, or add a larger disk.")
    return Answer(question, "ok", f"Yes: {', '.join(place.path for place in places)} can be written.")


def _is_full(place: Place) -> bool:
    return place.free_bytes is not None and place.free_bytes < LEAST_FREE_BYTES


def span(seconds: float) -> str:
    """How long, for people: 90 -> '2 min'."""
    for unit, length, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
