"""What is in an HDF5 file: its datasets and attributes, walked once, every object once, in bounded time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import h5py
import numpy as np

from converters.faults import reading
from converters.h5links import Found, H5Store, link_of, missing_filters, spelt
from converters.jsonsafe import json_safe
from converters.samples import is_numeric, type_name
from scray.errors import ScrayError, TooLarge

MAX_OBJECTS = 100_000
MAX_GLANCED = 10_000  # where it is only to be told what else there is
MAX_NODES_TOLD = 2_000
MAX_ATTRIBUTE_BYTES = 65_536
MAX_DEPTH = 256
PLACEHOLDER = "This is a netCDF dimension but not a netCDF variable"  # NetCDF-4 format, "Dimensions without variables"
NO_VALUES = "a dimension of NetCDF, without values"


@dataclass(frozen=True)
class Node:
    """A dataset or group, by the path that a person would use (external links included)."""

    path: str
    found: Found
    nx_class: str = ""

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.found.item.shape or ())

    @cached_property
    def samples(self) -> int:
        return math.prod(self.shape)


@dataclass
class Tree:
    """Everything below a file's root; `broken` tells which links lead nowhere and why, `lost` those of signals.

    `numeric` are the identities of `datasets`.
    """

    datasets: list[Node] = field(default_factory=list)
    numeric: set[tuple[str, int]] = field(default_factory=set)
    groups: list[Node] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    broken: dict[str, ScrayError] = field(default_factory=dict)
    lost: dict[str, ScrayError] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)


def walk(store: H5Store, name: str, at_most: int = 0) -> Tree:
    """Walk breadth first; each object is visited once, whatever links lead to it. Raises TooLarge past the limit, or
    ends after `at_most` objects.
    """
    tree = Tree()
    try:
        for number, _ in enumerate(walking(store, name, tree), 1):
            if number == at_most:
                break
    except TooLarge:
        if not at_most:
            raise
    return tree


def walking(store: H5Store, name: str, tree: Tree) -> Iterator[Node]:
    """The objects of a file while they are walked and noted in `tree`."""
    start = store.find(name, "/")
    seen = {start.identity}
    queue = deque([Node("/", start)])
    visited = 0
    while queue:
        node = queue.popleft()
        visited += 1
        if visited + len(queue) > MAX_OBJECTS:
            raise TooLarge(f"{name} has more than {MAX_OBJECTS} objects; name one with the parameter dataset.")
        queue.extend(_visit(store, node, tree, seen))
        yield node


def _visit(store: H5Store, node: Node, tree: Tree, seen: set[tuple[str, int]]) -> list[Node]:
    """Note one object; the children of a group that were not seen before."""
    item = node.found.item
    if len(tree.told) < MAX_NODES_TOLD:
        _tell(node, tree)
    if isinstance(item, h5py.Dataset):
        _note_dataset(store, node, tree)
        return []
    if not isinstance(item, h5py.Group) or node.path.count("/") > MAX_DEPTH:
        return []
    tree.groups.append(Node(node.path, node.found, text(attribute(item, "NX_class"))))
    return [child for key in _keys(node) for child in _child(store, node, key, tree, seen)]


def _keys(node: Node) -> list[str]:
    with reading(f"{node.found.file}:{node.path}", "HDF5"):
        return sorted(map(spelt, islice(node.found.item, MAX_OBJECTS + 1)))


def _child(store: H5Store, node: Node, key: str, tree: Tree, seen: set[tuple[str, int]]) -> list[Node]:
    path = f"{node.path.rstrip('/')}/{key}"
    try:
        link = link_of(node.found.item, key, f"{node.found.file}:{path}")
        if isinstance(link, h5py.SoftLink):
            return []  # what it leads to is met on its own path
        found = store.child(node.found, key, link)
        if found.identity in seen:
            return []
    except ScrayError as error:
        tree.broken[path] = error
        return []
    except Exception as error:
        tree.refused.append(f"{path}: unreadable ({error})")
        return []
    seen.add(found.identity)
    return [Node(path, found)]


def _note_dataset(store: H5Store, node: Node, tree: Tree) -> None:
    try:
        why = _no_numbers(node.found.item)
    except Exception as error:
        tree.refused.append(f"{node.path}: a type that cannot be read" + (f" ({error})" if str(error)[2:] else ""))
        return
    if why == "empty" and (lost := _lost_source(store, node)):
        tree.broken[node.path] = lost
        return
    if not why:
        tree.datasets.append(node)
        tree.numeric.add(node.found.identity)
    else:
        missing = "".join(f", {name} is not available" for name in missing_filters(node.found.item))
        tree.refused.append(f"{node.path}: {why}{missing}")


def _lost_source(store: H5Store, node: Node) -> ScrayError | None:
    """Why a virtual dataset is empty: HDF5 takes its size from its sources, and leaves out those that are not there."""
    try:
        if node.found.item.is_virtual:
            list(store.sources(node.found))
    except ScrayError as error:
        return error
    return None


def _no_numbers(item: Any) -> str:
    """What a dataset holds instead of numbers; "" where it holds some. Matlab keeps text and the sizes of empty
    arrays as integers.
    """
    if text(attribute(item, "NAME")).startswith(PLACEHOLDER):
        return NO_VALUES
    if item.shape is None or 0 in item.shape or text(attribute(item, "MATLAB_empty")) not in ("", "0"):
        return "empty"
    if text(attribute(item, "MATLAB_class")) == "char":
        return "text"
    return "" if is_numeric(item.dtype) else type_name(item.dtype)


def _tell(node: Node, tree: Tree) -> None:
    about = attributes(node.found.item)
    if isinstance(node.found.item, h5py.Dataset):
        try:
            about = {"shape": json_safe(node.found.item.shape), "dtype": str(node.found.item.dtype), **about}
        except Exception as error:
            about = {"unreadable": json_safe(str(error)), **about}
    if about:
        tree.told[node.path] = about


def attributes(item: Any) -> dict[str, Any]:
    """All attributes of an object, JSON-safe and bounded; what cannot be read says so."""
    found: dict[str, Any] = {}
    try:
        names = list(item.attrs)[:1000]
    except Exception:
        return found
    for name in names:
        found[name] = json_safe(attribute(item, name))
    return found


def attribute(item: Any, name: str) -> Any:
    """One attribute as Python or numpy has it; None where there is none, a sentence where it is unreadable."""
    try:
        attrs = item.attrs
        if name not in attrs:
            return None
        raw = attrs.get_id(name)
        if raw.get_storage_size() > MAX_ATTRIBUTE_BYTES:
            return f"{raw.get_storage_size()} bytes, left out"
        if raw.get_type().detect_class(h5py.h5t.REFERENCE):  # they tell nothing outside the file, and may crash HDF5
            return "references, left out"
        return attrs[name]
    except Exception as error:
        return f"unreadable: {error}"


def text(value: Any) -> str:
    """A string attribute, however it was written: bytes, text, or an array whose first it is."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return "" if value is None else str(value).strip()


def texts(value: Any) -> list[str]:
    """A list of strings, however it was written: an array, or one text with colons or commas between."""
    if isinstance(value, np.ndarray) and value.size != 1:
        return [text(part) for part in value.reshape(-1)[:64]]
    inner = text(value).strip("[] ")
    return [part.strip() for part in inner.replace(",", ":").split(":")] if inner else []
