"""What is known about a result or a bare IDX dataset, as plain data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from converters.describe import HEADER, header_record, read_metadata
from scray.errors import BadInput, NotFound
from scray.idx.header import Header
from scray.idx.reader import read_header
from scray.manifest import MANIFEST, Manifest


def info(path: Path) -> dict[str, Any]:
    """Datasets with shape, dtype, fields, time steps, levels, codec and layout; bytes on disk; source and attributes.

    `path` is a folder with a `visus.idx`, or an `.idx` file. JSON-able. Raises NotFound, BadInput and its kind.
    """
    folder, names = _headers(path)
    metadata = read_metadata(folder) if path.is_dir() else None
    told = {str(record.get("idx")): record for record in metadata["datasets"]} if metadata else {}
    datasets = []
    for name in names or list(told):
        header = read_header(folder / name)
        said = told.get(name, {})
        datasets.append(said | layout(header) | header_record(name, header) | _fields(said, header))
    known = {key: metadata[key] for key in ("sensor", "format", "source", "notes")} if metadata else {}
    return {"folder": str(folder), "bytes": _bytes(folder), "datasets": datasets} | known | _manifest(folder)


def _headers(path: Path) -> tuple[Path, list[str]]:
    """The folder, and the headers to tell of; none of them where metadata.json lists them."""
    if path.is_file():
        return path.parent, [path.name]
    if not path.is_dir():
        raise NotFound(f"There is no dataset {path}.")
    if read_metadata(path):
        return path, []
    if not (path / HEADER).exists():
        raise NotFound(f"There is no dataset in {path}: it holds no {HEADER}.")
    return path, [HEADER]


def layout(header: Header) -> dict[str, Any]:
    """How the blocks of a dataset lie, their codec, and its size without compression."""
    return {
        "version": header.version,
        "bitmask": header.bitmask,
        "bits_per_block": header.bits_per_block,
        "blocks_per_file": header.blocks_per_file,
        "arco": header.arco,
        "codec": header.fields[0].codec,
        "samples": header.step_count * _product(header.shape) * len(header.fields),
        "raw_bytes": header.step_count * _product(header.shape) * sum(f.sample_bytes for f in header.fields),
    }


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _fields(told: dict[str, Any], header: Header) -> dict[str, Any]:
    """The fields as the header has them, with what metadata.json adds."""
    added = {str(field.get("name")): field for field in told.get("fields", [])}
    return {"fields": [added.get(f["name"], {}) | f for f in header_record("", header)["fields"]]}


def _bytes(folder: Path) -> int:
    return sum(Path(base, name).stat().st_size for base, _, names in os.walk(folder) for name in names)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = Manifest.from_json((folder / MANIFEST).read_bytes())
    except (OSError, BadInput):
        return {}
    return {
        "verified": manifest.verified,
        "implementation": manifest.codec.get("implementation"),
        "parameters": manifest.parameters,
        "inputs": [{"path": f.path, "size": f.size, "root": f.root} for f in manifest.inputs],
    }
