"""Converts on a disk that is full at the n-th page, or the n-th file, for every n; a process with a mount of its own.

`unshare --user --map-root-user --mount python -m tests.disk_filler KIND SOURCE REFERENCE`. Prints a JSON line an n.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from converters.bricks import BASE_BYTES
from converters.convert import convert
from converters.plan import Choices
from converters.prepare import Job, find_files, prepare
from converters.run import Serial
from scray.manifest import digest_file
from scray.retry import explain, judge
from tests.trees import tree_digests

DISK = Path("/mnt")
PAGE_BYTES = 4096
PLENTY = {"size": "64m", "nr_inodes": "4096"}


def job(source: Path) -> Job:
    """Some bricks and merges: files of 64 KiB, and no more memory than a few of them need."""
    root, files = find_files([source])
    return Job(root, files, "HDF5", choices=Choices(memory_bytes=BASE_BYTES + (232 << 10), file_bytes=64 << 10))


def mount(**options: str) -> None:
    """The disk, as large as asked; what is on it stays."""
    wish = ",".join(f"{name}={value}" for name, value in (PLENTY | options).items())
    again = "remount," if DISK.is_mount() else ""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{again}{wish}", "tmpfs", str(DISK)], check=True)


def leave_files(count: int) -> None:
    """Room for so many more files and folders."""
    mount(nr_inodes=str(sum(1 for _ in DISK.rglob("*")) + 1 + count))


def leave_pages(work: Job, count: int) -> None:
    """Planned while there was room; then somebody else fills the disk but for so many pages."""
    prepare(work, tuple(digest_file(work.root, name) for name in work.files), DISK / ".out.staging")
    used = sum(-(-path.stat().st_size // PAGE_BYTES) for path in DISK.rglob("*") if path.is_file())
    mount(size=str((used + count) * PAGE_BYTES))


def attempt(work: Job) -> tuple[str, str] | None:
    """The verdict on what went wrong and its code; None where nothing did."""
    try:
        convert(work, DISK / "out", Serial())
    except Exception as error:
        return str(judge(error)), explain(error)[0]
    return None


def try_once(kind: str, work: Job, count: int, reference: dict[str, str]) -> dict[str, Any]:
    mount()
    for path in DISK.iterdir():
        shutil.rmtree(path)
    leave_files(count) if kind == "files" else leave_pages(work, count)
    error = attempt(work)
    visible = (DISK / "out").exists()
    marks = {path: path.stat().st_mtime_ns for path in DISK.glob(".out.staging/*/marks/*.json")}
    mount()
    redone = sum(path.exists() and path.stat().st_mtime_ns != at for path, at in marks.items()) if error else 0
    again = attempt(work) if error else None
    return {
        "n": count,
        "error": error,
        "visible": visible,
        "again": again,
        "same": tree_digests(DISK / "out") == reference,
        "left": sorted(path.name for path in DISK.iterdir() if path.name != "out"),
        "temporary": [path.name for path in DISK.rglob("*.tmp")],
        "redone": redone,
    }


def main(kind: str, source: str, reference: str) -> None:
    work, expected = job(Path(source)), tree_digests(Path(reference))
    count = 0
    while True:
        found = try_once(kind, work, count, expected)
        print(json.dumps(found), flush=True)
        if not found["error"]:
            return
        count += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
