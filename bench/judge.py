"""Whether a published result is what other readers make of the same file: h5py, netCDF4, tifffile, Pillow, OpenVisus.

A sealed child too: the files are hostile, and the readers not ours.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - its filters need to be there before netCDF4
import netCDF4
import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray

from bench import flights
from converters import child
from converters.plan import Plan
from converters.volume import Volume
from scray.idx.reader import Dataset

Array = NDArray[Any]
HOME = Path(__file__).parent / "scratch" / "visus"  # of OpenVisus
SAME, UNJUDGED = "same", "not judged"
CLOSE, MOST, MOSTLY = 0.05, 2.0, 0.99  # of reflectance and of indices, which are no numbers where bands are near 0


def judge(request: dict[str, Any], _: Callable[[], None]) -> str:
    """`same`, `not judged: why`, or `differs: where`."""
    staging = Path(request["staging"])
    plan = Plan.load(staging)
    verdicts = [SAME]
    if request["contents"]:
        verdicts.append(_contents(Path(plan.root), set(request["contents"])))
    verdicts += _linked(staging / "tree", plan) if plan.source.linked else _written(staging / "tree", plan)
    for kind in ("differs", UNJUDGED):
        for verdict in verdicts:
            if verdict.startswith(kind):
                return verdict
    return SAME


def _contents(root: Path, wanted: set[int]) -> str:
    """What an archive with checksums held comes out as it went in, or not at all."""
    for path in root.rglob("*"):
        if path.is_file() and zlib.crc32(path.read_bytes()) not in wanted:
            return f"differs: {path.name} is not what was packed"
    return SAME


def _linked(tree: Path, plan: Plan) -> Iterator[str]:
    for linked in plan.source.linked:
        with Dataset.open(tree / linked.header) as dataset:
            for index, field in enumerate(dataset.header.fields):
                ours = np.stack([dataset.read(None, step, index) for step in dataset.header.steps()])
                try:
                    theirs = _openvisus(tree / linked.header, field.name, list(dataset.header.steps()))
                except Exception as error:
                    yield f"differs: viewers cannot read {linked.header}: {error}"
                    return
                yield _compared(f"{linked.header} {field.name}", ours, theirs)


def _openvisus(path: Path, field: str, steps: list[int]) -> Array:
    import OpenVisus

    database = OpenVisus.LoadDataset(str(path))
    return np.stack([np.asarray(database.read(time=step, field=field)) for step in steps])


def _written(tree: Path, plan: Plan) -> Iterator[str]:
    for grid in plan.grids:
        with Dataset.open(tree / grid.path("visus.idx")) as dataset:
            for index, volume in enumerate(plan.volumes(grid)):
                ours = np.stack([dataset.read(None, step, index) for step in dataset.header.steps()])
                try:
                    stored = _independent(Path(plan.root), volume, plan.source.metadata)
                except Exception as error:
                    yield f"{UNJUDGED}: {volume.format}: {type(error).__name__}: {error}"
                    continue
                compare = _close if "picture" in volume.options else _compared
                yield compare(volume.selector, ours, _arranged(stored, volume))


def _compared(what: str, ours: Array, theirs: Array) -> str:
    """Whether the numbers are the same; of ours the type counts, which holds every one of theirs exactly."""
    if ours.size != theirs.size:
        return f"differs: {what} has {ours.size} samples, not {theirs.size}"
    with np.errstate(all="ignore"):
        same = ours.tobytes() == theirs.reshape(ours.shape).astype(ours.dtype).tobytes()
    return SAME if same else f"differs: {what} has other samples"


def _close(what: str, ours: Array, theirs: Array) -> str:
    """Whether calculated numbers are about the same: an index is judged where its bands are not both near 0."""
    if ours.size != theirs.size:
        return f"differs: {what} has {ours.size} samples, not {theirs.size}"
    theirs = theirs.reshape(ours.shape)
    same = np.isclose(ours, theirs, rtol=CLOSE, atol=CLOSE, equal_nan=True) | (np.abs(theirs) > MOST)
    return SAME if same.mean() > MOSTLY else f"differs: {what} has other samples"


def _arranged(array: Array, volume: Volume) -> Array:
    """In the order of the result: time first, components last."""
    array = array.reshape(volume.source_shape)
    order = [i for role in ("time", "single", "space", "component") for i in volume.axes_of(role)]
    return array.transpose(order)


def _independent(root: Path, volume: Volume, said: dict[str, Any]) -> Array:
    """The array of a volume; files are laid one behind the other, as they were joined."""
    if "picture" in volume.options:
        bands = said.get("calibration", {}).get("bands", [])
        pieces = [flights.calculated(root, root / name, volume.name, bands) for name in volume.files]
    else:
        pieces = [_stored(root / name, volume) for name in volume.files]
    return pieces[0] if len(pieces) == 1 else np.concatenate([piece.ravel() for piece in pieces])


def _stored(path: Path, volume: Volume) -> Array:
    with path.open("rb") as file:
        head = file.read(4)
    if volume.format == "idx":
        with Dataset.open(path) as dataset:  # for its names alone
            field = dataset.header.fields[volume.options["field"]].name
            return _openvisus(path, field, list(dataset.header.steps()))
    if "path" in volume.options:
        stored = _netcdf(path, volume) if head.startswith(b"CDF") else _hdf5(path, volume)
        for name in volume.options["fields"]:
            stored = stored[name]
        plane = volume.options["plane"]
        return np.asarray({"re": stored.real, "im": stored.imag}[plane] if plane else stored)
    if volume.options.get("indices"):
        raise LookupError("no other reader")
    return _tiff(path, volume) if head[:2] in (b"II", b"MM") else _picture(path, volume)


def _hdf5(path: Path, volume: Volume) -> Array:
    with h5py.File(path, "r") as file:
        return np.asarray(file[volume.options["path"]][()])


def _netcdf(path: Path, volume: Volume) -> Array:
    with netCDF4.Dataset(str(path)) as file:
        file.set_auto_maskandscale(False)
        return np.asarray(file[volume.options["path"].strip("/")][...])


def _tiff(path: Path, volume: Volume) -> Array:
    with tifffile.TiffFile(path) as file:
        series = file.series[volume.options.get("series") or 0]
        stored = np.asarray(series.asarray())
        if volume.format not in ("rgb", "mapir"):
            return stored
        if series.axes.startswith("S"):  # planes, one behind the other
            stored = np.moveaxis(stored, 0, -1)
        return _turned(stored, series.keyframe.tags.valueof(274, 1))


def _turned(stored: Array, orientation: int) -> Array:
    """As Exif means it: 2 to 4 mirror, 5 to 8 swap rows and columns first."""
    if orientation in (5, 6, 7, 8):
        stored = np.swapaxes(stored, 0, 1)
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    return stored[:, ::-1] if orientation in (2, 3, 6, 7) else stored


def _picture(path: Path, volume: Volume) -> Array:
    with PIL.Image.open(path) as opened:
        image: PIL.Image.Image = opened
        if image.mode == "P":
            image = image.convert("RGB" if volume.components == 3 else "RGBA")
        elif image.mode == "1":
            image = image.convert("L")
        said = opened.getexif().get(274, 1)
        return _turned(np.asarray(image), said if isinstance(said, int) else 1)


if __name__ == "__main__":
    os.environ["VISUS_HOME"] = str(HOME)
    import OpenVisus  # noqa: F401 - while it may still open its files

    child.REQUESTS["judge"] = judge
    child.serve()
