"""The signals of a NeXus file, found by its attributes (NeXus manual: NXdata, default plot, classic @signal).

`default` leads from the root through NXentry to an NXdata; `signal` names its data, on the group or, in old files,
as signal=1 on the dataset.
"""

from __future__ import annotations

import re

import h5py

from converters.h5links import Found, H5Store, link_of, spelt
from converters.h5walk import Node, Tree, attribute, text, texts
from scray.errors import ScrayError

NEARLY_AS_LARGE = 16
MAX_STEPS = 16
MAX_CHILDREN = 1000
MAX_AUXILIARIES = 1000
FIRST_PIECE = "data_000001"  # of the data of an EIGER, which names no signal
_BESIDE = re.compile(
    r"mask|dark|flat|white|background|error|sigma|std|variance|weight|quality|coord|index|indices"
    r"|latitude|longitude|\b(lat|lon)\b"
)


def axes_of(node: Node) -> int:
    """How many axes of a dataset are longer than 1."""
    return sum(n > 1 for n in node.shape)


def largest(nodes: list[Node]) -> Node:
    """The one of most samples; more axes win over what is not more than 16 times larger; of some that are equal in both
    the first by path that is not called what lies beside data, as masks and errors do.
    """
    limit = max(node.samples for node in nodes) / NEARLY_AS_LARGE
    near = [node for node in nodes if node.samples >= limit]
    return min(near, key=lambda n: (-axes_of(n), -n.samples, _is_beside(n.path), n.path))


def _is_beside(path: str) -> bool:
    return bool(_BESIDE.search(path.rpartition("/")[2].lower()))


def signals(store: H5Store, tree: Tree) -> list[Node]:
    """The signal of every NXdata, in the order of the file."""
    groups = [group for group in tree.groups if group.nx_class == "NXdata"]
    return [node for group in groups if (node := _signal(store, tree, group)) is not None]


def detectors(store: H5Store, tree: Tree) -> list[Node]:
    """The data of every NXdetector, in the order of the file."""
    groups = [group for group in tree.groups if group.nx_class == "NXdetector"]
    return [node for group in groups if (node := _at(store, tree, group, "data")) is not None]


def default_signal(store: H5Store, tree: Tree) -> Node | None:
    """What the file itself calls its data: along `default`, else the signal of most axes; None where it says nothing.

    Raises MissingSource or UnsafePath when the signal that the root calls default lies in a file that is not there, or
    when signals do and what is left has fewer than two axes: the rest is not the data. Beamlines write the default of
    an NXentry whether or not that detector was saved.
    """
    nodes = _along_default(store, tree)
    if not nodes and tree.lost and _default(tree.groups[0]):
        raise next(iter(tree.lost.values()))
    nodes = nodes or signals(store, tree) or detectors(store, tree)
    best = max(nodes, key=axes_of, default=None)
    if best is None or axes_of(best) < 2:
        _raise_lost(tree)
    return best


def _raise_lost(tree: Tree) -> None:
    """Raise why a signal could not be opened, or what else an NXdata or NXdetector refers to."""
    if tree.lost:
        raise next(iter(tree.lost.values()))
    groups = {g.path.rstrip("/"): g.nx_class for g in tree.groups if g.nx_class in ("NXdata", "NXdetector")}
    for path, error in tree.broken.items():
        folder, _, key = path.rpartition("/")
        if groups.get(folder) == "NXdata" or (folder in groups and key == "data"):
            raise error


def _along_default(store: H5Store, tree: Tree) -> list[Node]:
    """The signals at the end of the `default` attributes, or those below it; none where it ends early.

    They begin at the root, or, where that says nothing, at each NXentry that does.
    """
    root, *groups = tree.groups
    entries = [group for group in groups if group.nx_class == "NXentry" and group.path.count("/") == 1]
    begins = [root] if _default(root) else list(filter(_default, entries[:MAX_CHILDREN]))
    return [node for begin in begins for node in _along(store, tree, begin)]


def _default(node: Node) -> str:
    return text(attribute(node.found.item, "default"))


def _along(store: H5Store, tree: Tree, begin: Node) -> list[Node]:
    at = begin
    for _ in range(MAX_STEPS):
        step = _default(at)
        if not step:
            break
        path = step if step.startswith("/") else f"{at.path.rstrip('/')}/{step}"
        try:
            at = Node(path.rstrip("/"), store.find(tree.groups[0].found.file, path))
        except ScrayError as error:
            if path in tree.broken:
                tree.lost.setdefault(path, error)
            return []
    if not isinstance(at.found.item, h5py.Group):
        return [node for node in tree.datasets if node.found.identity == at.found.identity]
    found = _signal(store, tree, at)
    return [found] if found else [node for node in signals(store, tree) if node.path.startswith(f"{at.path}/")]


def auxiliaries(store: H5Store, tree: Tree) -> list[Node]:
    """What the NXdata groups name beside their signals, in the order of the file."""
    named = [(group, key) for group in tree.groups for key in texts(attribute(group.found.item, "auxiliary_signals"))]
    return [node for group, key in named[:MAX_AUXILIARIES] if key and (node := _at(store, tree, group, key))]


def _signal(store: H5Store, tree: Tree, group: Node) -> Node | None:
    """The signal of one NXdata; None where it cannot be opened or holds no numbers."""
    key = text(attribute(group.found.item, "signal"))
    for child in [key] if key else [*_classic_signals(store, group), "data", FIRST_PIECE]:
        node = _at(store, tree, group, child)
        if node is not None:
            return node
    return None


def _classic_signals(store: H5Store, group: Node) -> list[str]:
    """The datasets marked signal=1, as files before 2014 do it."""
    return [key for key, value in marked(store, group, "signal").items() if value in ("1", "1.0")]  # Matlab has floats


def marked(store: H5Store, group: Node, name: str) -> dict[str, str]:
    """The children of a group that have this attribute, and its text; links that lead nowhere are passed over."""
    found = {}
    for key in sorted(map(spelt, group.found.item))[:MAX_CHILDREN]:
        try:
            item = _found(store, group, key).item
        except ScrayError:
            continue
        if value := text(attribute(item, name)):
            found[key] = value
    return found


def _at(store: H5Store, tree: Tree, group: Node, key: str) -> Node | None:
    """The dataset of a group by this path, also when the walk met it first on another one."""
    path = f"{group.path.rstrip('/')}/{key}"
    try:
        found = _found(store, group, key)
    except ScrayError as error:
        if key in group.found.item:
            tree.broken.setdefault(path, error)
            tree.lost.setdefault(path, error)
        return None
    return Node(path, found) if found.identity in tree.numeric else None


def _found(store: H5Store, group: Node, key: str) -> Found:
    if "/" in key or key in ("", "."):
        return store.find(group.found.file, f"{group.found.path}/{key}")
    return store.child(group.found, key, link_of(group.found.item, key, f"{group.found.file}:{group.path}/{key}"))
