"""A conversion that is killed again and again goes on where it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

from converters.bricks import BASE_BYTES
from converters.convert import convert
from converters.plan import Choices
from converters.prepare import Job, find_files, prepare
from converters.run import Serial, load_plan
from scray.manifest import digest_file
from tests.trees import tree_digests

FILE_BYTES = 64 << 10

CONVERT_AND_DIE = """
import os, sys
from pathlib import Path
from converters.run import Serial, execute
left = int(sys.argv[2])
def die(mark):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
execute(Path(sys.argv[1]), Serial(), on_mark=die)
"""


def test_a_conversion_killed_again_and_again_goes_on_and_ends_with_the_same_tree(tmp_path: Path) -> None:
    source = tmp_path / "slices.h5"
    with h5py.File(source, "w") as file:
        samples = np.random.default_rng(7).integers(0, 200, (128, 256, 250)).astype("|u1")
        file.create_dataset("data", data=samples, chunks=(1, 256, 250), compression="gzip")
    root, files = find_files([source])
    work = Job(root, files, "HDF5", choices=Choices(memory_bytes=BASE_BYTES + (264 << 10), file_bytes=FILE_BYTES))
    convert(work, tmp_path / "reference", Serial())
    out = tmp_path / "out"
    staging = prepare(work, tuple(digest_file(root, f) for f in files), tmp_path / ".out.staging")
    plan = load_plan(staging)
    born: dict[str, int] = {}
    rounds = 0
    while subprocess.run(
        [sys.executable, "-c", CONVERT_AND_DIE, str(staging), str(20 * (rounds + 1))], check=False
    ).returncode:
        rounds += 1
        for task in plan.tasks:
            mark = staging / "marks" / f"{task.id}.json"
            if task.kind != "scatter" and mark.exists():
                assert born.setdefault(task.id, mark.stat().st_mtime_ns) == mark.stat().st_mtime_ns, "redone"
    assert rounds >= 3
    convert(work, out, Serial())
    assert tree_digests(out) == tree_digests(tmp_path / "reference")
    assert not (tmp_path / ".out.staging").exists()
