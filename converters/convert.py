"""A whole conversion without server or database: hash, plan, perform, seal, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from converters import sandbox
from converters.archives import archives_in
from converters.mark import Mark
from converters.plan import Plan
from converters.prepare import Job, prepare
from converters.run import Executor, execute, load_plan
from converters.seal import seal
from converters.sketch import sketch
from scray.errors import BadRequest, ScrayError, TooLarge
from scray.manifest import FileDigest, digest_file
from scray.storage import publish_tree, remove_tree


@dataclass(frozen=True)
class Progress:
    """How far a conversion is: the stage, its bytes of uncompressed samples done and to do, and the latest file."""

    stage: str
    done_bytes: int
    total_bytes: int
    current_file: str = ""


@dataclass(frozen=True)
class Report:
    """What a conversion did: `seconds` of the whole, `stages` of all tasks together."""

    out: Path
    plan: Plan
    tasks: int
    bytes_in: int
    bytes_out: int
    seconds: float
    stages: dict[str, float] = field(default_factory=dict)


Watcher = Callable[[Progress], None]


def convert(
    job: Job, out: Path, executor: Executor, watch: Watcher = lambda _: None, *, sealed: bool = False
) -> Report:
    """Convert `job` into the folder `out`, which appears whole; started again after a kill, it goes on where it was.

    `out` may be absent, empty or a former result, which is then replaced. `sealed` plans and draws the preview in a
    sealed child; whether tasks are done in one is the executor's choice. Raises what every step raises; a permanent
    error leaves no staging behind.
    """
    _check_out(out)
    began = time.perf_counter()
    parent = staging_parent(out)
    try:
        inputs = _hash(job, watch)
        if archives_in(job.root, job.files):
            watch(Progress("unzipping", 0, 0))
        unpacked = sandbox.unpack(job, inputs, parent)
        watch(Progress("planning", 0, 0))
        staging = (sandbox.prepare if sealed else prepare)(unpacked, inputs, parent)
        tally = _Tally(load_plan(staging), watch)
        execute(staging, executor, on_mark=tally.add)
        watch(Progress("sealing", tally.done, tally.total))
        tree = seal(staging, sandbox.sketch if sealed else sketch)
        _publish(tree, out)
    except (ScrayError, MemoryError) as error:
        if not (isinstance(error, ScrayError) and error.transient):
            discard(out)
        if isinstance(error, MemoryError):
            raise TooLarge("Reading the file needs more memory than its contents allow.") from error
        raise
    remove_tree(parent)
    return tally.report(out, inputs, time.perf_counter() - began)


def staging_parent(out: Path) -> Path:
    """Where the work for `out` lies until it is whole: beside it."""
    return out.absolute().parent / f".{out.name}.staging"


def discard(out: Path) -> None:
    """Remove what was begun for `out`."""
    if (parent := staging_parent(out)).exists():
        remove_tree(parent)


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadRequest(f"{out} is a file; name a folder for the result.")
    if out.is_dir() and any(out.iterdir()) and not (out / "manifest.json").exists():
        raise BadRequest(f"{out} holds something that is no former result; name another folder.")


def _publish(tree: Path, out: Path) -> None:
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    publish_tree(tree, out)


def _hash(job: Job, watch: Watcher) -> tuple[FileDigest, ...]:
    total = sum((job.root / name).stat().st_size for name in job.files)
    digests: list[FileDigest] = []
    for name in job.files:
        watch(Progress("hashing", sum(d.size for d in digests), total, name))
        digests.append(digest_file(job.root, name))
    return tuple(digests)


class _Tally:
    """Counts what the marks tell."""

    def __init__(self, plan: Plan, watch: Watcher) -> None:
        self.plan, self.watch = plan, watch
        self.total = sum(t.read_bytes for t in plan.tasks)
        self.done = 0
        self.marks: list[Mark] = []

    def add(self, mark: Mark) -> None:
        self.marks.append(mark)
        self.done += mark.read_bytes
        self.watch(Progress("converting", self.done, self.total, mark.files[-1].path if mark.files else ""))

    def report(self, out: Path, inputs: tuple[FileDigest, ...], seconds: float) -> Report:
        stages: dict[str, float] = {}
        for mark in self.marks:
            for stage, spent in mark.seconds.items():
                stages[stage] = stages.get(stage, 0.0) + spent
        written = sum(f.size for mark in self.marks for f in mark.files)
        size = sum(v.total_bytes for v in self.plan.source.volumes) or sum(f.size for f in inputs)
        return Report(out, self.plan, len(self.marks), size, written, seconds, stages)
