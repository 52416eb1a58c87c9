"""`scray logs`: what the driver told of a dataset's runs, line by line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster import ending, show
from cluster.commands_datasets import Address, Identifier, connect
from cluster.show import Json
from cluster.state import DEFAULT_DATA, Data
from scray.errors import NotFound
from scray.sizes import size_text
from scray.status import ENDS, read_status

if TYPE_CHECKING:
    from scray.client import ScrayClient

LOOK_SECONDS = 0.5
SHOWN = ("stage", "task", "code", "message")


@show.command
def logs(
    identifier: Identifier,
    run: Annotated[str, typer.Option(help="Which run, by its name; else the latest.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow", help="Stay until the dataset has ended; also in later runs.")
    ] = False,
    data: Data = DEFAULT_DATA,
    api: Address = "",
    as_json: Json = False,
) -> None:
    """What happened in a run of a dataset. With --follow and --json, one document an event."""
    with connect(data, api) as client:
        if follow:
            for event in _follow(client, identifier, run):
                ending.result(event, sentence(event), as_json=as_json)
            return
        events = list(_events(client, identifier, run))
        page = client.logs(identifier, run)
    if not page["run"]:
        raise NotFound(f"Nobody has worked on {identifier} yet: there is no log.")
    document = {"dataset_uuid": page["dataset_uuid"], "run": page["run"], "runs": page["runs"], "events": events}
    ending.result(document, "\n".join(map(sentence, events)), as_json=as_json)


def sentence(event: dict[str, Any]) -> str:
    """One event for people."""
    facts = [str(event[name]) for name in SHOWN if event.get(name)]
    facts += [size_text(event["bytes"])] if event.get("bytes") else []
    facts += [f"{event['seconds']:g} s"] if event.get("seconds") else []
    return f"{event['time'][:19]}  {event['level']:8}{event['action']:14}{'  '.join(facts)}".rstrip()


def _events(client: ScrayClient, identifier: str, run: str, after: int = 0) -> Iterator[dict[str, Any]]:
    """All events of one run."""
    while (page := client.logs(identifier, run, after))["events"]:
        yield from page["events"]
        after, run = page["next"], page["run"]


def _follow(client: ScrayClient, identifier: str, run: str) -> Iterator[dict[str, Any]]:
    """The events of a run, else of the latest and those that begin later, until the dataset has ended."""
    after, at, over = 0, run, False
    while True:
        was_over, over = over, read_status(client.status(identifier)["status"]) in ENDS
        page = client.logs(identifier, at, after)
        yield from page["events"]
        at, after = page["run"] or "", page["next"]
        later = [name for name in page["runs"] if name > at] if at and not run else []
        if page["events"]:
            continue
        if later:
            at, after = later[0], 0
        elif was_over:  # the last word may come after the status
            return
        else:
            time.sleep(LOOK_SECONDS)
