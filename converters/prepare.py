"""From an upload to a plan: find the files, probe them, plan, check the disk, make the staging folder.

The staging folder holds plan.json, tree/ (what becomes the result), marks/, residual/ and scratch/.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters import other, registry
from converters.mapplan import is_map
from converters.natural import natural_key
from converters.plan import Choices, Plan, make_plan
from converters.visible import visible
from converters.volume import Source
from scray.errors import BadRequest, EmptyInput, NeverFits, NoSpace
from scray.manifest import FileDigest
from scray.sizes import size_text
from scray.storage import free_bytes, fsync_folder, inside, write_atomic


@dataclass(frozen=True)
class Job:
    """What to convert: `files` relative to `root`, natural order; parameters as the user gave them.

    `packed` is the job that this one was unpacked from, where archives were.
    """

    root: Path
    files: tuple[str, ...]
    sensor: str
    parameters: dict[str, Any] = field(default_factory=dict)
    choices: Choices = field(default_factory=Choices)
    packed: Job | None = None


def find_files(paths: Iterable[Path]) -> tuple[Path, tuple[str, ...]]:
    """The common folder of some files and folders, and every file in them, natural order.

    Hidden files, `__MACOSX` and memory maps of other files are left out. Raises BadRequest for a path that is not
    there or has a name that is no text, EmptyInput for no file.
    """
    given = [path.absolute() for path in paths]
    for path in given:
        if not path.exists():
            raise BadRequest(f"{path} does not exist.")
    root = _common_root(given)
    files = [file for path in given for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    names = {file.relative_to(root).as_posix() for file in files if visible(file.relative_to(root).as_posix())}
    names = {name for name in names if not is_map(name, names)}
    if not names:
        raise EmptyInput(f"There is no file in {', '.join(map(str, given))}.")
    for name in names:
        _check_name(root, name)
    return root, tuple(sorted(names, key=natural_key))


def _check_name(root: Path, name: str) -> None:
    inside(root, Path(name))
    if name.encode(errors="replace").decode() != name:
        raise BadRequest(f"The name of {name!r} is no UTF-8 text; rename the file.")


def _common_root(given: list[Path]) -> Path:
    if len(given) == 1 and given[0].is_dir():
        return given[0]
    root = given[0].parent
    while not all(path.is_relative_to(root) for path in given):
        root = root.parent
    return root


def probe(job: Job) -> tuple[Job, Source]:
    """What is in the job, and the job it is in: archives that hold nothing known are kept, not what they hold.

    Raises as `registry.probe` does.
    """
    source = registry.probe(job.sensor, job.root, job.files, job.parameters)
    if source.format == other.FORMAT and job.packed:
        return job.packed, other.package(job.packed.files, source.metadata["why"], job.parameters)
    return job, source


def prepare(job: Job, inputs: tuple[FileDigest, ...], staging_parent: Path) -> Path:
    """Probe, plan and make the staging folder; the same job finds its folder, and what it finished, again.

    Raises what probing and planning raise, and NoSpace or NeverFits, with the numbers, before reading a sample.
    """
    job, source = probe(job)
    plan = make_plan(job.root, job.sensor, inputs, job.parameters, source, job.choices)
    staging = staging_parent / _staging_key(plan)
    if not (staging / "plan.json").exists():
        _check_disk(plan, staging_parent)
        _make_folders(staging, plan)
        write_atomic(staging / "plan.json", plan.to_json())
    return staging


def _staging_key(plan: Plan) -> str:
    """The plan's digest and the times of its inputs: a file that was touched gets a fresh folder.

    Archives do not lie in the root, but in its name is what they are.
    """
    paths = [(f.path, Path(plan.root) / f.path) for f in plan.inputs]
    times = [(name, path.stat().st_mtime_ns) for name, path in paths if path.exists()]
    choices = plan.choices
    covered = json.dumps([plan.digest, plan.root, times, choices.verify, choices.memmaps, choices.sandbox]).encode()
    return hashlib.sha256(covered).hexdigest()[:32]


def _check_disk(plan: Plan, parent: Path) -> None:
    need = plan.disk.total
    free = free_bytes(parent)
    if need <= free:
        return
    while not parent.exists():
        parent = parent.parent
    disk = plan.disk
    numbers = (
        f"The conversion needs up to {size_text(need)} on disk (result {size_text(disk.output)}, residuals "
        f"{size_text(disk.residual)}, scratch {size_text(disk.scratch)}, memory maps {size_text(disk.maps)}) and "
        f"{size_text(free)} are free."
    )
    if need > shutil.disk_usage(parent).total:
        raise NeverFits(f"{numbers} The whole disk is smaller than that.")
    raise NoSpace(numbers)


def _make_folders(staging: Path, plan: Plan) -> None:
    """Every folder that a worker may not make itself: the data folders and those of the time steps."""
    for name in ("tree", "marks", "residual", "scratch", "maps"):
        (staging / name).mkdir(parents=True, exist_ok=True)
    for grid in plan.grids:
        header = plan.header(grid)
        for step in range(grid.steps):
            for name in grid.fields if grid.arco else grid.fields[:1]:
                first = grid.path(header.block_file(0, name, step))
                (staging / "tree" / first).parent.mkdir(parents=True, exist_ok=True)
    for _, name in plan.source.links:
        (staging / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
    fsync_folder(staging)
