"""HDF5: one dataset of a file as a volume, chosen by NeXus rules, by size, or by name.

Values are read by the HDF5 library itself, hyperslab by hyperslab, filters included.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from converters import fill
from converters.faults import check_size, reading
from converters.h5chunks import Chunks
from converters.h5links import Found, H5Store, check_dataset
from converters.h5scale import sample_bytes
from converters.h5series import laid, series
from converters.h5walk import MAX_GLANCED, MAX_OBJECTS, Node, Tree, attribute, attributes, text, walk
from converters.joined import JoinedReader, join
from converters.jsonsafe import json_safe
from converters.nxsignals import axes_of, default_signal, largest
from converters.samples import Part, left_out, parts, take, type_text
from converters.volume import PACKED, Array, Box, Reader, Source, Volume, overlap, roles_for
from scray.errors import BadParameter, EmptyInput, HostileInput, MissingSource, MixedInput, NothingToConvert, ScrayError

FORMAT = "hdf5"
MAX_MASTERS = 64
MAX_ASIDE = 64
ASIDE = ("DIMENSION_SCALE", "PALETTE")
_DATA = re.compile(r"data|image|frame|signal|count|raw|volume|entry|scan|measurement")  # what data are called
# What Matlab keeps for its cells, PyTables for its indexes of tables (User's Guide, "File format"), Imaris to be shown,
# and Velox as events, which nobody can look at.
_INSIDE = re.compile(r"^/#refs#/|/_i_[^/]+/|^/Thumbnail/|^/Data/SpectrumStream/")
EXCHANGE = "/exchange/data"  # Data Exchange 1.0, section "The exchange group"


def probe(root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    """The principal dataset of the file, or those that `dataset` names.

    Principal is what NeXus attributes call the default signal, or Data Exchange its data; else the dataset of most
    samples, where one with more axes wins over one that is up to 16 times larger. The others are listed in the
    metadata. Of several files, the master that refers to others counts; where none does, each file is one time step.
    """
    return joined(root, files, lambda name: _probe_one(root, name, files, parameters))


def _probe_one(root: Path, name: str, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    with reading(name, "HDF5"), H5Store(root) as store:
        wanted = paths_of(parameters.get("dataset") or parameters.get("variable"))
        tree = walk(store, name, MAX_GLANCED if wanted else 0)
        nodes = [named(store, name, path, tree) for path in wanted] or [principal(store, tree, name)]
        return source_of(store, name, tree, nodes, files, named=bool(wanted))


def joined(root: Path, files: tuple[str, ...], probe_one: Callable[[str], Source]) -> Source:
    """What one file of several yields: the master's view, or every file's volumes joined in time."""
    if not files:
        raise EmptyInput("There is no HDF5 file in the dataset.")
    master = _master(root, files) if len(files) > 1 else files[0]
    if master is not None:
        return probe_one(master)
    found = [probe_one(name) for name in files]
    counts = {len(source.volumes) for source in found}
    if len(counts) > 1:
        raise MixedInput(f"{files[0]} and the other files hold different numbers of datasets; upload them separately.")
    volumes = tuple(join(same, "time", "file") for same in zip(*(s.volumes for s in found), strict=True))
    return replace(found[0], volumes=volumes)


def _master(root: Path, files: tuple[str, ...]) -> str | None:
    """The file that refers to others of the dataset; masters are small, so small files are looked at first."""
    ranked = sorted(
        files, key=lambda f: (f.count("/"), not f.endswith((".nxs", "master.h5")), (root / f).stat().st_size)
    )
    for name in ranked[:MAX_MASTERS]:
        with reading(name, "HDF5"), H5Store(root) as store:
            if _refers(store, name, set(files) - {name}):
                return name
    return None


def _refers(store: H5Store, name: str, others: set[str]) -> bool:
    tree = walk(store, name, MAX_OBJECTS)
    if any(node.found.file in others for node in tree.datasets + tree.groups):
        return True
    try:
        return any(
            s.file in others for n in tree.datasets if n.found.item.is_virtual for s, _ in store.sources(n.found)
        )
    except ScrayError:
        return True  # it refers to files, only not to all it needs


def paths_of(value: Any) -> list[str]:
    """A parameter that names datasets: one path, a comma list, or a list; the leading slash is optional."""
    if value is None:
        return []
    listed = (
        [str(v) for v in value] if isinstance(value, Sequence) and not isinstance(value, str) else str(value).split(",")
    )
    return ["/" + path.strip().strip("/") for path in listed if path.strip().strip("/")]


def named(store: H5Store, name: str, path: str, tree: Tree) -> Node:
    """The dataset that a parameter names; raises BadParameter that lists what there is."""
    try:
        found = store.find(name, path)
        check_dataset(found)
    except MissingSource as error:
        known = ", ".join(node.path for node in tree.datasets[:20]) or "none"
        if path in tree.broken:
            raise
        raise BadParameter(f"{name} has no dataset {path}. Datasets in it: {known}.") from error
    return Node(path, found)


def principal(store: H5Store, tree: Tree, name: str) -> Node:
    """The dataset to convert when none is named; raises why there is none."""
    signal = default_signal(store, tree)
    if signal is not None:
        return signal
    exchanged = [node for node in tree.datasets if node.path == EXCHANGE and axes_of(node) > 1]
    if exchanged:
        return exchanged[0]
    elsewhere = {path: e for path, e in tree.broken.items() if isinstance(e, (MissingSource, HostileInput))}
    looks_like_data = [error for path, error in tree.broken.items() if _DATA.search(path.rpartition("/")[2].lower())]
    if looks_like_data or (elsewhere and max(map(axes_of, tree.datasets), default=0) < 2):
        raise (looks_like_data or list(elsewhere.values()))[0]  # what is there is not what was meant
    if not tree.datasets:
        why = "; ".join(tree.refused[:8])
        raise NothingToConvert(f"{name} holds no array of numbers." + (f" It has {why}." if why else ""))
    return _largest([node for node in tree.datasets if not _INSIDE.search(node.path)] or tree.datasets)


def _largest(nodes: list[Node]) -> Node:
    """The largest that is not there for others, as coordinates and colours are (HDF5 Dimension Scale, Palette)."""
    left = nodes
    while left:
        best = largest(left)
        if text(attribute(best.found.item, "CLASS")) not in ASIDE or len(nodes) - len(left) > MAX_ASIDE:
            return best
        left = [node for node in left if node is not best]
    return largest(nodes)


def source_of(
    store: H5Store, name: str, tree: Tree, nodes: list[Node], files: tuple[str, ...], *, named: bool
) -> Source:
    """The Source of chosen datasets, the first being principal; each its own IDX dataset where there are several.

    What cannot be read raises where it is the first or was named, and is noted otherwise.
    """
    volumes: list[Volume] = []
    chosen: set[str] = set()
    broken = {path: error.message for path, error in tree.broken.items()}
    notes = [f"{len(broken)} links lead nowhere, the first: {next(iter(broken.values()))}"] if broken else []
    for node in nodes:
        dataset = node.path.strip("/").replace("/", "_") if len(nodes) > 1 else ""
        try:
            pieces = [node] if named else series(store, name, node)
            parted = [volumes_of(store, name, piece, dataset) for piece in pieces]
            volumes += parted[0] if len(pieces) == 1 else map(laid, zip(*parted, strict=True))
            chosen |= {piece.path for piece in pieces}
        except ScrayError as error:
            if named or not volumes:
                raise
            notes.append(f"{node.path} is left out: {error.message}")
    others = [f"{n.path} {n.shape} {n.found.item.dtype}" for n in tree.datasets if n.path not in chosen]
    metadata = {
        "file": name,
        "nodes": tree.told,
        "other_datasets": others[:1000],
        "not_numeric": tree.refused[:1000],
        "broken_links": dict(list(broken.items())[:1000]),
    }
    notes += _other_columns(nodes) + _other_datasets(tree, chosen) + _other_files(store, name, tree, files)
    return Source(FORMAT, tuple(volumes), metadata=metadata, notes=tuple(notes))


def _other_columns(nodes: list[Node]) -> list[str]:
    told = {node.path: left_out(node.found.item.dtype) for node in nodes}
    return [f"Columns of {path} that hold no numbers: {', '.join(cols[:30])}." for path, cols in told.items() if cols]


def _other_datasets(tree: Tree, chosen: set[str]) -> list[str]:
    """The larger ones among the datasets that are not converted."""
    rest = [n for n in tree.datasets if n.path not in chosen and axes_of(n) > 1]
    if not rest:
        return []
    largest_first = sorted(rest, key=lambda n: -n.samples)[:10]
    told = ", ".join(f"{n.path} {n.shape}" for n in largest_first)
    return [f"{len(rest)} other arrays are not converted; the parameter dataset names one. The largest: {told}."]


def _other_files(store: H5Store, name: str, tree: Tree, files: tuple[str, ...]) -> list[str]:
    used = {name, *store.opened, *(node.found.file for node in tree.datasets)}
    rest = [file for file in files if file not in used]
    return [f"{name} was converted; not part of it: {', '.join(rest[:20])}."] if rest else []


def volumes_of(store: H5Store, name: str, node: Node, dataset: str) -> list[Volume]:
    """One dataset as volumes: one, or one a field or plane of its type."""
    item = node.found.item
    what = f"{name}:{node.path}"
    check_size(what, math.prod(item.shape), item.dtype.itemsize)
    store.check_samples(node.found)
    outer = tuple(int(n) for n in item.shape) or (1,)
    chunks, compressed = storage_of(store, node.found)
    about, kind = attributes(item), type_text(item.dtype)
    found = []
    for part in parts(item.dtype, what):
        shape = outer + part.inner
        found.append(
            Volume(
                format=FORMAT,
                files=(name,),
                selector=node.path + part.suffix,
                name=node.path.rsplit("/", 1)[-1] + part.suffix,
                dataset=dataset,
                source_shape=shape,
                source_axes=_axis_names(item, shape),
                roles=roles_for(shape, component_axis=len(shape) - 1 if _is_colour(item, shape) else None),
                source_dtype=kind,
                dtype=part.dtype,
                chunks=chunks + part.inner,
                compressed=compressed,
                attributes=about,
                options={
                    "path": node.path,
                    **part_options(part),
                    **fill_option(item, part),
                    **packed_option(item, part),
                },
            )
        )
    return found


def part_options(part: Part) -> dict[str, Any]:
    """What `part_of` needs to find a part again."""
    return {"fields": list(part.path), "plane": part.plane, "inner": list(part.inner)}


def fill_option(item: Any, part: Part) -> dict[str, Any]:
    """The fill value that whoever made a dataset of plain numbers gave it."""
    if part.path or part.plane or part.inner:
        return {}
    if item.id.get_create_plist().fill_value_defined() != h5py.h5d.FILL_VALUE_USER_DEFINED:
        return {}
    return {fill.OPTION: json_safe(item.fillvalue)}


def packed_option(item: Any, part: Part) -> dict[str, Any]:
    """What a compressed chunk unpacks to where that is more: all columns of a table, all of a chunk at the edge."""
    if not item.chunks or not item.id.get_create_plist().get_nfilters():
        return {}
    packed = math.prod(item.chunks) * sample_bytes(item)
    held = math.prod(map(min, item.chunks, item.shape)) * math.prod(part.inner) * np.dtype(part.dtype).itemsize
    return {PACKED: packed} if packed > held else {}


def part_of(volume: Volume) -> Part:
    """The part of its source array that a volume is."""
    options = volume.options
    return Part("", volume.dtype, tuple(options["fields"]), options["plane"], tuple(options["inner"]))


def _is_colour(item: Any, shape: tuple[int, ...]) -> bool:
    """Whether the last axis holds the samples of a pixel, by the HDF5 Image specification or NeXus."""
    if len(shape) < 3 or shape[-1] not in (3, 4):
        return False
    if text(attribute(item, "interpretation")) in ("rgb-image", "rgba-image"):
        return True
    return text(attribute(item, "IMAGE_SUBCLASS")) == "IMAGE_TRUECOLOR" and (
        text(attribute(item, "INTERLACE_MODE")) in ("INTERLACE_PIXEL", "")
    )


def storage_of(store: H5Store, found: Found) -> tuple[tuple[int, ...], bool]:
    """The natural chunk of a dataset, in its axes, and whether a chunk has to be decoded whole."""
    item = found.item
    shape = tuple(int(n) for n in item.shape) or (1,)
    if item.chunks:
        filters = item.id.get_create_plist().get_nfilters()
        return tuple(min(int(c), n) for c, n in zip(item.chunks, shape, strict=True)), filters > 0
    if item.is_virtual:
        for source, _ in store.sources(found):
            if source.item.ndim == len(shape) and not source.item.is_virtual:
                chunks, compressed = storage_of(store, source)
                return tuple(min(c, n) for c, n in zip(chunks, shape, strict=True)), compressed
            break
    return (1,) * (len(shape) - 1) + (shape[-1],), False


def _axis_names(item: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Dimension labels where they are set and unique, else dim0, dim1, …"""
    try:
        labels = [str(d.label) for d in item.dims][: len(shape)]
    except Exception:
        labels = []
    unique = len(set(labels)) == len(shape) and all(labels)
    return tuple(labels) if unique else tuple(f"dim{i}" for i in range(len(shape)))


class H5Reader(Reader):
    """Reads hyperslabs of one dataset; one thread at a time."""

    def __init__(self, root: Path, volume: Volume) -> None:
        super().__init__(root, volume)
        self._store = H5Store(root)
        self._part = part_of(volume)
        try:
            self._item = self._find(volume)
            self._chunks = Chunks(self._item, f"{volume.files[0]}:{volume.options['path']}")
        except BaseException:
            self.close()
            raise

    def _find(self, volume: Volume) -> Any:
        path = volume.options["path"]
        with reading(f"{volume.files[0]}:{path}", "HDF5"):
            found = self._store.find(volume.files[0], path)
            check_dataset(found)
            self._store.check_samples(found)
            if (tuple(found.item.shape) or (1,)) + self._part.inner != volume.source_shape:
                raise MixedInput(f"{volume.files[0]}:{path} has changed since it was planned.")
            return found.item

    def read_source(self, box: Box) -> Array:
        """The samples of a box in source axes, exactly."""
        name = f"{self.volume.files[0]}:{self.volume.options['path']}"
        shape = tuple(stop - start for start, stop in box)
        at = tuple(slice(start, stop) for start, stop in box)
        outer = len(box) - len(self._part.inner)
        selection = at[:outer] if self._item.shape else ()
        with reading(name, "HDF5"):
            self._chunks.check(box[:outer] if self._item.shape else ())
            if self._plain:
                stored = np.zeros(shape, self._item.dtype.newbyteorder("<"))  # HDF5 may leave unwritten samples alone
                self._item.read_direct(stored.reshape(self._item.shape and shape), selection)
                return take(stored, self._part)
            item, part = self._item, self._part
            if part.path and item.dtype.names:  # the other columns stay where they are
                item, part = item.fields(part.path[0]), replace(part, path=part.path[1:])
            whole = take(np.asarray(item[selection]), part).reshape(*shape[:outer], *part.inner)
            return whole[(slice(None),) * outer + at[outer:]].reshape(shape)

    def unwritten(self, box: Box) -> Iterator[Box]:
        """The chunks in a box that were never written; all of it where nothing was."""
        item, outer = self._item, box[: self._item.ndim]
        if item.is_virtual or item.external or not item.ndim:
            return
        if not item.chunks:
            if not item.id.get_storage_size():
                yield box
            return
        spans = [range(a // c * c, b, c) for (a, b), c in zip(outer, item.chunks, strict=True)]
        for corner in product(*spans):
            chunk = tuple((at, at + c) for at, c in zip(corner, item.chunks, strict=True))
            shared = overlap(chunk, outer)
            if shared and not self._has_chunk(corner):
                yield shared + box[len(outer) :]

    def _has_chunk(self, corner: tuple[int, ...]) -> bool:
        with reading(f"{self.volume.files[0]}:{self.volume.options['path']}", "HDF5"):
            return self._item.id.get_chunk_info_by_coord(corner).byte_offset is not None

    @property
    def _plain(self) -> bool:
        """Whether these are numbers that HDF5 itself brings into our byte order."""
        return self._item.dtype.kind in "iufbc" and self._item.id.get_type().get_class() != h5py.h5t.BITFIELD

    def close(self) -> None:
        self._store.close()


def open_volume(root: Path, volume: Volume) -> Reader:
    """A reader of a volume that `probe` found."""
    return JoinedReader(root, volume, H5Reader) if len(volume.files) > 1 else H5Reader(root, volume)
