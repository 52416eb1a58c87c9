"""metadata.json: everything the source said, and what the result is made of; the same for the same input."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from converters.extremes import join
from converters.fill import declared, told
from converters.grid import Grid
from converters.mark import Extremes, Mark
from converters.plan import Plan
from scray.idx.header import Field, Header

HEADER = "visus.idx"
_NO_NAME = re.compile(r"[\0\ud800-\udfff]")  # what no file can be called


def extremes_of(plan: Plan, marks: Iterable[Mark], number: int) -> tuple[Extremes, Extremes]:
    """Minima and maxima of the fields of a grid, over all tasks that read its source."""
    minimum: Extremes = {}
    maximum: Extremes = {}
    for mark in marks:
        task = plan.task(mark.task)
        if task.kind == "brick" and task.grid == number:
            for name, values in mark.minimum.items():
                join(minimum, name, values, min)
            for name, values in mark.maximum.items():
                join(maximum, name, values, max)
    return minimum, maximum


def finite(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """The values where all are known."""
    return values if values and all(map(math.isfinite, values)) else None


def grid_record(plan: Plan, grid: Grid, header: Header) -> dict[str, Any]:
    """What metadata.json says about one dataset that was converted."""
    first = plan.volumes(grid)[0]
    named = dict(zip(range(len(first.roles)), first.source_axes, strict=True))
    record = header_record(grid.path(HEADER), header)
    record |= {
        "name": grid.name,
        "axes": list(first.axis_names),
        "source_shape": list(first.source_shape),
        "source_axes": list(first.source_axes),
        "squeezed_axes": [named[i] for i in first.axes_of("single")],
        "time_axes": [{"name": named[i], "length": first.source_shape[i]} for i in first.axes_of("time")],
    }
    for entry, volume in zip(record["fields"], plan.volumes(grid), strict=True):
        entry |= {
            "source": volume.selector,
            "source_name": volume.name,
            "source_dtype": volume.source_dtype,
            "attributes": volume.attributes,
            **told(volume),
        }
    return record


def header_record(path: str, header: Header) -> dict[str, Any]:
    """What a header alone tells of its dataset."""
    return {
        "idx": path,
        "shape": list(header.shape),
        "dims": list(reversed(header.shape)),
        "dtype": header.fields[0].dtype,
        "steps": header.step_count,
        "levels": header.max_level,
        "fields": [_field_record(f) for f in header.fields],
    }


def _field_record(field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "dtype": field.dtype,
        "components": field.components,
        "minimum": None if field.minimum is None else list(field.minimum),
        "maximum": None if field.maximum is None else list(field.maximum),
    }


def metadata_json(plan: Plan, datasets: list[dict[str, Any]], notes: Iterable[str]) -> bytes:
    """The text of metadata.json."""
    values = {
        "sensor": plan.sensor,
        "format": plan.source.format,
        "source": plan.source.metadata,
        "datasets": datasets,
        "notes": list(notes),
    }
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def fill_values(plan: Plan, grid: Grid) -> tuple[float, ...]:
    """The numbers that stand for "nothing" in the first field of a grid."""
    first = plan.volumes(grid)[0]
    number = np.dtype(first.dtype).type
    return tuple(number(text).item() for text in ((first.fill,) if first.fill else declared(first)))


def colours(plan: Plan, grid: Grid) -> tuple[str, ...]:
    """What the samples of each field of a grid stand for, "" where the source does not say."""
    return tuple(str(volume.attributes.get("colour", "")) for volume in plan.volumes(grid))


def read_metadata(folder: Path) -> dict[str, Any] | None:
    """metadata.json of a result; None where there is none that can be read, or whose datasets are not told as ours."""
    try:
        values = json.loads((folder / "metadata.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    records = values.get("datasets") if isinstance(values, dict) else None
    return dict(values) if isinstance(records, list) and all(map(_well_formed, records)) else None


def _well_formed(record: Any) -> bool:
    """Whether a dataset is told by the name of its header, below the result's folder, and its fields one by one."""
    if not isinstance(record, dict) or not isinstance(record.get("fields", []), list):
        return False
    path = record.get("idx", HEADER)
    if not isinstance(path, str) or path.startswith("/") or ".." in path.split("/") or _NO_NAME.search(path):
        return False
    return all(isinstance(field, dict) for field in record.get("fields", []))
