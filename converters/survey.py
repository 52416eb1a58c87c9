"""What an input holds, before anything of it is converted: the sensor its content stands for, and its datasets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from converters import registry
from converters.archives import archives_in
from converters.describe import HEADER, grid_record, header_record
from converters.info import layout
from converters.plan import Choices, make_plan
from converters.prepare import find_files
from converters.volume import Source
from scray.idx.reader import read_header
from scray.manifest import MANIFEST

SENSORS = {"tiff": "TIFF", "hdf5": "HDF5", "netcdf": "NETCDF", "rgb": "RGB", "idx": "IDX"}
ANY_MEMORY_BYTES = 1 << 50  # nothing is read: no plan is too large to be described


def survey(path: Path, sensor: str = "", parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The datasets that a file or folder would become, as `info` tells them of a result; only headers are read.

    `sensor` is told by the content where it is "". JSON-able. Raises BadRequest, EmptyInput, and what probing raises.
    """
    wished = dict(parameters or {})
    root, files = find_files([path])
    told: dict[str, Any] = {"path": str(path), "files": len(files)}
    told["bytes"] = sum((root / name).stat().st_size for name in files)
    if archives := archives_in(root, files):
        note = f"{', '.join(archives[:5])}: an archive, which a conversion unpacks; what is in it is not looked at here"
        return told | {"sensor": "OTHER", "format": "archive", "datasets": [], "source": {}, "notes": [note]}
    nexus = any(PurePosixPath(name).suffix.lower() == ".nxs" for name in files)
    sensor = sensor or ("4D_NEXUS" if nexus else "")
    source = registry.probe(sensor or "OTHER", root, files, wished)
    sensor = sensor or SENSORS.get(source.format, "OTHER")
    told |= {"sensor": sensor, "format": source.format, "source": source.metadata, "notes": list(source.notes)}
    return told | {"datasets": _linked(source, root) or _planned(source, root, sensor, wished)}


def _planned(source: Source, root: Path, sensor: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    plan = make_plan(root, sensor, (), parameters, source, Choices(memory_bytes=ANY_MEMORY_BYTES))
    records = []
    for grid in plan.grids:
        header = plan.header(grid)
        record = layout(header) | grid_record(plan, grid, header)
        records.append({key: value for key, value in record.items() if key not in ("idx", "codec")})
    return records


def _linked(source: Source, root: Path) -> list[dict[str, Any]]:
    """The IDX datasets among the files, by their own headers."""
    inputs = {name: file for file, name in source.links}
    headers = [(inputs[linked.header], read_header(root / inputs[linked.header])) for linked in source.linked]
    return [layout(header) | header_record(name, header) for name, header in headers]


def is_result(path: Path) -> bool:
    """Whether a path is a result or a bare IDX dataset, which `converters.info` describes."""
    if path.is_file():
        return path.suffix.lower() == ".idx"
    return (path / HEADER).exists() or (path / MANIFEST).exists()
