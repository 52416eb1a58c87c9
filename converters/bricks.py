"""How a grid is cut into bricks and read: the cheapest of a few layouts, by one stated cost.

direct  a task reads one kd-node and writes it; slab  a task reads the whole extent of some axes once and writes every
node in it; rechunk  tasks decode each source chunk once into raw segments on scratch, and bricks read those.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from converters.grid import Grid
from converters.volume import PACKED, PIECE_BYTES, Box, Volume
from scray.errors import NeverFits
from scray.idx.geometry import Shape
from scray.sizes import size_text

BASE_BYTES = 208 << 20  # an interpreter with numpy and the readers, and what they hold of a large file; measured
MAX_AMPLIFICATION = 1.25  # how often compressed bytes may be decoded, at most
DECODE_RATE = 300e6  # bytes a second and core: only the ratio of the four matters
ENCODE_RATE = 300e6
SCRATCH_RATE = 1.5e9
TASK_SECONDS = 0.1
TASK_BYTES = 256 << 20  # what makes a task of many small time steps last seconds
MAX_PASS_UP = 0.25
LEVELS_A_MERGE = 2
PIECE_COPIES = 3  # of a piece at once: as it is stored, which samples stand for nothing, and the new ones


@dataclass(frozen=True)
class Layout:
    """Bricks of one depth, and how many nodes a task reads at once: `full` axes are read over their whole extent."""

    depth: int
    full: frozenset[int]
    cell: Shape  # z y x of what one task reads
    batch: int  # time steps that are read together
    steps: int  # time steps a task
    amplification: float
    cost_seconds: float
    rechunk: bool = False

    @property
    def strategy(self) -> str:
        return "rechunk" if self.rechunk else "slab" if self.full else "direct"


def chunk_bytes(volumes: Iterable[Volume]) -> int:
    """The largest chunk that must be decoded whole."""
    packed = [v for v in volumes if v.compressed]
    chunks = [math.prod(v.space_chunks) * v.sample_bytes * v.step_chunk for v in packed]
    return max([*chunks, *(int(v.options.get(PACKED, 0)) for v in packed)], default=0)


def held_bytes(volumes: Iterable[Volume]) -> int:
    """What reading holds besides the samples that were asked for: a chunk, and pieces that are turned or replaced."""
    members = tuple(volumes)
    chunk = chunk_bytes(members)
    pieced = any(v.turned or v.fill for v in members)
    return chunk + (PIECE_COPIES * max(PIECE_BYTES, chunk) if pieced else 0)


def budget_bytes(grid: Grid, volumes: Iterable[Volume], memory_bytes: int) -> int:
    """What a task may hold of the source: its memory less the interpreter, one file, and what reading holds."""
    return memory_bytes - BASE_BYTES - grid.file_bytes - held_bytes(volumes)


def choose_layout(grid: Grid, volumes: tuple[Volume, ...], memory_bytes: int, workers: int) -> Layout:
    """The layout of least cost whose tasks fit the memory; raises NeverFits, with the numbers, when none does."""
    budget = budget_bytes(grid, volumes, memory_bytes)
    layouts = [
        lay for lay in _layouts(grid, volumes, budget, workers) if lay.rechunk or lay.amplification <= MAX_AMPLIFICATION
    ]
    if not layouts:
        raise NeverFits(_why(grid, volumes, memory_bytes, budget))
    return min(layouts, key=lambda lay: (lay.cost_seconds, lay.depth))


def _why(grid: Grid, volumes: tuple[Volume, ...], memory_bytes: int, budget: int) -> str:
    """What does not fit, with numbers."""
    chunk = chunk_bytes(volumes)
    if chunk and chunk > budget:
        return (
            f"The source is packed in pieces that unpack to {size_text(chunk)} each and are only read whole: "
            f"that takes {size_text(chunk + memory_bytes - budget)} of memory and a task may use "
            f"{size_text(memory_bytes)}. Store it in smaller chunks, or raise SCRAY_TASK_MEMORY (or --memory)."
        )
    least = max(_least_bytes(grid), 2 * grid.file_bytes) + memory_bytes - budget
    return (
        f"The smallest brick of {'×'.join(map(str, reversed(grid.shape)))} needs {size_text(least)} of memory "
        f"and a task may use {size_text(memory_bytes)}: raise SCRAY_TASK_MEMORY (or --memory)."
    )


def deepest(grid: Grid) -> int:
    """The greatest depth at which a brick still owns a file of its own."""
    return max(0, grid.geometry.levels - grid.bits_per_block - grid.file_bits - 1)


def _least_bytes(grid: Grid) -> int:
    cell = _cell(grid, deepest(grid), frozenset())
    return math.prod(cell) * grid.sample_bytes


def _cell(grid: Grid, depth: int, full: frozenset[int]) -> Shape:
    node = grid.geometry.extent(depth, grid.geometry.levels)
    return tuple(
        n if axis in full else min(n, size) for axis, (n, size) in enumerate(zip(grid.shape, node, strict=True))
    )


def _layouts(grid: Grid, volumes: tuple[Volume, ...], budget: int, workers: int) -> Iterator[Layout]:
    axes = range(len(grid.shape))
    subsets = [frozenset(s) for size in range(len(grid.shape)) for s in combinations(axes, size)]
    for depth in range(deepest(grid) + 1):
        if depth and pass_up(grid, depth) > MAX_PASS_UP and depth > _first_depth(grid, budget):
            return
        if depth and not merge_fan(grid, depth, budget):
            return
        for full in subsets if depth else subsets[:1]:
            cell = _cell(grid, depth, full)
            step_bytes = math.prod(cell) * grid.sample_bytes
            if step_bytes <= budget:
                yield from _costed(grid, volumes, depth, full, cell, budget, workers)


def _first_depth(grid: Grid, budget: int) -> int:
    """The least depth whose bricks fit the memory."""
    fits = (d for d in range(deepest(grid) + 1) if math.prod(_cell(grid, d, frozenset())) * grid.sample_bytes <= budget)
    return next(fits, 0)


def pass_up(grid: Grid, depth: int) -> float:
    """The fraction of its samples that a brick cannot own: 2^(D+F+B-M)."""
    geometry = grid.geometry
    return min(1.0, 2.0 ** (geometry.residual_levels(depth) - geometry.levels)) if depth else 0.0


def _costed(
    grid: Grid,
    volumes: tuple[Volume, ...],
    depth: int,
    full: frozenset[int],
    cell: Shape,
    budget: int,
    workers: int,
) -> Iterator[Layout]:
    step_bytes = math.prod(cell) * grid.sample_bytes
    chunk = max(v.step_chunk for v in volumes)
    batch = max(1, min(chunk, grid.steps, budget // step_bytes))
    steps = min(grid.steps, batch * max(1, TASK_BYTES // (batch * step_bytes)))
    amplification = max((_amplification(v, cell, batch) for v in volumes if v.compressed), default=1.0)
    base = Layout(depth, full, cell, batch, steps, amplification, 0.0)
    yield replace(base, cost_seconds=_cost(grid, base, budget, workers))
    if not full and amplification > MAX_AMPLIFICATION and chunk_bytes(volumes) <= budget:
        scattered = replace(base, amplification=1.0, rechunk=True)
        yield replace(scattered, cost_seconds=_cost(grid, scattered, budget, workers))


def _amplification(volume: Volume, cell: Shape, batch: int) -> float:
    """How often the average sample is decoded when boxes of `cell` are read, `batch` steps at a time."""
    factor = 1.0
    for n, c, chunk in zip(volume.space, cell, volume.space_chunks, strict=True):
        factor *= sum(_covered(a, min(a + c, n), chunk, n) for a in range(0, n, c)) / n
    chunk = volume.step_chunk
    return factor * sum(_covered(a, min(a + batch, chunk), chunk, chunk) for a in range(0, chunk, batch)) / chunk


def _covered(start: int, stop: int, chunk: int, n: int) -> int:
    return min(-(-stop // chunk) * chunk, n) - start // chunk * chunk


def _cost(grid: Grid, layout: Layout, budget: int, workers: int) -> float:
    """Seconds until the last brick, with w workers: the work, spread over whole tasks, and the serial root."""
    total = grid.step_bytes * grid.steps
    tasks = math.prod(-(-n // c) for n, c in zip(grid.shape, layout.cell, strict=True)) * -(-grid.steps // layout.steps)
    passed = pass_up(grid, layout.depth)
    work = total * (layout.amplification / DECODE_RATE + 1 / ENCODE_RATE + 2 * passed / SCRATCH_RATE)
    work += 2 * total / SCRATCH_RATE if layout.rechunk else 0.0
    work += tasks * TASK_SECONDS
    root = (
        grid.file_bytes * (1 << merge_fan(grid, layout.depth, budget)) * grid.steps / ENCODE_RATE
        if layout.depth
        else 0.0
    )
    return work * -(-tasks // workers) / tasks + min(root, total / ENCODE_RATE) * (1 - 1 / workers)


def merge_fan(grid: Grid, depth: int, budget: int) -> int:
    """How many levels of the tree one merge climbs: two, as memory allows; 0 where it holds not even two files.

    A merge of k levels holds 2^k files. Climbing more would read a little less, but the last brick is followed by a
    row of merges that nobody shares: of one or two levels they are the shortest.
    """
    fitting = max(budget // grid.file_bytes, 1).bit_length() - 1
    return min(depth, LEVELS_A_MERGE, fitting)


@dataclass(frozen=True)
class Piece:
    """What one task reads: a box in space and the nodes inside it."""

    box: Box
    nodes: tuple[int, ...]


def pieces(grid: Grid, layout: Layout) -> list[Piece]:
    """The boxes of a layout, in the order of their first node, each with the nodes that lie in it."""
    found: dict[Box, list[int]] = {}
    for node in grid.geometry.nodes(layout.depth):
        box = tuple(
            (0, n) if axis in layout.full else span
            for axis, (n, span) in enumerate(zip(grid.shape, grid.geometry.node_box(node), strict=True))
        )
        found.setdefault(box, []).append(node)
    return [Piece(box, tuple(nodes)) for box, nodes in found.items()]


def scatter_cell(volume: Volume, budget: int) -> Shape:
    """Whole source chunks, as many as fit and at least one: full along x first, then y, then z."""
    cell = list(volume.space_chunks)
    held = math.prod(cell) * volume.sample_bytes * volume.step_chunk
    for axis in reversed(range(len(cell))):
        times = max(1, min(budget // held, -(-volume.space[axis] // cell[axis])))
        cell[axis] = min(cell[axis] * times, volume.space[axis])
        held *= times
    return tuple(cell)
