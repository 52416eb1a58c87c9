"""Rechunking through scratch: each source chunk is decoded once, into a raw segment for every brick it meets.

A segment is the part of a scatter's box and steps that lies in a brick's: C order (steps, z, y, x[, components]), one
file, one writer; the brick reads its segments and removes them when its own mark is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from converters import registry
from converters.mark import Mark
from converters.plan import Plan
from converters.task import Task
from converters.volume import Array, Box, Volume, raw_bytes
from scray.idx.writer import Written
from scray.stopwatch import Stopwatch
from scray.storage import write_atomic


def scatter(plan: Plan, staging: Path, task: Task, watch: Stopwatch) -> Mark:
    """Read the task's box once and write its segments."""
    volume = plan.source.volumes[task.volume]
    with registry.open_volume(Path(plan.root), volume) as reader:
        array = reader.read_steps(task.steps, task.box)
    watch.lap("read")
    kept = []
    for brick in plan.followers(task.id):
        part = array[_cut(_shared(task, brick), task)]
        name = segment(task, brick)
        (staging / name).parent.mkdir(exist_ok=True)
        write_atomic(staging / name, _slabs(part), flush_folder=False)
        kept.append(Written(name, part.nbytes, ""))
        watch.lap("scatter")
    return Mark(task.id, kept=tuple(kept), read_bytes=task.read_bytes, seconds=watch.seconds)


def segment(task: Task, brick: Task) -> str:
    """The name of a segment, relative to the staging folder."""
    return f"scratch/{brick.id}/{task.id}.raw"


def gather(plan: Plan, staging: Path, brick: Task, index: int, steps: tuple[int, int]) -> Array:
    """A brick's box of one volume for some steps, put together from its segments."""
    volume = plan.source.volumes[index]
    tail = (volume.components,) if volume.components > 1 else ()
    shape = tuple(b - a for a, b in (steps, *brick.box)) + tail
    whole = np.empty(shape, volume.dtype)
    for task in (plan.task(name) for name in brick.after):
        if task.volume == index and task.steps[0] < steps[1] and steps[0] < task.steps[1]:
            _paste(whole, staging, volume, task, brick, steps)
    return whole


def _paste(whole: Array, staging: Path, volume: Volume, task: Task, brick: Task, steps: tuple[int, int]) -> None:
    (first, last), *box = _shared(task, brick)
    low, high = max(first, steps[0]), min(last, steps[1])
    tail = (volume.components,) if volume.components > 1 else ()
    shape = tuple(b - a for a, b in box) + tail
    step_bytes = math.prod(shape) * np.dtype(volume.dtype).itemsize
    at = [slice(a - o, b - o) for (a, b), (o, _) in zip(box, brick.box, strict=True)]
    with (staging / segment(task, brick)).open("rb", buffering=0) as file:
        for step in range(low, high):
            file.seek((step - first) * step_bytes)
            whole[step - steps[0]][tuple(at)] = np.fromfile(file, volume.dtype, math.prod(shape)).reshape(shape)


def _shared(task: Task, brick: Task) -> Box:
    """The steps and the box that a scatter and a brick have in common."""
    pairs = zip((task.steps, *task.box), (brick.steps, *brick.box), strict=True)
    return tuple((max(a, c), min(b, d)) for (a, b), (c, d) in pairs)


def _cut(shared: Box, task: Task) -> tuple[slice, ...]:
    return tuple(slice(a - o, b - o) for (a, b), (o, _) in zip(shared, (task.steps, *task.box), strict=True))


def _slabs(part: Array) -> Iterator[memoryview]:
    """The bytes of an array in C order, slab by slab, so that no second copy of all of it is made."""
    for step in part:
        for slab in step:
            yield raw_bytes(slab)
