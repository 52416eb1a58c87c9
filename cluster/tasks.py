"""The remote functions: each runs one plain function of the floors below on some node, once.

Arguments and results are paths, spans and digests, never data. A reader that crashed is tried again by the driver
(flights.py), after a rest, and perhaps elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cluster.nodes import errand
from converters.mark import Mark
from converters.prepare import Job
from converters.sandbox import perform, prepare, sketch, unpack
from converters.seal import seal
from scray.manifest import FileDigest
from scray.spans import Span, hash_spans
from scray.storage import inside

Portion = Sequence[tuple[str, Span]]  # files, relative to a root, and a span of each


@errand(num_cpus=1)
def hash_task(root: str, portion: Portion) -> list[str]:
    """SHA-256 of each span of some files."""
    return [hash_spans(inside(Path(root), Path(name)), [span])[0] for name, span in portion]


@errand(num_cpus=1)
def unpack_task(job: Job, inputs: tuple[FileDigest, ...], staging_parent: str) -> Job:
    """The job on what its archives hold."""
    return unpack(job, inputs, Path(staging_parent), crash_again=False)


@errand(num_cpus=1)
def prepare_task(job: Job, inputs: tuple[FileDigest, ...], staging_parent: str) -> str:
    """Probe and plan; the staging folder."""
    return str(prepare(job, inputs, Path(staging_parent), crash_again=False))


@errand(num_cpus=1)
def perform_task(staging: str, task_id: str) -> Mark:
    """One task of a plan."""
    return perform(Path(staging), task_id, crash_again=False)


@errand(num_cpus=1)
def seal_task(staging: str) -> str:
    """Headers, metadata, preview, manifest; the finished tree."""
    return str(seal(Path(staging), sketch))
