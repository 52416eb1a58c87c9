"""The digests of inputs, and of results, hashed by Ray tasks: spans of large files, or many small files, at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from cluster.flights import Died, cluster_cpus, run_all, say_died, two_a_cpu
from cluster.tasks import Portion, hash_task
from scray.digests import Digests
from scray.manifest import FileDigest
from scray.spans import CHUNK_BYTES, Span, chunk_spans
from scray.storage import inside

PORTION_BYTES = 2 << 30
PORTION_FILES = 1000
PORTIONS_PER_CPU = 4  # so that no CPU waits long for the last one


def digest_inputs(
    root: Path,
    files: Sequence[str],
    *,
    on_bytes: Callable[[int], None],
    stop: Callable[[], None],
    on_death: Died = say_died,
    label: str = "plan",
    parent: Path | None = None,
) -> tuple[FileDigest, ...]:
    """Digest every file once. `on_bytes` hears how many more are done; `stop` may raise to give up.

    `parent` is the staging of the dataset: what is known there is not hashed again (see `scray.digests`).
    """
    sizes = {name: inside(root, Path(name)).stat().st_size for name in files}
    limit = min(PORTION_BYTES, max(CHUNK_BYTES, sum(sizes.values()) // (cluster_cpus() * PORTIONS_PER_CPU)))
    digests = Digests.of(parent, root, files) if parent else None
    found = digests.known() if digests else {}
    on_bytes(sum(span.size for _, span in found))
    wanted = (part for part in _spans(sizes) if part not in found)
    portions = {f"hash-{number}": portion for number, portion in enumerate(_portions(wanted, limit))}
    calls = (
        (name, partial(hash_task.options(name=f"{label}:{name}").remote, str(root), portion))
        for name, portion in portions.items()
    )
    for name, answer in run_all(calls, two_a_cpu, stop, on_death):
        new = dict(zip(portions[name], answer, strict=True))
        if digests:
            digests.note(new)
        found |= new
        on_bytes(sum(span.size for _, span in portions[name]))
    return tuple(_digest(name, size, found) for name, size in sizes.items())


def _digest(name: str, size: int, found: Mapping[tuple[str, Span], str]) -> FileDigest:
    return FileDigest(name, size, tuple(found[name, span] for span in chunk_spans(size)))


def _portions(parts: Iterable[tuple[str, Span]], limit_bytes: int) -> Iterator[Portion]:
    """Spans of files, in order, packed into portions of at most `limit_bytes` and 1,000 spans."""
    portion: list[tuple[str, Span]] = []
    held = 0
    for name, span in parts:
        if portion and (held + span.size > limit_bytes or len(portion) == PORTION_FILES):
            yield portion
            portion, held = [], 0
        portion.append((name, span))
        held += span.size
    if portion:
        yield portion


def _spans(sizes: Mapping[str, int]) -> Iterable[tuple[str, Span]]:
    return ((name, span) for name, size in sizes.items() for span in chunk_spans(size))
