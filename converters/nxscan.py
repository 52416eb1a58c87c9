"""A 4-D scan as dashboards show it: scan coordinates, intensities before and behind the sample, and their ratio.

The volume has the two axes of the scan first; x coordinates are as many as its first axis is long, y coordinates as
its second, and each intensity has one value a scan point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from converters.faults import reading
from converters.h5links import H5Store
from converters.h5walk import Node, Tree
from converters.volume import Array, Box, Reader, Volume, roles_for

FORMAT = "nexus"
MAX_POINTS = 1 << 24
ZERO = 1e-10  # what a zero behind the sample counts as
MIN_AXES = 3

# Words in the name of a dataset that tell its role, the best first; they count only where the size fits too.
WORDS = {
    "presample": ("presample",),
    "postsample": ("postsample",),
    "Xs": ("samx", "xrfx", "x"),
    "Ys": ("samz", "xrfz", "samy", "z", "y"),
}

Roles = Mapping[str, list[Node]]


def detected(tree: Tree, volume: Node, named: Roles) -> dict[str, list[Node]]:
    """The roles that nobody named, each filled by the first dataset that has its size and a telling name."""
    if len(volume.shape) < MIN_AXES:
        return {}
    found = {role: _by_word(tree, words, _fits(role, volume)) for role, words in WORDS.items() if not named.get(role)}
    return {role: nodes for role, nodes in found.items() if nodes}


def _by_word(tree: Tree, words: tuple[str, ...], fits: Callable[[Node], bool]) -> list[Node]:
    candidates = [node for node in tree.datasets if node.found.item.dtype.kind in "iuf" and fits(node)]
    for word in words:
        for node in candidates:
            name = node.path.rpartition("/")[2].lower()
            if name == word or (len(word) > 1 and word in name):
                return [node]
    return []


def _fits(role: str, volume: Node) -> Callable[[Node], bool]:
    rows, columns = volume.shape[:2]
    if role in ("Xs", "Ys"):
        return lambda node: node.shape == ((rows if role == "Xs" else columns),)
    return lambda node: node.samples == rows * columns


def mismatches(volume: Node, roles: Roles) -> list[str]:
    """What was named but does not fit the volume, a sentence each."""
    if len(volume.shape) < MIN_AXES:
        return []
    return [
        f"{role}: {node.path} has the shape {node.shape}, which does not fit {volume.path} {volume.shape}."
        for role, nodes in roles.items()
        if role in WORDS
        for node in nodes[:1]
        if not _fits(role, volume)(node)
    ]


def ratio(volume: Node, roles: Roles, name: str) -> list[Volume]:
    """The intensity before the sample by that behind it, as one more volume, where both have a value a scan point."""
    nodes = [node for role in ("presample", "postsample") for node in roles.get(role, [])[:1]]
    if len(volume.shape) < MIN_AXES or len(nodes) != 2 or not all(_fits("presample", volume)(node) for node in nodes):
        return []
    shape = volume.shape[:2]
    if nodes[0].samples > MAX_POINTS:
        return []
    paths = [node.path for node in nodes]
    return [
        Volume(
            format=FORMAT,
            files=(name,),
            selector=" / ".join(paths),
            name="preview",
            dataset="preview",
            source_shape=shape,
            source_axes=("x", "y"),
            roles=roles_for(shape),
            source_dtype="float32",
            dtype="<f4",
            chunks=shape,
            compressed=False,
            attributes={"long_name": "presample / postsample, from 0 to 1"},
            options={"paths": paths},
        )
    ]


def normalised(presample: Array, postsample: Array) -> Array:
    """Presample by postsample as float32 between 0 and 1.

    Zeros behind the sample count as 1e-10, what is not finite as 0.
    """
    behind = np.where(postsample == 0, ZERO, postsample.astype("f8"))
    with np.errstate(all="ignore"):
        found = np.nan_to_num(presample.astype("f8") / behind, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(found.min()), float(found.max())
        scaled = (found - low) / (high - low) if high > low else np.zeros_like(found)
    return scaled.astype("<f4")


class RatioReader(Reader):
    """Makes the ratio from both intensities, once; it is small."""

    def __init__(self, root: Path, volume: Volume) -> None:
        super().__init__(root, volume)
        with H5Store(root) as store:
            before, behind = (self._values(store, path) for path in volume.options["paths"])
        self._whole = normalised(before, behind)

    def _values(self, store: H5Store, path: str) -> Array:
        name = self.volume.files[0]
        with reading(f"{name}:{path}", "HDF5"):
            found = store.find(name, path)
            store.check_samples(found)
            values: Array = np.asarray(found.item[()]).reshape(self.volume.source_shape)
            return values

    def read_source(self, box: Box) -> Array:
        """The samples of a box."""
        return self._whole[tuple(slice(start, stop) for start, stop in box)]

    def close(self) -> None:
        pass
