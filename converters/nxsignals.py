"""The signals of a NeXus file, found by its attributes (NeXus manual: NXdata, default plot, classic @signal).

`default` leads from the root through NXentry to an NXdata; `signal` names its data, on the group or, in old files,
as signal=1 on the dataset.
"""

from __future__ import annotations

from converters.h5links import H5Store
from converters.h5walk import Node, Tree, attribute, text
from scray.errors import ScrayError

NEARLY_AS_LARGE = 16


def axes_of(node: Node) -> int:
    """How many axes of a dataset are longer than 1."""
    return sum(n > 1 for n in node.shape)


def largest(nodes: list[Node]) -> Node:
    """The one of most samples; more axes win over what is not more than 16 times larger; then the first by path."""
    limit = max(node.samples for node in nodes) / NEARLY_AS_LARGE
    near = [node for node in nodes if node.samples >= limit]
    return min(near, key=lambda n: (-axes_of(n), -n.samples, n.path))


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

    Raises MissingSource or UnsafePath when the signals lie in files that are not there and what is left has fewer
    than two axes: the rest is not the data.
    """
    before = set(tree.broken)
    found = [_follow_default(store, tree)] if _follow_default(store, tree) else []
    nodes = [node for node in found if node] or signals(store, tree) or detectors(store, tree)
    best = max(nodes, key=axes_of, default=None)
    if best is None or axes_of(best) < 2:
        _raise_broken(tree, before)
    return best


def _raise_broken(tree: Tree, before: set[str]) -> None:
    """Raise why a signal could not be opened, if one could not."""
    groups = {g.path.rstrip("/") for g in tree.groups if g.nx_class in ("NXdata", "NXdetector")}
    for path, error in tree.broken.items():
        folder, _, key = path.rpartition("/")
        if path not in before or (folder in groups and key == "data"):
            raise error


def _follow_default(store: H5Store, tree: Tree) -> Node | None:
    """The signal at the end of the `default` attributes, from the root; None where the chain breaks."""
    groups = {group.path.rstrip("/"): group for group in tree.groups}
    at = ""
    for _ in range(16):
        step = text(attribute(groups[at].found.item, "default")) if at in groups else ""
        if not step:
            break
        at = step.rstrip("/") if step.startswith("/") else f"{at}/{step.strip('/')}"
    return _signal(store, tree, groups[at]) if at in groups else None


def _signal(store: H5Store, tree: Tree, group: Node) -> Node | None:
    """The signal of one NXdata; None where it cannot be opened or holds no numbers."""
    key = text(attribute(group.found.item, "signal"))
    for child in [key] if key else [*_classic_signals(store, group), "data"]:
        node = _at(store, tree, group, child)
        if node is not None:
            return node
    return None


def _classic_signals(store: H5Store, group: Node) -> list[str]:
    """The datasets marked signal=1, as files before 2014 do it."""
    marked = []
    for key in sorted(group.found.item, key=str)[:1000]:
        try:
            found = store.find(group.found.file, f"{group.found.path}/{key}")
        except ScrayError:
            continue
        if text(attribute(found.item, "signal")) == "1":
            marked.append(key)
    return marked


def _at(store: H5Store, tree: Tree, group: Node, key: str) -> Node | None:
    """The dataset of a group by this path, also when the walk met it first on another one."""
    path = f"{group.path.rstrip('/')}/{key}"
    try:
        found = store.find(group.found.file, f"{group.found.path}/{key}")
    except ScrayError as error:
        if key in group.found.item:
            tree.broken.setdefault(path, error)
        return None
    numeric = any(node.found.identity == found.identity for node in tree.datasets)
    return Node(path, found) if numeric else None
