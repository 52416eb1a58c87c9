"""The units of work of a plan, each seconds long: what it reads and writes, what it waits for, what it needs.

Of a grid: scatters (where source chunks lie across bricks), bricks, and the merges of the tree above them. Of linked
files: links and checks. Of memory maps: slabs, and the task that joins them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from converters import bricks
from converters.bricks import Layout
from converters.grid import Grid
from converters.mapplan import cell, cell_bytes, slabs
from converters.volume import Box, Source, Volume
from converters.volume import grid as boxes

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


def grid_tasks(number: int, grid: Grid, layout: Layout, volumes: tuple[Volume, ...], memory_bytes: int) -> list[Task]:
    """All tasks that write grid `number`: scatters where it is rechunked, bricks, and the merges above them."""
    members = [volumes[i] for i in grid.volumes]
    budget = bricks.budget_bytes(grid, members, memory_bytes)
    spans = [(a, min(a + layout.steps, grid.steps)) for a in range(0, grid.steps, layout.steps)]
    scatters = _scatter_tasks(number, grid, volumes, budget) if layout.rechunk else []
    tasks = list(scatters)
    for span in spans:
        leaves = _brick_tasks(number, grid, layout, span, scatters, bricks.held_bytes(members))
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
                        memory_bytes=bricks.BASE_BYTES + held + bricks.held_bytes([volume]),
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


def link_tasks(source: Source) -> list[Task]:
    """The tasks that put linked files in place, and those that then read every block of them."""
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


def map_tasks(index: int, volume: Volume, memory_bytes: int, before: Sequence[Task]) -> list[Task]:
    """The slabs of a memory map, and the task that joins them after all that may still fail."""
    budget = max(1, memory_bytes - bricks.BASE_BYTES - bricks.chunk_bytes([volume]))
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
