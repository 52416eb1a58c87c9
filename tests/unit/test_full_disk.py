"""A disk that is full at the n-th page or the n-th file, for every n, and a source that cannot be read at the n-th
read: the conversion is done and correct, or it failed, shows nothing, and goes on when there is room again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters import registry
from converters.convert import convert
from converters.run import Serial
from scray.errors import StorageError
from scray.retry import Verdict, judge
from tests.disk_filler import job
from tests.trees import tree_digests

ROOT = Path(__file__).parents[2]
OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount() -> bool:
    """Whether this kernel lets anybody have mounts of his own."""
    return bool(shutil.which("unshare")) and not subprocess.run([*OWN_MOUNTS, "true"], check=False).returncode


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "small.h5"
    with h5py.File(path, "w") as file:
        samples = np.random.default_rng(3).integers(0, 16, (96, 64, 60)).astype("|u1")
        file.create_dataset("data", data=samples, chunks=(8, 64, 60), compression="gzip")
    return path


@pytest.fixture(scope="module")
def reference(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "out"
    convert(job(source), out, Serial())
    return out


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="this kernel gives nobody mounts of his own")
@pytest.mark.parametrize(("kind", "least"), [("files", 15), ("pages", 15)])
def test_wherever_the_disk_is_full_nothing_is_half_done(source: Path, reference: Path, kind: str, least: int) -> None:
    command = [*OWN_MOUNTS, sys.executable, "-m", "tests.disk_filler", kind, str(source), str(reference)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    *failed, last = found
    assert len(failed) >= least, "the disk was hardly ever full"
    assert [one for one in failed if tuple(one["error"]) != ("wait", "no-space") or one["visible"]] == []
    assert last["error"] is None
    assert [one for one in found if one["again"] or not one["same"] or one["left"] or one["temporary"]] == []


def test_whichever_read_fails_the_next_attempt_goes_on(
    source: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, out = registry.open_volume, tmp_path / "out"
    reads = 0

    class Failing:
        """A reader whose n-th read, counted over all of them, fails."""

        def __init__(self, reader: Any) -> None:
            self.reader = reader

        def __enter__(self) -> Failing:
            self.reader.__enter__()
            return self

        def __exit__(self, *error: object) -> None:
            self.reader.__exit__(*error)

        def __getattr__(self, name: str) -> Any:
            nonlocal reads
            if name.startswith("read"):
                reads += 1
                if reads == failing:
                    raise StorageError("A read failed.")
            return getattr(self.reader, name)

    monkeypatch.setattr(registry, "open_volume", lambda *args: Failing(honest(*args)))
    failing = 0
    convert(job(source), out, Serial())
    whole = reads
    assert whole >= 2
    for number in range(1, whole + 1):
        failing, reads = number, 0
        shutil.rmtree(out)
        with pytest.raises(StorageError) as caught:
            convert(job(source), out, Serial())
        assert judge(caught.value) is Verdict.TRANSIENT
        assert not out.exists()
        convert(job(source), out, Serial())
        assert tree_digests(out) == tree_digests(reference)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
