"""The manifest of a dataset: what went in and what came out, byte by byte, as digests.

It is deterministic: no time, host or worker count is in it, files and keys are sorted. The same input and
parameters give the same manifest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from scray.errors import BadInput
from scray.spans import chunk_spans, hash_spans, root_digest
from scray.storage import DATA_FOLDER, data_folders, inside

MANIFEST = "manifest.json"
UNCOVERED = frozenset({MANIFEST, "run.json"})  # itself, and the record of how this run went
VERSION = 1


@dataclass(frozen=True)
class FileDigest:
    """One file: its path relative to the root, its size in bytes, and SHA-256 (hex) of each chunk."""

    path: str
    size: int
    chunks: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.chunks) != len(chunk_spans(self.size)):
            raise ValueError(f"{self.path}: {len(self.chunks)} chunk digests do not fit {self.size} bytes")

    @property
    def root(self) -> str:
        return root_digest(self.size, self.chunks)


def digest_file(root: Path, relative: str) -> FileDigest:
    """Read a file once and digest its chunks; UnsafePath when it lies outside `root`."""
    path = inside(root, Path(relative))
    size = path.stat().st_size
    return FileDigest(relative, size, hash_spans(path, chunk_spans(size)))


_KINDS: dict[str, type] = {"parameters": dict, "geometry": dict, "codec": dict, "plan": str, "verified": bool}


@dataclass(frozen=True)
class Manifest:
    """`outputs` are all files of the dataset except `manifest.json` and `run.json`; `plan` is the plan's
    digest.

    `parameters`, `geometry` and `codec` are JSON-safe; `codec` names implementation and version. `verified`
    tells whether every block was read back and compared with its source. `beside` are files that were written next
    to the input, for programs that look for them there.
    """

    inputs: tuple[FileDigest, ...]
    outputs: tuple[FileDigest, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    geometry: dict[str, Any] = field(default_factory=dict)
    codec: dict[str, Any] = field(default_factory=dict)
    plan: str = ""
    verified: bool = False
    notes: tuple[str, ...] = ()
    beside: tuple[FileDigest, ...] = ()

    def to_json(self) -> bytes:
        values = vars(self) | {
            "version": VERSION,
            "inputs": _rows(self.inputs),
            "outputs": _rows(self.outputs),
            "beside": _rows(self.beside),
        }
        return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Raises BadInput for anything that `to_json` did not write."""
        try:
            values = json.loads(text)
            if values.pop("version") != VERSION:
                raise ValueError("of another version")
            values.setdefault("beside", [])  # which older manifests do not have
            for side in ("inputs", "outputs", "beside"):
                values[side] = tuple(_file(row) for row in values[side])
            for name, kind in _KINDS.items():
                if not isinstance(values.get(name, kind()), kind):
                    raise ValueError(f"{name} is no {kind.__name__}")
            return cls(**values | {"notes": tuple(values["notes"])})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BadInput(f"{MANIFEST} is damaged: {error}") from error

    def differences(self, root: Path, *, read: bool = True) -> list[str]:
        """What in `root` is not as promised: missing, extra, truncated, longer and, if they are `read`, changed
        files; empty when all is.

        Data folders of former versions, which wait for their removal, are not counted as extra.
        """
        promised = {file.path: file for file in self.outputs}
        present = set(_present(root, {part for path in promised for part in Path(path).parts}))
        found = [f"extra: {path}" for path in present - promised.keys()]
        for path, file in promised.items():
            found += [f"missing: {path}"] if path not in present else _changes(root, file, read=read)
        return sorted(found)


def superseded(root: Path) -> list[Path]:
    """The data folders of a result that its manifest names nothing in, relative to `root`: those of former versions.

    A dataset that was kept as it is may have data in folders of any name; without a manifest nothing was replaced.
    """
    folders = data_folders(root)
    try:
        outputs = Manifest.from_json((root / MANIFEST).read_bytes()).outputs if folders else ()
    except (OSError, BadInput):
        return []
    present = {folder for file in outputs for folder in Path(file.path).parents}
    return [folder for folder in folders if folder not in present]


def _rows(files: Iterable[FileDigest]) -> list[dict[str, Any]]:
    return [vars(file) | {"root": file.root} for file in sorted(files, key=lambda file: file.path)]


def _file(row: dict[str, Any]) -> FileDigest:
    if not isinstance(row["path"], str) or not isinstance(row["size"], int):
        raise TypeError("a file without a path or size")
    file = FileDigest(row["path"], row["size"], tuple(row["chunks"]))
    if file.root != row["root"]:
        raise ValueError(f"the root of {file.path} does not fit its chunks")
    return file


def _present(root: Path, known: set[str]) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name in known or not DATA_FOLDER.fullmatch(name)]
        for name in names:
            path = Path(folder, name).relative_to(root)
            if str(path) not in UNCOVERED:
                yield path.as_posix()


def _changes(root: Path, file: FileDigest, *, read: bool) -> list[str]:
    size = inside(root, Path(file.path)).stat().st_size
    if size != file.size:
        kind = "truncated" if size < file.size else "longer"
        return [f"{kind}: {file.path} has {size} bytes instead of {file.size}"]
    chunks = digest_file(root, file.path).chunks if read else file.chunks
    changed = [str(i) for i, (old, new) in enumerate(zip(file.chunks, chunks, strict=True)) if old != new]
    return [f"changed: {file.path} in chunk {', '.join(changed)}"] if changed else []
