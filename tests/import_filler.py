"""Imports to a disk that is full at the n-th page, or the n-th file, for every n; a process with a mount of its own.

`unshare --user --map-root-user --mount python -m tests.import_filler KIND SOURCE DISK`. Prints a JSON line an n, until
nothing fails any more.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from scray.retry import explain, judge
from scray.settings import Settings
from scray.sources import Source, open_source
from scray.sources.intake import Intake
from scray.storage import remove_tree
from tests import disk_filler

MOST_BYTES, MOST = 1 << 30, 60


def begun(source: Source, folder: Path) -> Intake:
    with suppress(FileNotFoundError):
        return Intake(folder)
    return Intake.begin(folder, source, MOST_BYTES)


def import_all(source: Source, folder: Path, root: Path) -> None:
    """What a driver and its tasks do, one after the other."""
    intake = begun(source, folder)
    intake.fetch(source, sorted(set(range(len(intake.portions))) - set(intake.marks())), time.time() + 60)
    found = {}
    for check in intake.checks():
        for span, digest in zip(check.spans, intake.digest(check), strict=True):
            found[check.file, span] = digest
    intake.compare(found)
    assert len(list(intake.land(root))) == len(intake.files)


def attempt(source: Source, folder: Path, root: Path) -> tuple[str, str] | None:
    """The verdict on what went wrong and its code; None where nothing did."""
    try:
        import_all(source, folder, root)
    except Exception as error:
        return str(judge(error)), explain(error)[0]
    return None


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def try_with(kind: str, number: int, source: Source, expected: dict[str, bytes]) -> dict[str, Any]:
    folder, root = disk_filler.DISK / ".importing" / "d", disk_filler.DISK / "d"
    if kind == "files":
        disk_filler.leave_files(number)
    else:
        begun(source, folder)  # there was room for everything when it was looked for
        used = sum(path.stat().st_blocks * 512 for path in disk_filler.DISK.rglob("*") if path.is_file())
        disk_filler.mount(size=str(used + number * disk_filler.PAGE_BYTES))
    error = attempt(source, folder, root)
    disk_filler.mount()
    whole = all(expected[name] == content for name, content in contents(root).items())
    again = attempt(source, folder, root)
    found = {"error": error, "whole": whole, "again": again, "same": contents(root) == expected}
    remove_tree(folder)
    shutil.rmtree(root)
    return found


def main(kind: str, path: Path, disk: Path) -> None:
    disk_filler.DISK = disk
    disk.mkdir()
    disk_filler.mount()
    source = open_source("path", {"path": str(path)}, Settings(import_roots=(str(path),)))
    for number in range(MOST):
        found = try_with(kind, number, source, contents(path))
        print(json.dumps(found), flush=True)
        if found["error"] is None:
            break


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
