"""`scray up`, `down`, `status`, `doctor`: the local stack of a data folder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from cluster import ending, show
from cluster.commands_datasets import Address
from cluster.show import Json
from cluster.state import DEFAULT_DATA, Data, Places, State, read_state

SHOWN = ("api", "dashboard", "mongo", "data", "ray", "token_file", "settings_file")


@show.command
def up(
    data: Data = DEFAULT_DATA,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready and leave it running.")] = False,
    as_json: Json = False,
) -> None:
    """Start database, Ray, API and driver on loopback. Without --detach until Ctrl-C."""
    from cluster import stack

    def ready(state: State) -> None:
        ending.result(asdict(state), _where(asdict(state)), as_json=as_json)

    try:
        if detach:
            ready(stack.spawn(data, detach=True)[1])
        else:
            stack.Stack(data).run(ready)
    except stack.StackRuns:
        state = read_state(Places(data.resolve()))
        if not detach or state is None or state.phase != "ready":
            raise
        ready(state)


@show.command
def down(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Stop the stack of a data folder. The data and the queue stay."""
    from cluster import stack

    ran = stack.down(data)
    ending.result({"stopped": ran}, "stopped" if ran else f"no stack runs on {data}", as_json=as_json)


@show.command
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Again and again; a live view on a terminal.")] = False,
    every: Annotated[float, typer.Option(help="With --watch: how many seconds lie between.", min=0.1)] = 1.0,
    data: Data = DEFAULT_DATA,
    api: Address = "",
    as_json: Json = False,
) -> None:
    """What runs, how much waits, what failed. With --watch and --json, one document a line."""
    from cluster import observe

    if watch:
        from cluster import watching

        watching.watch(lambda: observe.status(data, api), every, as_json=as_json)
    found = observe.status(data, api)
    ending.result(found, observe.status_text(found), as_json=as_json)
    if not found["healthy"]:
        raise typer.Exit(ending.EXIT_FAILED)


@show.command
def doctor(
    dataset: Annotated[str, typer.Argument(metavar="[UUID]", help="A dataset that is asked about.")] = "",
    data: Data = DEFAULT_DATA,
    api: Address = "",
    as_json: Json = False,
) -> None:
    """Look at everything that can be wrong, and say what to do. Answers what is asked most; exit code 1 if it must."""
    from cluster import doctor

    checks = doctor.examine(data, api, dataset)
    well = all(check.state != "fail" for check in checks)
    found = [{**asdict(check), "ok": check.ok} for check in checks]
    lines = [
        f"{check.state:5} {check.name}: {check.says}" + (f"\n      {check.todo}" * bool(check.todo)) for check in checks
    ]
    ending.result({"ok": well, "checks": found}, "\n".join(lines), as_json=as_json)
    if not well:
        raise typer.Exit(ending.EXIT_FAILED)


def _where(state: dict[str, Any]) -> str:
    return "\n".join(f"{name:14} {state[name]}" for name in SHOWN if state[name])
