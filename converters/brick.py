"""The kernel: writes the files of kd-nodes from samples in memory, checks them, and keeps each node's residual.

A brick reads its samples from the source (or from scratch), a merge from the residuals of its children; both then do
the same to them.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from converters import registry, scatter
from converters.compare import check_blocks
from converters.extremes import widen
from converters.fill import fill_of
from converters.grid import Grid
from converters.mark import Extremes, Mark
from converters.plan import Plan
from converters.task import Task
from converters.volume import Array, Box, raw_bytes
from scray.idx.geometry import Geometry, Shape
from scray.idx.header import Header
from scray.idx.writer import Gatherer, Written, write_block, write_file
from scray.stopwatch import Stopwatch
from scray.storage import fsync_folder, let_go, write_atomic


@dataclass
class Bench:
    """What one task works with: its plan and staging, and what it has written so far."""

    plan: Plan
    staging: Path
    task: Task
    watch: Stopwatch = field(default_factory=Stopwatch)
    files: list[Written] = field(default_factory=list)
    minimum: Extremes = field(default_factory=dict)
    maximum: Extremes = field(default_factory=dict)
    samples: int = 0
    alive: Callable[[], None] = lambda: None  # called between files: progress for whoever watches

    @property
    def grid(self) -> Grid:
        return self.plan.grids[self.task.grid]

    @property
    def tree(self) -> Path:
        return self.staging / "tree"

    def header(self) -> Header:
        return self.plan.header(self.grid)

    def mark(self, kept: tuple[Written, ...] = ()) -> Mark:
        """What was done, after the names of all files are on disk."""
        for folder in {(self.tree / file.path).parent for file in self.files}:
            fsync_folder(folder)
        self.watch.lap("write")
        return Mark(
            task=self.task.id,
            files=tuple(self.files),
            kept=kept,
            minimum=self.minimum,
            maximum=self.maximum,
            samples=self.samples,
            read_bytes=self.task.read_bytes,
            seconds=self.watch.seconds,
            verified=self.plan.choices.verify,
        )


# --- the two kinds of task -----------------------------------------------------------------------


def brick(bench: Bench) -> Mark:
    """Read the task's box, `batch` steps at a time, and write every node in it."""
    grid, task = bench.grid, bench.task
    residual = _Residual(bench)
    for start in range(task.steps[0], task.steps[1], task.batch):
        steps = (start, min(start + task.batch, task.steps[1]))
        arrays = _read(bench, steps)
        bench.watch.lap("read")
        for name, array, volume in zip(grid.fields, arrays, bench.plan.volumes(grid), strict=True):
            bench.samples += widen(bench.minimum, bench.maximum, name, array, len(grid.shape), fill_of(volume))
        bench.watch.lap("extremes")
        for step in range(*steps):
            for node in task.nodes:
                views = [a[step - start][_within(grid.geometry.node_box(node), task.box)] for a in arrays]
                residual.add(_write_node(bench, grid.geometry, node, views, step))
    kept = residual.keep()
    shutil.rmtree(bench.staging / "scratch" / task.id, ignore_errors=True)
    return bench.mark(kept)


def merge(bench: Bench) -> Mark:
    """Paste the residuals of the children together and write the files of their parent, one step after another."""
    task, grid = bench.task, bench.grid
    parent, children = task.nodes[0], task.nodes[1:]
    coarse = grid.geometry.coarsened(grid.geometry.residual_levels(children[0].bit_length() - 1))
    residual = _Residual(bench)
    for step in range(*task.steps):
        arrays = [_paste(bench, coarse, parent, children, step, f) for f in range(len(grid.fields))]
        bench.watch.lap("read")
        residual.add(_write_node(bench, coarse, parent, arrays, step))
    return bench.mark(residual.keep())


# --- reading -------------------------------------------------------------------------------------


def _read(bench: Bench, steps: tuple[int, int]) -> list[Array]:
    """The task's box of each field: (steps, z, y, x[, components])."""
    task = bench.task
    if task.after:
        return [scatter.gather(bench.plan, bench.staging, task, index, steps) for index in bench.grid.volumes]
    arrays = []
    for volume in bench.plan.volumes(bench.grid):
        with registry.open_volume(Path(bench.plan.root), volume) as reader:
            arrays.append(reader.read_steps(steps, task.box))
        bench.alive()
    return arrays


def _within(box: Box, outer: Box) -> tuple[slice, ...]:
    return tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(box, outer, strict=True))


def _paste(bench: Bench, coarse: Geometry, parent: int, children: tuple[int, ...], step: int, index: int) -> Array:
    grid = bench.grid
    box = coarse.node_box(parent)
    tail = (grid.components[index],) if grid.components[index] > 1 else ()
    whole = np.empty(tuple(b - a for a, b in box) + tail, grid.dtypes[index])
    owners = {node: bench.plan.task(t) for t in bench.task.after for node in _written_nodes(bench.plan.task(t))}
    for child in children:
        part = _load(bench, owners[child], child, step, index)
        whole[_within(coarse.node_box(child), box)] = part
    return whole


# --- writing -------------------------------------------------------------------------------------


def _write_node(bench: Bench, geometry: Geometry, node: int, arrays: list[Array], step: int) -> list[Array]:
    """Write the files that a node owns; the root also owns file 0. Returns its residual, empty for the root."""
    origin = tuple(a for a, _ in geometry.node_box(node))
    fields = [Gatherer(geometry, a, origin) for a in arrays]
    files, before = list(geometry.files(node)), len(bench.files)
    if node == 1:
        files.insert(0, 0)
    for file in files:
        _write(bench, geometry, file, fields, step)
        bench.watch.lap("write")
        if bench.plan.choices.verify:
            _check(bench, geometry, file, origin, arrays, step)
        bench.watch.lap("verify")
        bench.alive()
    if node == 1:
        return []
    for written in bench.files[before:]:
        let_go(bench.tree / written.path)
    stride = geometry.residual_stride(node.bit_length() - 1)
    return [np.ascontiguousarray(a[tuple(slice(None, None, s) for s in stride)]) for a in arrays]


def _write(bench: Bench, geometry: Geometry, file: int, fields: list[Gatherer], step: int) -> None:
    """One file of all fields, or, in a cloud profile, one file a field."""
    header, grid, codec = bench.header(), bench.grid, bench.plan.choices.codec
    first = file << geometry.file_bits
    names = [grid.path(header.block_file(first, name, step)) for name in grid.fields]
    if not grid.arco:
        _make_folders(bench.tree, grid, names[0])
        bench.files.append(write_file(bench.tree, names[0], geometry, file, fields, codec))
        return
    for name, gatherer in zip(names, fields, strict=True):
        _make_folders(bench.tree, grid, name)
        bench.files.append(write_block(bench.tree, name, gatherer, first, codec))


def _make_folders(tree: Path, grid: Grid, name: str) -> None:
    """The folders below the data folder, which only the plan step makes: a worker whose staging is gone must fail."""
    parts = Path(name).parts[:-1]
    known = len(Path(grid.path("data")).parts)
    for depth in range(known, len(parts)):
        tree.joinpath(*parts[: depth + 1]).mkdir(exist_ok=True)


def _check(bench: Bench, geometry: Geometry, file: int, origin: Shape, arrays: list[Array], step: int) -> None:
    """Read the file back and compare; `origin` counts in the samples of `geometry`, which may be a coarsened one."""
    stride = bench.grid.geometry.extent(geometry.levels, bench.grid.geometry.levels)
    start = tuple(a * s for a, s in zip(origin, stride, strict=True))
    fields = dict(enumerate(arrays))
    for group in [{i: a} for i, a in fields.items()] if bench.grid.arco else [fields]:
        check_blocks(
            bench.tree / bench.grid.name, bench.header(), step, file << geometry.file_bits, group, start, stride
        )


# --- residuals -----------------------------------------------------------------------------------


class _Residual:
    """The residuals of a task, in one file: step by step, node by node, field by field, raw."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.parts: list[Array] = []

    def add(self, arrays: list[Array]) -> None:
        self.parts.extend(arrays)

    def keep(self) -> tuple[Written, ...]:
        if not self.parts:
            return ()
        name = f"residual/{self.bench.task.id}.raw"
        write_atomic(self.bench.staging / name, (raw_bytes(p) for p in self.parts))
        self.bench.watch.lap("residual")
        return (Written(name, sum(p.nbytes for p in self.parts), ""),)


def _written_nodes(task: Task) -> tuple[int, ...]:
    return task.nodes[:1] if task.kind == "merge" else task.nodes


def _residual_shape(grid: Grid, node: int) -> Shape:
    coarse = grid.geometry.coarsened(grid.geometry.residual_levels(node.bit_length() - 1))
    return tuple(b - a for a, b in coarse.node_box(node))


def _parts(grid: Grid, task: Task) -> Iterator[tuple[int, int, Shape, int]]:
    """(node, field, shape with components, bytes) of one step in a task's residual file."""
    for node in _written_nodes(task):
        shape = _residual_shape(grid, node)
        for index, (dtype, components) in enumerate(zip(grid.dtypes, grid.components, strict=True)):
            whole = shape + ((components,) if components > 1 else ())
            yield node, index, whole, math.prod(whole) * np.dtype(dtype).itemsize


def _load(bench: Bench, owner: Task, node: int, step: int, index: int) -> Array:
    parts = list(_parts(bench.grid, owner))
    offset = (step - owner.steps[0]) * sum(size for *_, size in parts)
    for at, number, shape, size in parts:
        if (at, number) == (node, index):
            with (bench.staging / "residual" / f"{owner.id}.raw").open("rb") as file:
                file.seek(offset)
                data: Array = np.fromfile(file, bench.grid.dtypes[index], math.prod(shape))
            return data.reshape(shape)
        offset += size
    raise KeyError(f"{owner.id} holds no residual of node {node}")
