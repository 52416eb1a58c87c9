"""From a sealed tree to a published dataset, so that it can be interrupted between any two steps.

(1) the queue notes that this claim publishes; (2) the staging folder gets a name with the claim's token, which takes
it away from everybody else; (3) it is checked against its manifest; (4) it is renamed into place; (5) the queue says
`done`. Whoever takes over after a crash puts a folder of step 2 back under its name, or finds the dataset published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from converters.plan import Plan
from scray.crash import reach
from scray.errors import Incomplete
from scray.manifest import MANIFEST, FileDigest, Manifest
from scray.storage import fsync_folder, publish_tree

TAKEN = re.compile(r"([0-9a-f]{32})\.[\w-]+")


def take(staging: Path, token: str) -> Path:
    """Step 2. The folder under its new name; Incomplete when somebody else has taken it."""
    taken = staging.with_name(f"{staging.name}.{token}")
    try:
        staging.rename(taken)
    except FileNotFoundError as error:
        raise Incomplete(f"The staging folder {staging.name} is gone: somebody else took the dataset over.") from error
    fsync_folder(staging.parent)
    reach("publish taken")
    return taken


def put_back(parent: Path) -> None:
    """Give folders that a former owner took, and did not publish, their names again."""
    for folder in sorted(parent.iterdir()) if parent.is_dir() else []:
        found = TAKEN.fullmatch(folder.name)
        if found and not (parent / found[1]).exists() and (folder / "tree").is_dir():
            folder.rename(parent / found[1])


def check_complete(tree: Path, plan: Plan) -> None:
    """Step 3: the manifest is of this plan and every file it names is there with its size. Incomplete otherwise."""
    manifest = _manifest(tree)
    if manifest is None or manifest.plan != plan.digest:
        raise Incomplete("The sealed result does not belong to its plan.")
    for file in manifest.outputs:
        path = tree / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            raise Incomplete(f"{file.path} is missing from the sealed result, or has another size.")


def publish(taken: Path, target: Path, plan: Plan) -> None:
    """Steps 3 and 4."""
    tree = taken / "tree"
    clear_unfinished(tree)
    check_complete(tree, plan)
    reach("publish checked")
    publish_tree(tree, target)


def clear_unfinished(tree: Path) -> None:
    """Remove what late writers have begun: from step 2 on, nobody can begin anything or give it a name."""
    for path in tree.rglob(".*.tmp"):
        path.unlink()


Read = Callable[[Path, Mapping[str, int]], Iterable[FileDigest]]  # the digests of files of these sizes below a folder


def is_published(target: Path, plan: Plan, read: Read) -> bool:
    """Whether the dataset at `target` is the result of this plan, every byte of it.

    Of another plan, or with another file missing, longer or shorter, it is not, and nothing has to be `read`.
    """
    manifest = _manifest(target)
    if manifest is None or manifest.plan != plan.digest or manifest.differences(target, read=False):
        return False
    return set(read(target, {file.path: file.size for file in manifest.outputs})) == set(manifest.outputs)


def _manifest(folder: Path) -> Manifest | None:
    try:
        return Manifest.from_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
