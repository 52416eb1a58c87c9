"""`scray status --watch`: the status again and again: a live view on a terminal, else lines; with --json documents."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from scray.questions import span
from scray.sizes import size_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Look = Callable[[], dict[str, Any]]
BAR_WIDTH = 30


def watch(look: Look, every_seconds: float, *, as_json: bool) -> None:
    """Until somebody ends it. What cannot be asked now is asked again."""
    if not as_json and sys.stdout.isatty():
        _live(look, every_seconds)
        return
    while True:
        found = look()
        print(json.dumps(found, default=str) if as_json else "\n".join(lines(found)), flush=True)
        time.sleep(every_seconds)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """One moment as plain text: the queue, then a line for each dataset in work."""
    counts = ", ".join(f"{count} {name}" for name, count in found.get("datasets", {}).items() if count)
    yield f"{time.strftime('%H:%M:%S')} {found.get('reason') or counts or 'nothing there'}"
    for one in found.get("in_work", ()):
        yield f"         {one['name']} {one['uuid'][:8]}: {_stage(one)} {_percent(one):.0f} % {_pace(one)}".rstrip()


def _live(look: Look, every_seconds: float) -> None:
    from rich.live import Live

    with Live(picture(look()), screen=True, auto_refresh=False) as live:
        while True:
            live.update(picture(look()), refresh=True)
            time.sleep(every_seconds)


def picture(found: dict[str, Any]) -> RenderableType:
    """One moment for a terminal: queue, datasets in work with bars, drivers."""
    from rich.console import Group
    from rich.text import Text

    head = Text(f"scray  {found.get('api', '')}  {found['phase']}", style="bold")
    if "reason" in found:
        return Group(head, Text(found["reason"], style="red"))
    health = {name: says for name, says in found["health"].items() if name in ("database", "driver", "disk")}
    wrong = [Text(f"{name}: {says}", style="red") for name, says in health.items() if says != "ok"]
    return Group(head, *wrong, _queue(found), _running(found["in_work"]), _drivers(found["drivers"]))


def _queue(found: dict[str, Any]) -> Table:
    table = _table("queue", "datasets", "oldest waits")
    for name, count in found["datasets"].items():
        waits = found["oldest_seconds"].get(name)
        table.add_row(name, str(count), span(waits) if waits is not None else "")
    return table


def _running(running: list[dict[str, Any]]) -> Table:
    from rich.progress_bar import ProgressBar

    table = _table("in work", "", "stage", "", "", "")
    for one in running:
        bar = ProgressBar(total=100, completed=_percent(one), width=BAR_WIDTH)
        table.add_row(one["name"], one["uuid"][:8], _stage(one), bar, f"{_percent(one):.0f} %", _pace(one))
    return table


def _drivers(drivers: list[dict[str, Any]]) -> Table:
    table = _table("driver", "host", "heartbeat", "in work", "CPUs", "speed", "")
    for one in drivers:
        state = "gone" if not one["alive"] else "drained" if one.get("resting") else ""
        out = " ".join(one.get("left_out", ()))
        work, speed = f"{len(one.get('datasets', ()))}/{one.get('slots', '?')}", one.get("speed_bytes_per_second", 0)
        age = f"{span(one['age_seconds'])} ago"
        pace = f"{size_text(speed)}/s" if speed else ""
        table.add_row(one["name"], one.get("host", ""), age, work, str(one.get("cpus", "")), pace, state or out)
    return table


def _table(*columns: str) -> Table:
    from rich.table import Table

    return Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="bold")


def _stage(one: dict[str, Any]) -> str:
    return str(one.get("progress", {}).get("stage") or one["status"])


def _percent(one: dict[str, Any]) -> float:
    return float(one.get("progress", {}).get("percent") or 0)


def _pace(one: dict[str, Any]) -> str:
    """Speed, and time left."""
    progress = one.get("progress", {})
    speed, left = progress.get("speed_bytes_per_second"), progress.get("eta_seconds")
    return f"{size_text(speed)}/s" + (f", {span(left)} left" if left else "") if speed else ""
