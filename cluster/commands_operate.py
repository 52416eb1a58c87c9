"""`scray submit`, `drain`, `resume`, `retry`: what operators do with the driver, and with what has failed."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from cluster import ending, show
from cluster.commands_convert import Param, read_parameters
from cluster.commands_datasets import Address, Identifier, connect
from cluster.show import Json
from cluster.state import DEFAULT_DATA, Data

DRAIN_SECONDS = 10.0

Name = Annotated[str, typer.Option("--driver", help="One driver, by its name in `scray status`; else all that live.")]


@show.command
def submit(
    address: Annotated[str, typer.Option(help="Ray's dashboard; else that of the local stack.")] = "",
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Start the driver on a Ray cluster, as a job. One of other code is replaced; where the same runs, it says so."""
    from cluster.environment import dashboard_at

    address = address or dashboard_at(data)
    from cluster import submitting

    done = submitting.submit(address)
    says = f"submitted as {done.job}" if done.new else f"runs already as {done.job} ({done.status.lower()})"
    ending.result(asdict(done), f"driver of code {done.version} {says}", as_json=as_json)


@show.command
def drain(
    driver: Name = "",
    wait: Annotated[float, typer.Option(help="How many seconds to wait until nothing is held.", min=0)] = DRAIN_SECONDS,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Have the drivers give back their work, and claim no more. `scray resume`, or a new start, ends that."""
    from cluster import draining

    began = time.monotonic()
    with draining.office(data) as at:
        names = at.drivers(driver)
        draining.drain(at, names, wait)
    seconds = round(time.monotonic() - began, 2)
    text = f"{', '.join(names)}: all work given back in {seconds:.1f} s; `scray resume` goes on"
    ending.result({"drivers": names, "drained": True, "seconds": seconds}, text, as_json=as_json)


@show.command
def resume(driver: Name = "", data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Let drained drivers work again."""
    from cluster import draining

    with draining.office(data) as at:
        names = at.drivers(driver)
        at.orders.resume(names)
    ending.result({"drivers": names, "drained": False}, f"{', '.join(names)}: works again", as_json=as_json)


@show.command
def retry(
    identifier: Identifier,
    param: Param = None,
    data: Data = DEFAULT_DATA,
    api: Address = "",
    as_json: Json = False,
) -> None:
    """Queue a dataset again that is done, failed or cancelled. Finished parts, and what was fetched, are used again.

    Parameters take the place of all that it had.
    """
    parameters = read_parameters(param) if param else None
    with connect(data, api) as client:
        queued = client.convert(identifier, parameters)
    ending.result(queued, f"{queued['dataset_uuid']}: {queued['status']}", as_json=as_json)
