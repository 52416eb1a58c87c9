"""Inputs that are IDX already: put in place by hard link, then every block that their headers promise is read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from converters.mark import Mark
from converters.plan import Plan
from converters.task import Task
from scray.errors import ScrayError, VerificationFailed
from scray.idx.reader import Dataset
from scray.idx.writer import Written
from scray.manifest import digest_file
from scray.stopwatch import Stopwatch
from scray.storage import inside

SHOWN = 5  # blocks that a message names
COUNTED = 1000  # and how many are counted before it gives up


def link(plan: Plan, staging: Path, task: Task) -> Mark:
    """Give the files their names in the result; the input stays as it is, and shares its bytes where it can."""
    watch = Stopwatch()
    written = []
    for source, name in plan.source.links[task.first : task.last]:
        target = staging / "tree" / name
        _place(Path(plan.root), source, target)
        written.append(Written(name, target.stat().st_size, ""))
    watch.lap("link")
    return Mark(task.id, files=tuple(written), seconds=watch.seconds)


def _place(root: Path, source: str, target: Path) -> None:
    """A hard link, or, on another file system, a copy whose bytes are compared before it gets its name."""
    origin = inside(root, Path(source))
    temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(origin, temporary)
    except OSError:
        shutil.copyfile(origin, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if digest_file(temporary.parent, temporary.name).chunks != digest_file(root, source).chunks:
            temporary.unlink()
            raise VerificationFailed(f"The copy of {source} differs from it.") from None
    temporary.replace(target)


def check(plan: Plan, staging: Path, task: Task, alive: Callable[[], None] = lambda: None) -> Mark:
    """Read the blocks of one part that a linked header promises.

    Raises what reading the first bad block raises, naming file and block of the first few and how many there are.
    """
    watch = Stopwatch()
    name = plan.source.linked[task.first].header
    with Dataset.open(staging / "tree" / name) as dataset:
        faults = list(islice(_faults(dataset, task.part, alive), COUNTED))
    if faults:
        more = f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        told = "; ".join(fault.message for fault in faults[:SHOWN])
        raise type(faults[0])(f"{name} promises blocks that cannot be read: {told}{more}.")
    watch.lap("verify")
    return Mark(task.id, read_bytes=task.read_bytes, seconds=watch.seconds, verified=True)


def _faults(dataset: Dataset, part: tuple[int, int], alive: Callable[[], None]) -> Iterator[ScrayError]:
    """The errors of the blocks of every `part[1]`-th file, from file `part[0]`."""
    number, parts = part
    header = dataset.header
    for step in header.steps():
        for block in dataset.blocks():
            if (block // header.blocks_per_file) % parts != number:
                continue
            for index in range(len(header.fields)):
                alive()
                try:
                    dataset.read_block(block, step, index)
                except ScrayError as error:
                    yield error
