"""The plan: everything a conversion will do, as immutable data, before a sample is read.

A for-loop, a thread pool and Ray execute the same plan and produce the same bytes. The digest covers what decides
those bytes (inputs, parameters, geometry, codec, version) and nothing else: not memory, workers or bricks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from converters import bricks
from converters.bricks import Layout
from converters.grid import DEFAULT_FILE_BYTES, Grid, grids_for
from converters.mapplan import cell, cell_bytes, map_bytes, map_name, slabs
from converters.switch import switched
from converters.volume import MAX_SPACE_AXES, Box, Role, Source, Volume
from converters.volume import grid as boxes
from scray.errors import BadParameter
from scray.idx import codecs
from scray.idx.header import Header
from scray.manifest import FileDigest

ENGINE_VERSION = 1  # raise it when the same input would give other bytes
MANY_STEPS = 10_000
SMALL_STEP_BYTES = 1 << 20
LINKS_A_TASK = 1000
CHECK_BYTES = 4 << 30  # samples that one task of checking reads, about
MAX_CHECKS = 256  # tasks a header

Kind = Literal["scatter", "brick", "merge", "link", "check", "map", "place"]


@dataclass(frozen=True)
class Task:
    """One unit of work, seconds long; `after` are the tasks whose marks it needs.

    scatter  reads `box` of volume `volume` and writes a raw segment for each brick it meets
    brick    reads `box` (or its segments) and writes the files of `nodes`, and their residuals
    merge    pastes the residuals of the children of its node and writes its files
    link     puts the input files `first`…`last` in place
    check    reads the blocks of linked header `first`: part `part[0]` of `part[1]`
    map      writes slab `box`, in source axes, of the memory map of `volume`, `batch` bytes at a time
    place    joins the slabs of that map beside the input, when everything else is done
    """

    id: str
    kind: Kind
    grid: int = 0
    volume: int = 0
    steps: tuple[int, int] = (0, 1)
    batch: int = 1  # time steps read together
    box: Box = ()
    nodes: tuple[int, ...] = ()
    after: tuple[str, ...] = ()
    memory_bytes: int = bricks.BASE_BYTES
    read_bytes: int = 0
    first: int = 0
    last: int = 0
    part: tuple[int, int] = (0, 1)


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
    """What the caller decides; `memory_bytes` and `workers` change no byte of the result."""

    codec: str = "zip"
    profile: str = "local"
    memory_bytes: int = 1 << 30
    workers: int = 1
    file_bytes: int = DEFAULT_FILE_BYTES
    verify: bool = True
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
    source = replace(source, volumes=tuple(_timed(v, str(parameters.get("time", ""))) for v in source.volumes))
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
        tasks.extend(_grid_tasks(number, cut, layout, source.volumes, choices))
        disk = _add_disk(disk, cut, layout)
    tasks.extend(_link_tasks(source))
    mapped = [i for i, v in enumerate(source.volumes) if map_name(v)] if choices.memmaps else []
    tasks.extend([task for index in mapped for task in _map_tasks(index, source.volumes[index], choices, tasks)])
    disk = replace(disk, maps=2 * sum(map_bytes(source.volumes[i]) for i in mapped))  # in parts, and joined
    plan = Plan(str(root), sensor, tuple(inputs), dict(parameters), source, choices, tuple(grids), tuple(tasks), disk)
    return replace(plan, digest=_digest(plan))


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


def _timed(volume: Volume, wish: str) -> Volume:
    """Very many small time steps become the slowest axis of one volume; parameter `time` overrides."""
    if wish not in ("", "steps", "axis"):
        raise BadParameter(f"time={wish!r} is not one of steps, axis")
    axes = volume.axes_of("time")
    many = volume.steps > MANY_STEPS and volume.step_bytes < SMALL_STEP_BYTES
    if not axes or wish == "steps" or not (many or wish == "axis"):
        return volume
    space = volume.axes_of("space")
    if len(axes) + len(space) > MAX_SPACE_AXES or max(axes) > min(space, default=max(axes)):
        return volume
    roles: tuple[Role, ...] = tuple("space" if r == "time" else r for r in volume.roles)
    return replace(volume, roles=roles)


def _grid_tasks(number: int, grid: Grid, layout: Layout, volumes: tuple[Volume, ...], choices: Choices) -> list[Task]:
    members = [volumes[i] for i in grid.volumes]
    budget = bricks.budget_bytes(grid, members, choices.memory_bytes)
    spans = [(a, min(a + layout.steps, grid.steps)) for a in range(0, grid.steps, layout.steps)]
    scatters = _scatter_tasks(number, grid, volumes, budget) if layout.rechunk else []
    tasks = list(scatters)
    for span in spans:
        leaves = _brick_tasks(number, grid, layout, span, scatters, bricks.chunk_bytes(members))
        tasks.extend(leaves)
        tasks.extend(_merge_tasks(number, grid, span, leaves))
    return tasks


def _scatter_tasks(number: int, grid: Grid, volumes: tuple[Volume, ...], budget: int) -> list[Task]:
    tasks: list[Task] = []
    for index in grid.volumes:
        volume = volumes[index]
        cell = bricks.scatter_cell(volume, budget)
        for start in range(0, grid.steps, volume.step_chunk):
            span = (start, min(start + volume.step_chunk, grid.steps))
            for box in boxes(volume.space, cell):
                held = _samples(box) * volume.sample_bytes * (span[1] - span[0])
                tasks.append(
                    Task(
                        id=f"g{number}-scatter-{len(tasks)}",
                        kind="scatter",
                        grid=number,
                        volume=index,
                        steps=span,
                        batch=span[1] - span[0],
                        box=box,
                        memory_bytes=bricks.BASE_BYTES + held + bricks.chunk_bytes([volume]),
                        read_bytes=held,
                    )
                )
    return tasks


def _brick_tasks(
    number: int, grid: Grid, layout: Layout, span: tuple[int, int], scatters: list[Task], chunk: int
) -> list[Task]:
    tasks = []
    for piece in bricks.pieces(grid, layout):
        held = _samples(piece.box) * grid.sample_bytes
        needed = tuple(s.id for s in scatters if _overlap(s.steps, span) and all(map(_overlap, s.box, piece.box)))
        tasks.append(
            Task(
                id=f"g{number}-t{span[0]}-n{piece.nodes[0]}",
                kind="brick",
                grid=number,
                steps=span,
                batch=layout.batch,
                box=piece.box,
                nodes=piece.nodes,
                after=needed,
                memory_bytes=bricks.BASE_BYTES + held * layout.batch + min(grid.file_bytes, held) + chunk,
                read_bytes=held * (span[1] - span[0]),
            )
        )
    return tasks


def _merge_tasks(number: int, grid: Grid, span: tuple[int, int], leaves: list[Task]) -> list[Task]:
    """The tree above the bricks: each round climbs `fan` levels, the last ends at the root."""
    tasks: list[Task] = []
    owners = {node: leaf.id for leaf in leaves for node in leaf.nodes}
    depth = grid.depth
    while depth:
        above = max(0, depth - grid.fan)
        parents: dict[int, list[int]] = {}
        for child in owners:
            parents.setdefault(child >> (depth - above), []).append(child)
        merged: dict[int, str] = {}
        for node, children in parents.items():
            task_id = f"g{number}-t{span[0]}-m{node}"
            held = grid.file_bytes * min(len(children), 1 << (depth - above))
            tasks.append(
                Task(
                    id=task_id,
                    kind="merge",
                    grid=number,
                    steps=span,
                    nodes=(node, *children),
                    after=tuple(dict.fromkeys(owners[c] for c in children)),
                    memory_bytes=bricks.BASE_BYTES + held + grid.file_bytes,
                    read_bytes=held * (span[1] - span[0]),
                )
            )
            merged[node] = task_id
        owners, depth = merged, above
    return tasks


def _link_tasks(source: Source) -> list[Task]:
    spans = [(a, min(a + LINKS_A_TASK, len(source.links))) for a in range(0, len(source.links), LINKS_A_TASK)]
    links = [Task(id=f"link-{a}", kind="link", first=a, last=b) for a, b in spans]
    after = tuple(task.id for task in links)
    return links + [check for number, _ in enumerate(source.linked) for check in _check_tasks(source, number, after)]


def _check_tasks(source: Source, number: int, after: tuple[str, ...]) -> Iterator[Task]:
    """Every block of a linked header, in parts of some gigabytes."""
    linked = source.linked[number]
    parts = max(1, min(MAX_CHECKS, linked.raw_bytes // CHECK_BYTES))
    for part in range(parts):
        yield Task(
            id=f"check-{number}-{part}",
            kind="check",
            first=number,
            part=(part, parts),
            after=after,
            memory_bytes=bricks.BASE_BYTES + 3 * linked.block_bytes,  # stored, decoded, reordered
            read_bytes=linked.raw_bytes // parts,
        )


def _map_tasks(index: int, volume: Volume, choices: Choices, before: list[Task]) -> list[Task]:
    """The slabs of a memory map, and the task that joins them after all that may still fail."""
    budget = max(1, choices.memory_bytes - bricks.BASE_BYTES - bricks.chunk_bytes([volume]))
    tasks = []
    for number, slab in enumerate(slabs(volume)):
        held = cell_bytes(volume, cell(volume, slab, budget))
        tasks.append(
            Task(
                id=f"map-{index}-{number}",
                kind="map",
                volume=index,
                box=slab,
                batch=budget,
                memory_bytes=bricks.BASE_BYTES + held + bricks.chunk_bytes([volume]),
                read_bytes=_samples(slab) * 4,
            )
        )
    needed = {name for task in before for name in task.after}
    ends = tuple(task.id for task in before if task.id not in needed and task.kind != "place")
    parts = tuple(task.id for task in tasks)
    return [*tasks, Task(id=f"place-{index}", kind="place", volume=index, after=(*parts, *ends))]


def _samples(box: Box) -> int:
    total = 1
    for start, stop in box:
        total *= stop - start
    return total


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


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
