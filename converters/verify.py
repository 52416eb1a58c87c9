"""Is a result whole, does it say the truth about itself, and is it the source? Asked of the disk alone.

Other readers show zeros for what is absent or cut, without an error: nothing short of reading every block can tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from converters.against import differences
from converters.compare import check_flags
from converters.describe import HEADER, header_record, read_metadata
from converters.midx import datasets_of, is_midx
from converters.promise import promised_files
from scray.errors import BadInput, NotFound, ScrayError
from scray.idx.reader import Dataset, read_header
from scray.manifest import MANIFEST, Manifest

MAX_PROBLEMS = 100  # of one kind, in one dataset


def verify(folder: Path, against: Path | None = None) -> list[str]:
    """What is wrong with the result in this folder, a sentence each that names file and block; empty when all is well.

    Checked are the digests of all files, every header, and every block of every header, through the reader. With
    `against`, the source (a file or folder), also every sample. Memory is bounded. Raises NotFound where there is no
    result at all, and what probing the source raises.
    """
    if not (folder / HEADER).exists() and not (folder / MANIFEST).exists():
        raise NotFound(f"There is no dataset in {folder}: neither {HEADER} nor {MANIFEST} is there.")
    problems: list[str] = []
    manifest = _manifest(folder, problems)
    metadata = read_metadata(folder)
    if metadata is None:
        problems.append("metadata.json is missing or cannot be read")
    records = metadata["datasets"] if metadata else [{"idx": HEADER}]
    for record in records:
        problems += islice(_dataset_problems(folder, record), MAX_PROBLEMS)
    problems += _top_problems(folder, records)
    if against is not None:
        sensor = str(metadata["sensor"]) if metadata and "sensor" in metadata else "OTHER"
        problems += islice(differences(folder, manifest, sensor, against), MAX_PROBLEMS)
    return problems


def _manifest(folder: Path, problems: list[str]) -> Manifest:
    """The manifest, and, among the problems, how the files differ from it."""
    try:
        manifest = Manifest.from_json((folder / MANIFEST).read_bytes())
    except (OSError, BadInput) as error:
        problems.append(f"{MANIFEST} is missing or damaged: {error}")
        return Manifest((), ())
    problems += manifest.differences(folder)
    return manifest


def _dataset_problems(folder: Path, record: dict[str, Any]) -> Iterator[str]:
    path = str(record.get("idx", HEADER))
    try:
        header = read_header(folder / path)
        for name, said in header_record(path, header).items():
            if name in record and record[name] is not None and not _agree(name, record[name], said):
                yield f"{path} has {name} {said}, metadata.json says {record[name]}"
        with Dataset((folder / path).parent, header) as dataset:
            yield from _block_problems(path, dataset, converted="source_axes" in record)
    except ScrayError as error:
        yield f"{path}: {error.message}"


def _agree(name: str, said: Any, found: Any) -> bool:
    if name != "fields":
        return bool(said == found)
    return bool([{key: field.get(key) for key in other} for field, other in zip(said, found, strict=False)] == found)


def _block_problems(path: str, dataset: Dataset, *, converted: bool) -> Iterator[str]:
    """Every block of every field and time step is there and whole; in what we wrote, also as its field declares."""
    for step in dataset.header.steps():
        for block in dataset.blocks():
            for index in range(len(dataset.header.fields)):
                try:
                    if converted:
                        check_flags(dataset, block, step, index)
                    dataset.read_block(block, step, index)
                except ScrayError as error:
                    yield f"{path}: {error.message}"


def _top_problems(folder: Path, records: list[dict[str, Any]]) -> Iterator[str]:
    """Where every dataset has a folder, the header at the top stands for the first of them."""
    if not records or any(record.get("idx") == HEADER for record in records):
        return
    if (folder / HEADER).is_file() and is_midx(folder / HEADER):
        yield from _midx_problems(folder, records)
        return
    principal = Path(str(records[0].get("idx", "")))
    try:
        top, first = read_header(folder / HEADER), read_header(folder / principal)
        if header_record("", top) != header_record("", first) or list(top.steps()) != list(first.steps()):
            yield f"{HEADER} at the top does not say what {principal} says"
        one, other = next(promised_files(top)), next(promised_files(first))
        if not (folder / one).exists() or not (folder / one).samefile((folder / principal).parent / other):
            yield f"{HEADER} at the top does not lead to the files of {principal}"
    except (ScrayError, OSError) as error:
        yield f"{HEADER} at the top cannot be used: {error}"


def _midx_problems(folder: Path, records: list[dict[str, Any]]) -> Iterator[str]:
    """A midx at the top names datasets that are here, and metadata.json tells of each of them."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    try:
        told = {str(record.get("idx")) for record in records}
        for dataset in datasets_of(folder, HEADER, files):
            if dataset not in told:
                yield f"{HEADER} names {dataset}, of which metadata.json does not tell"
    except (ScrayError, OSError) as error:
        yield f"{HEADER} at the top cannot be used: {error}"
