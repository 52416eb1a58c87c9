"""Seals a conversion: checks that everything is there, and writes what describes it, the top header last."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from converters.describe import (
    HEADER,
    extremes_of,
    finite,
    grid_record,
    header_record,
    metadata_json,
)
from converters.grid import Grid
from converters.mark import Mark, read_mark
from converters.mosaic import mosaic_texts
from converters.own import METADATA, PREVIEW, RUN
from converters.plan import Plan
from converters.promise import promised_files
from converters.sketch import sketch
from scray.errors import Incomplete, ScrayError, VerificationFailed
from scray.idx import codecs
from scray.idx.header import Header, field_names
from scray.idx.reader import read_header
from scray.idx.writer import Written
from scray.manifest import MANIFEST, UNCOVERED, FileDigest, Manifest, digest_file
from scray.spans import CHUNK_BYTES
from scray.storage import fsync_folder, write_atomic

Sketch = Callable[[Path], bytes | None]
SHOWN = 5  # names in a message
MAX_TASKS_TOLD = 10_000
CHECKED = frozenset({"brick", "merge", "check", "map"})  # tasks that read back what they wrote


def seal(staging: Path, draw: Sketch = sketch) -> Path:
    """Turn the marks of a staging folder into a complete, flushed tree, and return it.

    `draw` makes the preview; that one cannot be made is noted. Raises Incomplete where a mark or a file is not there,
    VerificationFailed where files are there that no task wrote. May be done again.
    """
    plan = Plan.load(staging)
    marks = _marks(plan, staging)
    tree = staging / "tree"
    written = {file.path: file for mark in marks for file in mark.files}
    headers = _headers(plan, marks)
    _check_files(plan, tree, written, headers)
    notes = list(plan.source.notes)
    notes += [f"{file.path} lies beside the input, for 4-D dashboards" for mark in marks for file in mark.beside]
    if not all(mark.verified for mark in marks if plan.task(mark.task).kind in CHECKED):
        notes.append("not verified: the samples on disk were not compared with the source")
    texts = _texts(plan, staging, headers, notes, draw)
    for name, text in texts.items():
        write_atomic(tree / name, text)
    write_atomic(tree / MANIFEST, _manifest(plan, marks, tree, written, texts | headers.texts, notes))
    write_atomic(tree / RUN, _run_json(plan, marks))
    _link_principal(tree, headers)
    for name, text in headers.texts.items():  # the top one comes last
        write_atomic(tree / name, text)
    _flush(tree)
    return tree


# --- completeness --------------------------------------------------------------------------------


def _marks(plan: Plan, staging: Path) -> list[Mark]:
    """The marks of all tasks, in the order of the plan; raises Incomplete."""
    found = {task.id: read_mark(staging, task.id) for task in plan.tasks}
    missing = [name for name, mark in found.items() if mark is None]
    if missing:
        raise Incomplete(f"{len(missing)} tasks are not finished: {_some(missing)}")
    return [mark for mark in found.values() if mark]


def _check_files(plan: Plan, tree: Path, written: dict[str, Written], headers: _Headers) -> None:
    """What the headers promise, what the tasks wrote and what is on disk must be the same files."""
    promised = {grid.path(name) for grid, header in headers.grids for name in promised_files(header)}
    promised |= {name for _, name in plan.source.links}
    absent = sorted(promised - written.keys())
    if absent:
        raise Incomplete(f"{len(absent)} files that the headers promise were not written: {_some(absent)}")
    surplus = sorted(written.keys() - promised)
    if surplus:
        raise VerificationFailed(f"{len(surplus)} files were written that no header promises: {_some(surplus)}")
    own = {METADATA, PREVIEW, *UNCOVERED, *headers.texts}
    present = {name: size for name, size in _present(tree) if name in written or name not in own}
    strange = sorted(present.keys() - written.keys())
    if strange:
        raise VerificationFailed(f"{len(strange)} files are there that no task wrote: {_some(strange)}")
    wrong = sorted(name for name, file in written.items() if present.get(name) != file.size)
    if wrong:
        raise Incomplete(f"{len(wrong)} files are missing or have another size than when written: {_some(wrong)}")


def _present(tree: Path, inside: str = "") -> Iterator[tuple[str, int]]:
    """Files and sizes; what a killed worker left half written is removed. There may be half a million of them."""
    with os.scandir(tree / inside) as entries:
        for entry in entries:
            name = inside + entry.name
            if entry.is_dir():
                yield from () if entry.is_symlink() else _present(tree, f"{name}/")
            elif entry.name.startswith(".") and entry.name.endswith(".tmp"):
                Path(entry).unlink()
            else:
                yield name, entry.stat().st_size


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


# --- headers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Headers:
    """The header of each grid, and the texts to write, by path, the top one last."""

    grids: list[tuple[Grid, Header]]
    texts: dict[str, bytes]


def _headers(plan: Plan, marks: list[Mark]) -> _Headers:
    grids = [(grid, _header(plan, marks, number, grid)) for number, grid in enumerate(plan.grids)]
    texts = {grid.path(HEADER): header.format().encode() for grid, header in grids if grid.name}
    if grids:
        grid, header = grids[0]
        texts[HEADER] = _from_above(grid, header).format().encode()
    mosaic = mosaic_texts(plan)
    if mosaic:  # the midx takes the place of the principal header
        texts = {name: text for name, text in texts.items() if name != HEADER} | mosaic
    return _Headers(grids, texts)


def _header(plan: Plan, marks: list[Mark], number: int, grid: Grid) -> Header:
    """The header with minima, maxima and the names of the axes."""
    minimum, maximum = extremes_of(plan, marks, number)
    bare = plan.header(grid)
    fields = tuple(
        replace(f, minimum=low, maximum=high)
        if (low := finite(minimum.get(f.name))) and (high := finite(maximum.get(f.name)))
        else f
        for f in bare.fields
    )
    axes = plan.volumes(grid)[0].axis_names
    return replace(bare, fields=fields, axis=field_names(reversed(axes)))


def _from_above(grid: Grid, header: Header) -> Header:
    """The header of a grid as it reads from the top of the result."""
    if not grid.name:
        return header
    return replace(header, filename_template=f"./{grid.name}/{header.filename_template.removeprefix('./')}")


def _link_principal(tree: Path, headers: _Headers) -> None:
    """ARCO readers look for blocks beside the header, whatever its template says: the top one gets a link there."""
    for grid, header in headers.grids[:1]:
        link = tree / header.name
        if grid.arco and grid.name and not link.is_symlink():
            link.symlink_to(Path(grid.name, header.name))


# --- what describes the result -------------------------------------------------------------------


def _texts(plan: Plan, staging: Path, headers: _Headers, notes: list[str], draw: Sketch) -> dict[str, bytes]:
    """metadata.json and preview.png; adds to the notes."""
    tree = staging / "tree"
    records = [grid_record(plan, grid, header) for grid, header in headers.grids]
    records += [header_record(name, header) for name, header in _linked(plan, tree, notes)]
    texts: dict[str, bytes] = {}
    try:
        if shown := draw(staging):
            texts[PREVIEW] = shown
    except (ScrayError, ArithmeticError, ValueError, MemoryError) as error:
        if isinstance(error, ScrayError) and error.transient:
            raise
        notes.append(f"no preview: {error.code if isinstance(error, ScrayError) else type(error).__name__}")
    if PREVIEW not in texts:
        (tree / PREVIEW).unlink(missing_ok=True)
    return texts | {METADATA: metadata_json(plan, records, notes)}


def _linked(plan: Plan, tree: Path, notes: list[str]) -> Iterator[tuple[str, Header]]:
    """The headers among the linked files, the principal one first."""
    for linked in plan.source.linked:
        try:
            yield linked.header, read_header(tree / linked.header)
        except ScrayError as error:
            notes.append(f"{linked.header} is not described: {error.code}")


# --- manifest and run ----------------------------------------------------------------------------


def _manifest(
    plan: Plan,
    marks: list[Mark],
    tree: Path,
    written: dict[str, Written],
    texts: dict[str, bytes],
    notes: Iterable[str],
) -> bytes:
    inputs = {f.path: f for f in plan.inputs}
    sources = {name: inputs[source] for source, name in plan.source.links if source in inputs}
    outputs = [_output(tree, file, sources.get(file.path)) for file in written.values()]
    outputs += [FileDigest(name, len(text), (hashlib.sha256(text).hexdigest(),)) for name, text in texts.items()]
    codec = plan.choices.codec
    return Manifest(
        inputs=plan.inputs,
        outputs=tuple(outputs),
        parameters=plan.parameters,
        geometry={grid.path(HEADER): _geometry(grid) for grid in plan.grids},
        codec={"name": codec, "implementation": codecs.implementation(codec), "canary": codecs.canary(codec)},
        plan=plan.digest,
        verified=all(m.verified for m in marks if plan.task(m.task).kind in CHECKED),
        notes=tuple(notes),
        beside=tuple(file for mark in marks for file in mark.beside),
    ).to_json()


def _output(tree: Path, file: Written, source: FileDigest | None) -> FileDigest:
    """The digest of a data file: from its mark, or from the input it was linked to, else read again."""
    if source:
        return replace(source, path=file.path)
    if file.sha256 and 0 < file.size <= CHUNK_BYTES:
        return FileDigest(file.path, file.size, (file.sha256,))
    return digest_file(tree, file.path)


def _geometry(grid: Grid) -> dict[str, Any]:
    return {
        "shape": list(grid.shape),
        "steps": grid.steps,
        "bitmask": grid.bitmask,
        "bits_per_block": grid.bits_per_block,
        "file_bits": grid.file_bits,
        "arco": grid.arco,
    }


def _run_json(plan: Plan, marks: list[Mark]) -> bytes:
    """How this run went: no digest covers it."""
    stages: dict[str, float] = {}
    for mark in marks:
        for stage, seconds in mark.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    values = {
        "host": platform.node(),
        "python": platform.python_version(),
        "choices": asdict(plan.choices),
        "disk_bytes": asdict(plan.disk),
        "grids": [asdict(grid) for grid in plan.grids],
        "task_count": len(marks),
        "tasks": [
            {"id": m.task, "host": m.host, "seconds": m.seconds, "samples": m.samples} for m in marks[:MAX_TASKS_TOLD]
        ],
        "seconds": stages,
        "read_bytes": sum(m.read_bytes for m in marks),
        "written_bytes": sum(f.size for m in marks for f in m.files),
    }
    return json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"


def _flush(tree: Path) -> None:
    for folder, _, _ in os.walk(tree, topdown=False):
        fsync_folder(Path(folder))
    fsync_folder(tree.parent)
