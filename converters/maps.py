"""Memory maps for 4-D dashboards: written in parts by tasks, joined beside the HDF5 file under their name last."""

from __future__ import annotations

import hashlib
import math
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from converters import registry
from converters.mapplan import cell, map_name
from converters.mark import Mark
from converters.plan import Plan
from converters.task import Task
from converters.volume import Array, Box, grid, raw_bytes
from scray.errors import VerificationFailed
from scray.idx.writer import Written
from scray.manifest import FileDigest
from scray.spans import CHUNK_BYTES
from scray.stopwatch import Stopwatch
from scray.storage import fsync_folder

PIECE_BYTES = 1 << 20


def part_name(task_id: str) -> str:
    return f"maps/{task_id}.raw"


def write_part(plan: Plan, staging: Path, task: Task, alive: Callable[[], None]) -> Mark:
    """One slab of a map as float32, read cell by cell; each run of it is read back where the plan verifies."""
    watch = Stopwatch()
    target = staging / part_name(task.id)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for box, array in _cells(plan, task):
            for offset, run in _runs(array, box, task.box):
                _write_run(fd, offset, run, plan.choices.verify, task.id)
            alive()
        os.fsync(fd)
        size = os.fstat(fd).st_size
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    watch.lap("maps")
    kept = (Written(part_name(task.id), size, ""),)
    return Mark(task.id, kept=kept, read_bytes=task.read_bytes, seconds=watch.seconds, verified=plan.choices.verify)


def _cells(plan: Plan, task: Task) -> Iterator[tuple[Box, Array]]:
    """The boxes of a slab, in source axes, and their samples as float32."""
    volume = plan.source.volumes[task.volume]
    shape = cell(volume, task.box, task.batch)
    with registry.open_volume(Path(plan.root), volume) as reader, np.errstate(over="ignore", invalid="ignore"):
        for inner in grid(tuple(b - a for a, b in task.box), shape):
            box = tuple((a + o, b + o) for (a, b), (o, _) in zip(inner, task.box, strict=True))
            yield box, np.ascontiguousarray(reader.read_source(box), "<f4")


def _runs(array: Array, box: Box, slab: Box) -> Iterator[tuple[int, Array]]:
    """What of a box is consecutive in the slab, and where: (offset in bytes, samples)."""
    shape = tuple(stop - start for start, stop in slab)
    at = len(shape) - 1
    while at and box[at] == slab[at]:
        at -= 1
    strides = [4 * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    corner = sum((a - o) * s for (a, _), (o, _), s in zip(box, slab, strides, strict=True))
    for index in np.ndindex(array.shape[:at]):
        yield corner + sum(i * s for i, s in zip(index, strides, strict=False)), array[index]


def _write_run(fd: int, offset: int, run: Array, verify: bool, task_id: str) -> None:
    data = raw_bytes(run)
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
    if verify and os.pread(fd, len(data), offset) != data:
        raise VerificationFailed(f"{part_name(task_id)} does not read back as it was written, at byte {offset}")


def place(plan: Plan, staging: Path, task: Task) -> Mark:
    """Join the parts of a map, in order, where dashboards look for it; it appears whole."""
    watch = Stopwatch()
    volume = plan.source.volumes[task.volume]
    target = _folder(plan, volume.files[0]) / map_name(volume)
    for former in target.parent.glob(f".{target.name}.*.tmp"):
        former.unlink(missing_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    parts = [name for name in task.after if plan.task(name).kind == "map"]
    with temporary.open("xb") as out:
        digest = _Digest(target.name)
        for piece in _pieces(staging, parts):
            digest.add(piece)
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(target)
    fsync_folder(target.parent)
    watch.lap("maps")
    return Mark(task.id, beside=(digest.made(),), seconds=watch.seconds)


def _folder(plan: Plan, file: str) -> Path:
    """Beside the file, as far as the folder of the maps has its folders."""
    folder = Path(plan.choices.memmaps)
    beside = (folder / file).parent
    return beside if beside.is_dir() else folder


def _pieces(staging: Path, parts: list[str]) -> Iterator[bytes]:
    for part in parts:
        with (staging / part_name(part)).open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece


class _Digest:
    """The digest of a file, from its bytes in order."""

    def __init__(self, name: str) -> None:
        self.name, self.size = name, 0
        self.chunks: list[str] = []
        self.chunk = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        rest = CHUNK_BYTES - self.size % CHUNK_BYTES
        for part in (piece[:rest], piece[rest:]):
            if part:
                self.chunk.update(part)
                self.size += len(part)
                if self.size % CHUNK_BYTES == 0:
                    self._end_chunk()

    def _end_chunk(self) -> None:
        self.chunks.append(self.chunk.hexdigest())
        self.chunk = hashlib.sha256()

    def made(self) -> FileDigest:
        if self.size % CHUNK_BYTES:
            self._end_chunk()
        return FileDigest(self.name, self.size, tuple(self.chunks))
