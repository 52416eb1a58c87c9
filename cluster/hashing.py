"""The digests of a dataset's inputs, hashed by Ray tasks: spans of large files, or many small files, at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from cluster.flights import cluster_cpus, run_all, two_a_cpu
from cluster.tasks import Portion, hash_task
from scray.manifest import FileDigest
from scray.spans import CHUNK_BYTES, Span, chunk_spans
from scray.storage import inside

PORTION_BYTES = 2 << 30
PORTION_FILES = 1000
PORTIONS_PER_CPU = 4  # so that no CPU waits long for the last one


def digest_inputs(
    root: Path, files: Sequence[str], *, on_bytes: Callable[[int], None], stop: Callable[[], None], label: str = "plan"
) -> tuple[FileDigest, ...]:
    """Digest every file once. `on_bytes` hears how many more are done; `stop` may raise to give up."""
    sizes = {name: inside(root, Path(name)).stat().st_size for name in files}
    limit = min(PORTION_BYTES, max(CHUNK_BYTES, sum(sizes.values()) // (cluster_cpus() * PORTIONS_PER_CPU)))
    found: dict[tuple[str, Span], str] = {}
    portions = list(_portions(sizes, limit))
    calls = (
        (number, partial(hash_task.options(name=f"{label}:hash-{number}").remote, str(root), portion))
        for number, portion in enumerate(portions)
    )
    for number, digests in run_all(calls, two_a_cpu, stop):
        found.update(zip(portions[number], digests, strict=True))
        on_bytes(sum(span.size for _, span in portions[number]))
    return tuple(_digest(name, size, found) for name, size in sizes.items())


def _digest(name: str, size: int, found: Mapping[tuple[str, Span], str]) -> FileDigest:
    return FileDigest(name, size, tuple(found[name, span] for span in chunk_spans(size)))


def _portions(sizes: Mapping[str, int], limit_bytes: int) -> Iterator[Portion]:
    """All spans of all files, in order, packed into portions of at most `limit_bytes` and 1,000 spans."""
    portion: list[tuple[str, Span]] = []
    held = 0
    for name, span in _spans(sizes):
        if portion and (held + span.size > limit_bytes or len(portion) == PORTION_FILES):
            yield portion
            portion, held = [], 0
        portion.append((name, span))
        held += span.size
    if portion:
        yield portion


def _spans(sizes: Mapping[str, int]) -> Iterable[tuple[str, Span]]:
    return ((name, span) for name, size in sizes.items() for span in chunk_spans(size))
