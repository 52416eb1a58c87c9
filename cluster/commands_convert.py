"""`scray convert`, `verify`, `info`: on files and folders alone, without server or database."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster import ending, show
from cluster.apart import Pulse, apart
from cluster.show import Json
from scray.errors import BadParameter, ReaderCrashed, TimedOut
from scray.parameters import check
from scray.sizes import read_size, size_text

if TYPE_CHECKING:
    from converters.convert import Progress, Report
    from converters.run import Executor


class ExecutorName(StrEnum):
    serial = "serial"
    ray = "ray"


class Codec(StrEnum):
    zip = "zip"
    small = "small"
    fast = "fast"
    raw = "raw"


class Profile(StrEnum):
    local = "local"
    cloud = "cloud"


Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Files and folders of one dataset.", show_default=False)
]
Sensor = Annotated[
    str, typer.Option(help="What the files are: TIFF, NETCDF, HDF5, 4D_NEXUS, IDX, …; OTHER lets them say.")
]
Result = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a result.", exists=True)]
Param = Annotated[list[str] | None, typer.Option("--param", metavar="K=V", help="A conversion parameter; repeatable.")]


@show.command
def convert(
    paths: Paths,
    out: Annotated[Path, typer.Option(help="The folder of the result; appears whole.", show_default=False)],
    sensor: Sensor = "OTHER",
    executor: Annotated[ExecutorName, typer.Option(help="Where the work is done.")] = ExecutorName.serial,
    codec: Annotated[Codec, typer.Option(help="How blocks are compressed.")] = Codec.zip,
    profile: Annotated[Profile, typer.Option(help="Block files, or one object a block.")] = Profile.local,
    param: Param = None,
    memory: Annotated[str, typer.Option(help="Memory of one task, like 1GiB.")] = "1GiB",
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not read back what was written.")] = False,
    as_json: Json = False,
) -> None:
    """Convert files into a dataset, without server and database. Goes on where a killed run stopped."""
    from scray.settings import load_settings

    sealing = load_settings().sandbox
    asked = Asked(tuple(paths), sensor, out, executor, codec, profile, tuple(param or ()), read_size(memory), no_verify)
    if executor is ExecutorName.serial and sealing != "required":
        document = _apart(asked, lambda pulse: _convert(asked, sealing, pulse, as_json=as_json))
    else:
        document = _convert(asked, sealing, lambda _: None, as_json=as_json)
    ending.result(document, _sentence(document), as_json=as_json)


@dataclass(frozen=True)
class Asked:
    """What was asked of `scray convert`."""

    paths: tuple[Path, ...]
    sensor: str
    out: Path
    executor: ExecutorName
    codec: Codec
    profile: Profile
    parameters: tuple[str, ...]
    memory_bytes: int
    no_verify: bool


def _apart(asked: Asked, work: Callable[[Pulse], dict[str, Any]]) -> dict[str, Any]:
    try:
        return apart(work, asked.memory_bytes)
    except (ReaderCrashed, TimedOut):
        from converters.convert import discard

        discard(asked.out)
        raise


def _convert(asked: Asked, sealing: str, pulse: Callable[[bool], None], *, as_json: bool) -> dict[str, Any]:
    from converters.convert import convert as run
    from converters.plan import Choices
    from converters.prepare import Job, find_files
    from scray.sensors import read_sensor

    workers = 1 if asked.executor is ExecutorName.serial else os.cpu_count() or 1
    choices = Choices(
        asked.codec.value, asked.profile.value, asked.memory_bytes, workers,
        verify=not asked.no_verify, sandbox=sealing,
    )  # fmt: skip
    root, files = find_files(asked.paths)
    job = Job(root, files, read_sensor(asked.sensor), read_parameters(asked.parameters), choices)

    def show_it(at: Progress) -> None:
        pulse(at.stage in ("planning", "converting"))
        _show(progress, asked.out.name, at)

    with _executor(asked.executor, sealing, pulse) as chosen, show.Progress(as_json=as_json) as progress:
        return summary(run(job, asked.out, chosen, show_it, sealed=not isinstance(pulse, Pulse)))


def _show(progress: show.Progress, name: str, at: Progress) -> None:
    percent = 100 * at.done_bytes / at.total_bytes if at.total_bytes else None
    progress.update(name, at.stage, percent, f"of {size_text(at.total_bytes)}" if at.total_bytes else "")


@contextmanager
def _executor(name: ExecutorName, sealing: str, pulse: Callable[[bool], None]) -> Iterator[Executor]:
    if name is ExecutorName.serial:
        from converters import run, sandbox

        watched = partial(run.perform, alive=lambda: pulse(True))
        yield run.Serial(sandbox.perform if sealing == "required" else watched)
        return
    from cluster.local_ray import connected

    with connected():
        from cluster.executor import RayExecutor

        yield RayExecutor()


def read_parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """`K=V` pairs; a value that is JSON (a number, true, a list) is taken as that, NaN as a text.

    Raises BadParameter without a `=`, for an unknown parameter, and for a value of another kind.
    """
    parameters: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise BadParameter(f"{pair!r} is not of the form K=V.")
        try:
            parameters[key] = json.loads(value, parse_constant=str)
        except ValueError:
            parameters[key] = value
    check(parameters)
    return parameters


def summary(report: Report) -> dict[str, Any]:
    """What a conversion did, for people and programs."""
    return {
        "out": str(report.out),
        "plan": report.plan.digest,
        "datasets": [
            {
                "name": grid.name,
                "shape": list(grid.shape),
                "steps": grid.steps,
                "fields": list(grid.fields),
                "strategy": grid.strategy,
                "amplification": grid.amplification,
            }
            for grid in report.plan.grids
        ],
        "projected_memory_bytes": max((task.memory_bytes for task in report.plan.tasks), default=0),
        "projected_disk_bytes": report.plan.disk.total,
        "tasks": report.tasks,
        "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out,
        "seconds": round(report.seconds, 3),
        "bytes_per_second": round(report.bytes_in / max(report.seconds, 1e-9)),
        "stages": {name: round(spent, 3) for name, spent in report.stages.items()},
        "verified": report.plan.choices.verify,
        "notes": list(report.plan.source.notes),
    }


def _sentence(document: dict[str, Any]) -> str:
    sizes = f"{size_text(document['bytes_in'])} -> {size_text(document['bytes_out'])}"
    verified = "verified" if document["verified"] else "not verified"
    speed = f"{size_text(document['bytes_per_second'])}/s"
    notes = "".join(f"\n  note: {note}" for note in document["notes"])
    return f"{document['out']}: {sizes}, {document['seconds']:.1f} s, {speed}, {verified}{notes}"


@show.command
def verify(
    folder: Result,
    against: Annotated[Path | None, typer.Option(help="The source: compare every sample.", exists=True)] = None,
    as_json: Json = False,
) -> None:
    """Check a result: manifest, headers, every block. With --against also every sample."""
    from converters.verify import verify as look

    problems = look(folder, against)
    document = {"ok": not problems, "problems": problems, "against": against and str(against)}
    compared = f" and equals {against}" if against else ""
    text = "\n".join(problems) or f"{folder} is whole{compared}"
    ending.result(document, text, as_json=as_json)
    if problems:
        raise typer.Exit(ending.EXIT_FAILED)


@show.command
def info(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A result, an IDX dataset, or files to convert.", exists=True)
    ],
    sensor: Annotated[str, typer.Option(help="What the files are; else their content tells.")] = "",
    param: Param = None,
    as_json: Json = False,
) -> None:
    """What a result holds, or what files would become. By their headers, with these parameters."""
    from cluster.portrait import portrait
    from converters.info import info as look
    from converters.survey import is_result, survey
    from scray.sensors import read_sensor

    parameters = read_parameters(param or [])
    if is_result(path) and not parameters and not sensor:
        found = look(path)
    else:
        found = survey(path, read_sensor(sensor) if sensor else "", parameters)
    ending.result(found, portrait(found), as_json=as_json)
