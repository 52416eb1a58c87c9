"""Inputs that are IDX already: put in place by hard link, then every block that their headers promise is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from scray.idx.reader import Dataset

from converters.mark import Mark
from converters.plan import Plan, Task
from scray.errors import VerificationFailed
from scray.idx.writer import Written
from scray.manifest import digest_file
from scray.stopwatch import Stopwatch
from scray.storage import inside

LINK_REFUSED = (PermissionError, OSError)


def link(plan: Plan, staging: Path, task: Task) -> Mark:
    """Give the files their names in the result; the input stays as it is, and shares its bytes where it can."""
    watch = Stopwatch()
    sizes = {f.path: f.size for f in plan.inputs}
    written = []
    for source, name in plan.source.links[task.first : task.last]:
        _place(Path(plan.root), source, staging / "tree" / name)
        written.append(Written(name, sizes[source], ""))
    watch.lap("link")
    return Mark(task.id, files=tuple(written), seconds=watch.seconds)


def _place(root: Path, source: str, target: Path) -> None:
    """A hard link, or, on another file system, a copy whose bytes are compared before it gets its name."""
    origin = inside(root, Path(source))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
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


def check(plan: Plan, staging: Path, task: Task) -> Mark:
    """Read every block that a linked header promises; raises what reading raises, naming file and block."""
    watch = Stopwatch()
    _, name = plan.source.links[task.first]
    dataset = Dataset.open(staging / "tree" / name)
    samples = dataset.check()
    watch.lap("verify")
    return Mark(task.id, samples=samples, seconds=watch.seconds, verified=True)
