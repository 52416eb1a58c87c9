"""Compares a result with its source, opened anew: every sample, in boxes of bounded size, each source chunk once."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters import bricks, registry
from converters.compare import first_difference
from converters.describe import HEADER
from converters.grid import Grid
from converters.plan import Choices, Plan, make_plan
from converters.prepare import Job, find_files, probe
from converters.sandbox import unpack
from converters.volume import Reader, Volume, grid
from scray.errors import ScrayError
from scray.idx.header import Header
from scray.idx.reader import Dataset
from scray.manifest import Manifest, digest_file

BOX_BYTES = 256 << 20


def differences(folder: Path, manifest: Manifest, sensor: str, source: Path) -> Iterator[str]:
    """What in the result is not as in the source, a sentence each; raises what probing the source raises."""
    with tempfile.TemporaryDirectory() as folder_of_archives:
        given = Job(*find_files([source]), sensor)
        job = unpack(given, manifest.inputs, Path(folder_of_archives))
        yield from _all_differences(folder, manifest, job)


def _all_differences(folder: Path, manifest: Manifest, job: Job) -> Iterator[str]:
    job, probed = probe(replace(job, parameters=manifest.parameters))
    root, sensor = job.root, job.sensor
    cloud = any(g.get("arco") for g in manifest.geometry.values())
    choices = Choices(codec=str(manifest.codec.get("name", "zip")), profile="cloud" if cloud else "local")
    plan = make_plan(root, sensor, (), manifest.parameters, probed, choices)
    for made in plan.grids:
        yield from _grid_differences(folder, plan, made)
    for name, target in probed.links:
        yield from _link_differences(root, name, folder, target)


def _link_differences(root: Path, name: str, folder: Path, target: str) -> Iterator[str]:
    try:
        if digest_file(root, name).root != digest_file(folder, target).root:
            yield f"{target} differs from the source {name}"
    except OSError as error:
        yield f"{target} cannot be compared with the source {name}: {error.strerror}"


def _grid_differences(folder: Path, plan: Plan, made: Grid) -> Iterator[str]:
    path = made.path(HEADER)
    try:
        with Dataset.open(folder / path) as dataset:
            wrong = _wrong_header(dataset.header, plan.header(made))
            if wrong:
                yield f"{path} says {wrong}"
                return
            for index, volume in enumerate(plan.volumes(made)):
                with registry.open_volume(Path(plan.root), volume) as reader:
                    yield from _field_differences(path, dataset, index, reader)
    except ScrayError as error:
        yield f"{path}: {error.message}"


def _wrong_header(found: Header, wanted: Header) -> str:
    """The first thing in which a header differs from what the source asks for; "" where there is none."""
    aspects: dict[str, tuple[Any, Any]] = {
        "box": (found.box, wanted.box),
        "fields": ([f.name for f in found.fields], [f.name for f in wanted.fields]),
        "dtypes": ([f.dtype for f in found.fields], [f.dtype for f in wanted.fields]),
        "components": ([f.components for f in found.fields], [f.components for f in wanted.fields]),
        "time steps": (_range(found), _range(wanted)),
    }
    for name, (said, asked) in aspects.items():
        if said != asked:
            return f"{name} {said}, the source has {asked}"
    return ""


def _range(header: Header) -> tuple[int, int, int]:
    return (header.time.first, header.time.last, header.time.step) if header.time else (0, 0, 1)


def _field_differences(path: str, dataset: Dataset, index: int, reader: Reader) -> Iterator[str]:
    """The first differing sample of every box that has one."""
    volume = reader.volume
    for steps in _spans(volume):
        for box in grid(volume.space, bricks.scatter_cell(volume, _budget(volume))):
            arrays = reader.read_steps(steps, box)
            for step, array in zip(range(*steps), arrays, strict=True):
                at = first_difference(dataset.read(box, step, index), array)
                if at is not None:
                    point = tuple(i + low for i, (low, _) in zip(at, box, strict=False))
                    block = dataset.hz.block_of(point)
                    yield f"{path}: {dataset.named(block, step, index)} differs from the source at sample {point}"


def _spans(volume: Volume) -> Iterator[tuple[int, int]]:
    for start in range(0, volume.steps, volume.step_chunk):
        yield start, min(start + volume.step_chunk, volume.steps)


def _budget(volume: Volume) -> int:
    """At least one source chunk."""
    return max(BOX_BYTES, math.prod(volume.space_chunks) * volume.sample_bytes * volume.step_chunk)
