"""A mark: the note on disk that a task is finished, and what it wrote.

It is written last, after the files it names are flushed; a resume believes it only if they are there with their size.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from scray.idx.writer import Written
from scray.manifest import FileDigest
from scray.storage import write_atomic

Extremes = dict[str, tuple[float, ...]]  # by field name, one value a component


@dataclass(frozen=True)
class Mark:
    """`files` are relative to the result, `kept` (residuals, segments) to the staging folder; `seconds` by stage.

    `beside` are files that were placed outside of both, beside the input.
    """

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")

    task: str
    files: tuple[Written, ...] = ()
    kept: tuple[Written, ...] = ()
    minimum: Extremes = field(default_factory=dict)
    maximum: Extremes = field(default_factory=dict)
    samples: int = 0
    read_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    verified: bool = False
    notes: tuple[str, ...] = ()
    beside: tuple[FileDigest, ...] = ()
    host: str = field(default_factory=platform.node)  # where it was done

    def write(self, staging: Path) -> None:
        """Note it; a mark that a power loss takes away only means that the task is done again."""
        write_atomic(_path(staging, self.task), _MARK.dump_json(self), flush_folder=False)

    def is_true(self, staging: Path) -> bool:
        """Whether everything it names is on disk, with its size."""
        named = [(staging / "tree", f) for f in self.files] + [(staging, f) for f in self.kept]
        return all(_has_size(root / written.path, written.size) for root, written in named)


_MARK: TypeAdapter[Mark] = TypeAdapter(Mark)


def read_mark(staging: Path, task_id: str) -> Mark | None:
    """The mark of a task, or None where there is none that can be believed."""
    try:
        mark = _MARK.validate_json(_path(staging, task_id).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return mark


def _path(staging: Path, task_id: str) -> Path:
    return staging / "marks" / f"{task_id}.json"


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False
