"""The plan: everything a conversion will do, as immutable data, before a sample is read.

A for-loop, a thread pool and Ray execute the same plan and produce the same bytes. The digest covers what decides
those bytes (inputs, parameters, geometry, codec, version) and nothing else: not memory, workers or bricks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from converters import bricks
from converters.axes import timed
from converters.bricks import Layout
from converters.grid import DEFAULT_FILE_BYTES, Grid, grids_for
from converters.mapplan import map_bytes, map_name, shared_names
from converters.task import Task, grid_tasks, link_tasks, map_tasks
from converters.volume import Source, Volume
from scray.errors import BadParameter
from scray.idx import codecs
from scray.idx.header import Header
from scray.manifest import FileDigest
from scray.parameters import switched

ENGINE_VERSION = 1  # raise it when the same input would give other bytes
MANY_STEPS = 10_000
SMALL_STEP_BYTES = 1 << 20


@dataclass(frozen=True)
class Disk:
    """Bytes the conversion needs on disk at its worst, by what holds them."""

    output: int = 0
    residual: int = 0
    scratch: int = 0
    maps: int = 0

    @property
    def total(self) -> int:
        return self.output + self.residual + self.scratch + self.maps


@dataclass(frozen=True)
class Choices:
    """What the caller decides; `memory_bytes`, `workers` and `sandbox` change no byte of the result."""

    codec: str = "zip"
    profile: str = "local"
    memory_bytes: int = 1 << 30
    workers: int = 1
    file_bytes: int = DEFAULT_FILE_BYTES
    verify: bool = True
    sandbox: str = "auto"  # how the processes are sealed off that read the files: auto, required or off
    memmaps: str = ""  # the folder for memory maps of 4-D dashboards; none are written where it is empty


@dataclass(frozen=True)
class Plan:
    """See the module; `task(id)` finds a task, `folder` names the data folders of the result."""

    root: str  # where the inputs lie
    sensor: str
    inputs: tuple[FileDigest, ...]
    parameters: dict[str, Any]
    source: Source
    choices: Choices
    grids: tuple[Grid, ...]
    tasks: tuple[Task, ...]
    disk: Disk
    digest: str = ""
    version: int = field(default=ENGINE_VERSION)

    @property
    def folder(self) -> str:
        return self.digest[:8]

    @cached_property
    def _by_id(self) -> dict[str, Task]:
        return {task.id: task for task in self.tasks}

    @cached_property
    def _followers(self) -> dict[str, list[Task]]:
        found: dict[str, list[Task]] = {}
        for task in self.tasks:
            for before in task.after:
                found.setdefault(before, []).append(task)
        return found

    def followers(self, task_id: str) -> list[Task]:
        """The tasks that need this one's mark."""
        return self._followers.get(task_id, [])

    def task(self, task_id: str) -> Task:
        return self._by_id[task_id]

    def volumes(self, grid: Grid) -> tuple[Volume, ...]:
        return tuple(self.source.volumes[i] for i in grid.volumes)

    def header(self, grid: Grid) -> Header:
        """The header of a grid without minima and maxima."""
        return grid.header(self.choices.codec, self.folder)

    def to_json(self) -> bytes:
        return _PLAN.dump_json(self)

    @staticmethod
    def from_json(text: bytes) -> Plan:
        return _PLAN.validate_json(text)

    @staticmethod
    def load(staging: Path) -> Plan:
        return Plan.from_json((staging / "plan.json").read_bytes())


_PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)


def make_plan(
    root: Path,
    sensor: str,
    inputs: Iterable[FileDigest],
    parameters: Mapping[str, Any],
    source: Source,
    choices: Choices,
) -> Plan:
    """The plan for a probed source. Raises NeverFits with the numbers, BadParameter, Unsupported."""
    source = replace(source, volumes=tuple(timed(v, parameters, _many(v)) for v in source.volumes))
    choices = _chosen(choices, parameters, root)
    grids: list[Grid] = []
    tasks: list[Task] = []
    disk = Disk()
    for number, bare in enumerate(grids_for(source.volumes, choices.profile, choices.file_bytes)):
        volumes = tuple(source.volumes[i] for i in bare.volumes)
        layout = bricks.choose_layout(bare, volumes, choices.memory_bytes, choices.workers)
        cut = replace(
            bare,
            depth=layout.depth,
            fan=bricks.merge_fan(bare, layout.depth, bricks.budget_bytes(bare, volumes, choices.memory_bytes)),
            strategy=layout.strategy,
            amplification=round(layout.amplification, 4),
        )
        grids.append(cut)
        tasks.extend(grid_tasks(number, cut, layout, source.volumes, choices.memory_bytes))
        disk = _add_disk(disk, cut, layout)
    tasks.extend(link_tasks(source))
    source, mapped = _mapped(source) if choices.memmaps else (source, [])
    before = tuple(tasks)
    for index in mapped:
        tasks.extend(map_tasks(index, source.volumes[index], choices.memory_bytes, before))
    disk = replace(disk, maps=2 * sum(map_bytes(source.volumes[i]) for i in mapped))  # in parts, and joined
    plan = Plan(str(root), sensor, tuple(inputs), dict(parameters), source, choices, tuple(grids), tuple(tasks), disk)
    return replace(plan, digest=_digest(plan))


def _mapped(source: Source) -> tuple[Source, list[int]]:
    """Which volumes get a memory map, and the source with a note on names that would be those of several."""
    shared = shared_names(source.volumes)
    told = [f"{name} is not written: it would be the memory map of {' and of '.join(v)}" for name, v in shared.items()]
    mapped = [i for i, volume in enumerate(source.volumes) if map_name(volume) not in {"", *shared}]
    return replace(source, notes=(*source.notes, *told)), mapped


def _chosen(choices: Choices, parameters: Mapping[str, Any], root: Path) -> Choices:
    """Codec, profile and memmaps named by a conversion parameter win; codec and profile must exist."""
    if parameters.get("memmaps") not in (None, ""):
        folder = (choices.memmaps or str(root)) if switched(parameters, "memmaps") else ""
        choices = replace(choices, memmaps=folder)
    codec = str(parameters.get("codec", choices.codec))
    profile = str(parameters.get("profile", choices.profile))
    if profile not in ("local", "cloud"):
        raise BadParameter(f"profile {profile!r} is not one of local, cloud")
    if profile == "cloud" and codecs.profile(codec).word != "zip":
        raise BadParameter("profile cloud needs a zip codec (zip or small): readers over HTTP assume it")
    return replace(choices, codec=codec, profile=profile)


def _many(volume: Volume) -> bool:
    """Very many small time steps become the slowest axis of one volume, where nothing else is said."""
    first_in_file = not volume.turned
    return volume.steps > MANY_STEPS and volume.step_bytes < SMALL_STEP_BYTES and first_in_file


def _add_disk(disk: Disk, grid: Grid, layout: Layout) -> Disk:
    raw = grid.geometry.padded_samples() * grid.sample_bytes * grid.steps
    residual = int(raw * bricks.pass_up(grid, layout.depth) * 2)
    scratch = grid.step_bytes * grid.steps if layout.rechunk else 0
    return Disk(disk.output + raw, disk.residual + residual, disk.scratch + scratch)


def _digest(plan: Plan) -> str:
    """SHA-256 over what decides the bytes of the result, as canonical JSON."""
    codec = plan.choices.codec
    covered = {
        "version": plan.version,
        "sensor": plan.sensor,
        "inputs": [(f.path, f.size, f.root) for f in plan.inputs],
        "parameters": plan.parameters,
        "volumes": [asdict(v) for v in plan.source.volumes],
        "links": plan.source.links,
        "grids": [plan_bytes(grid) for grid in plan.grids],
        "codec": (codec, codecs.profile(codec).implementation, codecs.profile(codec).version),
    }
    return hashlib.sha256(json.dumps(covered, sort_keys=True, default=str).encode()).hexdigest()


def plan_bytes(grid: Grid) -> dict[str, Any]:
    """The part of a grid that decides bytes: not how it is cut into bricks."""
    free = {"depth", "fan", "strategy", "amplification", "geometry"}
    return {key: value for key, value in asdict(grid).items() if key not in free}
