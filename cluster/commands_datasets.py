"""`scray upload`, `watch`, `download`, `cancel`: datasets of a running stack, through its API."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster import ending, show
from cluster.commands_convert import Param, Paths, Sensor, read_parameters
from cluster.show import Json
from cluster.state import DEFAULT_DATA, Data, api_address
from scray.errors import BadRequest, Conflict
from scray.sizes import size_text
from scray.status import ENDS, Status, read_status

if TYPE_CHECKING:
    from scray.client import Progress as Sent
    from scray.client import ScrayClient

TOLD_PATHS = 10
Identifier = Annotated[
    str, typer.Argument(metavar="UUID", help="UUID of the dataset (or its id, slug or name).", show_default=False)
]
Address = Annotated[str, typer.Option("--api", help="The API; else that of the local stack.")]
User = Annotated[str, typer.Option("--user", help="Whose dataset it is: an e-mail address.")]


@show.command
def upload(
    paths: Paths,
    sensor: Sensor = "OTHER",
    name: Annotated[str, typer.Option(help="What the dataset is called; else as the first path.")] = "",
    param: Param = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is converted.")] = False,
    user: User = "",
    data: Data = DEFAULT_DATA,
    api: Address = "",
    as_json: Json = False,
) -> None:
    """Send files and folders as one dataset. Run again after an interruption, it goes on where it was."""
    from scray.sensors import read_sensor

    for path in paths:
        if not path.exists():
            raise BadRequest(f"{path} does not exist.")
        if not (path.is_file() or path.is_dir()):
            raise BadRequest(f"{path} is neither a file nor a folder.")
    _tell_left_out(paths)
    name = name or paths[0].resolve().stem
    fields = {"sensor": read_sensor(sensor), "name": name, "user_email": user or f"{getpass.getuser()}@localhost"}
    with connect(data, api) as client, show.Progress(as_json=as_json) as progress:
        dataset = send(client, paths, {**fields, "parameters": read_parameters(param or [])}, progress)
        if not wait:
            ending.result({"dataset_uuid": dataset, "name": name}, dataset, as_json=as_json)
            return
        follow(client, dataset, name, progress)
        outcome = client.dataset(dataset)
    _report(outcome, as_json=as_json)


@show.command
def watch(identifier: Identifier, data: Data = DEFAULT_DATA, api: Address = "", as_json: Json = False) -> None:
    """Follow a dataset until it has ended. Exit code 1 where it failed."""
    with connect(data, api) as client, show.Progress(as_json=as_json) as progress:
        follow(client, identifier, identifier, progress)
        outcome = client.dataset(identifier)
    _report(outcome, as_json=as_json)


@show.command
def download(
    identifier: Identifier,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if needed.", show_default=False)],
    data: Data = DEFAULT_DATA,
    api: Address = "",
    as_json: Json = False,
) -> None:
    """Fetch the result of a dataset, verified. Run again, it fetches only what is missing or differs."""
    if folder.exists() and not folder.is_dir():
        raise BadRequest(f"{folder} is a file; name a folder for the result.")
    with connect(data, api) as client, show.Progress(as_json=as_json) as progress, _goes_on():
        found = client.download(
            identifier, folder, on_progress=lambda one: _show_moved(progress, identifier, one, "downloading", "fetched")
        )
    text = f"{folder}: {found.files} files, {size_text(found.size_bytes)}, verified; {found.fetched} were fetched"
    ending.result({"out": str(folder), **asdict(found)}, text, as_json=as_json)


@show.command
def cancel(identifier: Identifier, data: Data = DEFAULT_DATA, api: Address = "", as_json: Json = False) -> None:
    """Stop what is being done with a dataset. Exit code 1 where it has ended otherwise before."""
    with connect(data, api) as client:
        found = client.status(identifier)
        dataset, status = found["dataset_uuid"], read_status(found["status"])
        if status in ENDS and status is not Status.CANCELLED:
            raise Conflict(f"Nothing is being done with {dataset}, which is '{status}': there is nothing to cancel.")
        if status is not Status.CANCELLED:
            client.cancel(f"upload_{dataset}")
    says = "is cancelled already" if status is Status.CANCELLED else "is being cancelled"
    ending.result({"dataset_uuid": dataset, "cancelled": True}, f"{dataset} {says}", as_json=as_json)


def connect(data: Path, api: str) -> ScrayClient:
    """A client of the API named by an option, or of the stack that runs on the data folder."""
    from scray.client import ScrayClient

    client = ScrayClient(api or api_address(data), os.environ.get("SCRAY_API_TOKEN"))
    client.ask("GET", "/healthz")  # one that was never there is told at once; one that goes away later is waited for
    return client


def _tell_left_out(paths: Sequence[Path]) -> None:
    """Nobody shall believe that all of a folder was sent when it was not."""
    from scray.client.local import left_out

    found = left_out(paths)
    for path, why in islice(found.items(), TOLD_PATHS):
        print(f"{path} is not sent: it is {why}.", file=sys.stderr)
    if len(found) > TOLD_PATHS:
        print(f"… and {len(found) - TOLD_PATHS} more.", file=sys.stderr)


def send(client: ScrayClient, paths: Sequence[Path], fields: Mapping[str, Any], progress: show.Progress) -> str:
    """Upload all paths as one dataset; its UUID. Of several paths, folders keep their names."""
    with _goes_on():
        return client.upload(
            paths, on_progress=lambda one: _show_moved(progress, fields["name"], one, "uploading", "sent"), **fields
        ).dataset_uuid


@contextmanager
def _goes_on() -> Iterator[None]:
    """Say after Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted. The same command again goes on where this one was.", file=sys.stderr)
        raise


def _show_moved(progress: show.Progress, name: str, sent: Sent, doing: str, done: str) -> None:
    """Everything together; and on a terminal, where there are several files, each one while it is on its way."""
    speed, eta = sent.speed_bytes_per_second, sent.eta_seconds
    files = f"{sent.files_done} of {sent.files} files, " if sent.files > 1 else ""
    left = f", {eta:.0f} s left" if eta is not None and sent.sent_bytes < sent.total_bytes else ""
    note = f"{files}{size_text(sent.sent_bytes)} of {size_text(sent.total_bytes)}, {size_text(speed)}/s{left}"
    stage = done if sent.files_done == sent.files else doing
    progress.update(name, stage, 100 * sent.sent_bytes / max(sent.total_bytes, 1), note)
    if sent.files > 1:
        percent = 100 * sent.file_sent_bytes / max(sent.file_bytes, 1)
        progress.detail(sent.file, doing, percent, size_text(sent.file_bytes))


def follow(client: ScrayClient, identifier: str, name: str, progress: show.Progress) -> None:
    """Show a dataset's way until its end."""
    for found in client.watch(identifier):
        show_status(progress, name, found)


def show_status(progress: show.Progress, name: str, found: Mapping[str, Any]) -> None:
    """One answer of the status route, as a bar or line."""
    converting = found["status"] == Status.CONVERTING and found["stage"]
    speed, eta = found["speed_bytes_per_second"], found["eta_seconds"]
    note = f"{size_text(speed)}/s" + (f", {eta:.0f} s left" if eta else "") if converting and speed else ""
    percent = found["progress"] if found["progress"] or found["status"] == Status.DONE else None
    progress.update(name, found["stage"] if converting else found["status"], percent, note)


def _report(outcome: dict[str, Any], *, as_json: bool) -> None:
    outcome = {"dataset_uuid": outcome["uuid"], **outcome}  # as all other documents call it
    if read_status(outcome["status"]) is Status.DONE:
        ending.result(outcome, f"{outcome['uuid']} {outcome['name']}: {outcome['status']}", as_json=as_json)
        return
    reason = outcome.get("error_message") or f"The dataset is {outcome['status']}."
    code = outcome.get("error_code") or str(outcome["status"]).replace(" ", "-")
    ending.failed(code, reason, as_json=as_json, **outcome)
    raise typer.Exit(ending.EXIT_FAILED)
