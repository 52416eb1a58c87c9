"""4D NeXus: every signal of an HDF5 file as a dataset of its own, with its coordinates; read as HDF5 is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from converters import hdf5, nxscan
from converters.faults import reading
from converters.h5links import H5Store
from converters.h5walk import MAX_GLANCED, Node, Tree, attribute, text, texts, walk
from converters.hdf5 import joined, named, paths_of, principal, source_of
from converters.joined import JoinedReader
from converters.jsonsafe import json_array, json_safe
from converters.nxsignals import auxiliaries, axes_of, detectors, marked, signals
from converters.volume import Reader, Source, Volume
from scray.errors import BadParameter, ScrayError

ROLES = ("volume", "presample", "postsample", "Xs", "Ys")
MAX_COORDINATE = 100_000
MAX_WITH_AXES = 1000  # signals whose axes are looked up and told


def probe(root: Path, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    """The signals of a NeXus file, each its own dataset, the default one first; or the datasets that `volume` names.

    `volume`, `Xs`, `Ys`, `presample` and `postsample`, also spelt with `_dataset`, are each a path or a comma list;
    those that are not named are looked for by name and size. The intensities become datasets too, and so does their
    ratio, `preview`; the coordinates go into the metadata. Raises BadParameter that lists what there is.
    """
    return joined(root, files, lambda name: _probe_one(root, name, files, parameters))


def _probe_one(root: Path, name: str, files: tuple[str, ...], parameters: Mapping[str, Any]) -> Source:
    with reading(name, "HDF5"), H5Store(root) as store:
        wanted = paths_of(parameters.get("dataset") or parameters.get("variable"))
        all_named = wanted or any(parameters.get(key) for key in ("volume", "volume_dataset"))
        tree = walk(store, name, MAX_GLANCED if all_named else 0)
        chosen = {role: _chosen(store, name, tree, parameters, role) for role in ROLES}
        explicit = chosen["volume"] or [named(store, name, path, tree) for path in wanted]
        nodes = explicit or _signals_to_convert(store, tree, name)
        found = {} if explicit else nxscan.detected(tree, nodes[0], chosen)
        roles = chosen | found
        intensities = roles["presample"] + roles["postsample"]
        source = source_of(store, name, tree, _once(nodes + intensities), files, named=bool(explicit))
        source.metadata["nexus"] = _about(store, name, tree, source, roles)
        notes = nxscan.mismatches(nodes[0], chosen) + [
            f"{role} was not named; {node.path} has its name and size." for role, ns in found.items() for node in ns
        ]
        if not explicit and not any(group.nx_class for group in tree.groups):
            notes.append("The content is an HDF5 file without NeXus classes.")
        if len(source.volumes) > MAX_WITH_AXES:
            notes.append(f"Of {len(source.volumes)} signals metadata.json has the axes of {MAX_WITH_AXES}.")
        volumes = (*source.volumes, *nxscan.ratio(nodes[0], roles, name))
        return replace(source, volumes=volumes, notes=(*notes, *source.notes))


def _once(nodes: list[Node]) -> list[Node]:
    return list({node.found.identity: node for node in reversed(nodes)}.values())[::-1]


def _about(store: H5Store, name: str, tree: Tree, source: Source, roles: Mapping[str, list[Node]]) -> dict[str, Any]:
    """What the metadata say: signals, their axes with values, and who plays which role in a scan."""
    groups = {group.path.rstrip("/"): group for group in tree.groups}
    paths = dict.fromkeys(str(volume.options["path"]) for volume in source.volumes)
    told = {role: [_told(node) for node in nodes] for role, nodes in roles.items() if nodes}
    for role in ("Xs", "Ys"):
        for node, record in zip(roles[role], told.get(role, []), strict=True):
            record |= _values(store, name, node.path)
    return {
        "signals": list(paths),
        "axes": {path: _coordinates(store, name, path, groups) for path in list(paths)[:MAX_WITH_AXES]},
        "roles": told,
    }


def _chosen(store: H5Store, name: str, tree: Tree, parameters: Mapping[str, Any], role: str) -> list[Node]:
    spelt = [key for key in (role, f"{role}_dataset") if parameters.get(key)]
    if len(spelt) > 1 and parameters[spelt[0]] != parameters[spelt[1]]:
        raise BadParameter(f"{spelt[0]} and {spelt[1]} mean the same and name different datasets.")
    return [named(store, name, path, tree) for path in paths_of(parameters[spelt[0]])] if spelt else []


def _signals_to_convert(store: H5Store, tree: Tree, name: str) -> list[Node]:
    """The default signal, every other one with at least two axes, auxiliary ones, detectors that no NXdata shows."""
    nodes = [principal(store, tree, name)]
    seen = {nodes[0].found.identity}
    for node in signals(store, tree) + auxiliaries(store, tree) + detectors(store, tree):
        if node.found.identity not in seen and axes_of(node) >= 2:
            seen.add(node.found.identity)
            nodes.append(node)
    return nodes


def _coordinates(store: H5Store, name: str, path: str, groups: Mapping[str, Node]) -> dict[str, Any]:
    """The coordinate arrays of a signal, by axis, in their order: those small enough to write down."""
    parent = path.rsplit("/", 1)[0]
    group = groups.get(parent)
    names = texts(attribute(group.found.item, "axes")) if group else []
    names = names or texts(attribute(store.find(name, path).item, "axes"))
    names = names or (_numbered_axes(store, group) if group else [])
    return {key: _values(store, name, f"{parent}/{key}") for key in names if key not in ("", ".")}


def _numbered_axes(store: H5Store, group: Node) -> list[str]:
    """The datasets marked axis=1, axis=2, …, as files before 2014 do it."""
    written = {key: number.removesuffix(".0") for key, number in marked(store, group, "axis").items()}
    numbered = [(int(number), key) for key, number in written.items() if number.isdecimal()]
    return [key for _, key in sorted(numbered, key=lambda pair: pair[0])]


def _values(store: H5Store, name: str, path: str) -> Any:
    try:
        found = store.find(name, path)
        if not isinstance(found.item, h5py.Dataset) or found.item.size > MAX_COORDINATE or found.item.ndim > 2:
            return {"path": path}
        store.check_samples(found)
        values = np.asarray(found.item[()])
        units = text(attribute(found.item, "units"))
        return {"path": path, "units": units, "values": json_array(values)}
    except ScrayError as error:
        return {"path": path, "error": error.message}
    except Exception as error:
        return {"path": path, "error": json_safe(str(error))}


def _told(node: Node) -> dict[str, Any]:
    return {"path": node.path, "shape": list(node.shape), "dtype": str(node.found.item.dtype)}


def open_volume(root: Path, volume: Volume) -> Reader:
    """A reader of a volume that `probe` found."""
    if volume.format != nxscan.FORMAT:
        return hdf5.open_volume(root, volume)
    return JoinedReader(root, volume, nxscan.RatioReader) if len(volume.files) > 1 else nxscan.RatioReader(root, volume)
