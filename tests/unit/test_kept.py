"""A TIFF stack stays open between tasks, and is never what it was before its file changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import tifffile

from converters import kept, tiff
from converters.volume import Array, Volume
from scray.errors import BadInput

FULL = ((0, 4), (0, 20), (0, 30))


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    kept.close_kept()
    yield
    kept.close_kept()


def write(path: Path, seed: int) -> tuple[Volume, Array]:
    array = np.random.default_rng(seed).integers(0, 999, (4, 20, 30)).astype("<u2")
    tifffile.imwrite(path, array, photometric="minisblack", compression="deflate", metadata=None)
    return tiff.probe(path.parent, (path.name,), {}).volumes[0], array


def read(root: Path, volume: Volume) -> Array:
    with tiff.open_volume(root, volume) as reader:
        return reader.read_source(FULL)


def open_files(root: Path) -> list[str]:
    """What this process has open below a folder, by name."""
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            links.append(fd.readlink())
    return sorted({link.name for link in links if link.is_relative_to(root)})


def test_a_stack_is_opened_once_for_many_tasks(tmp_path: Path) -> None:
    volume, array = write(tmp_path / "a.tif", 1)
    with tiff.open_volume(tmp_path, volume) as one:
        assert (one.read_source(FULL) == array).all()
        first = one._opened  # type: ignore[attr-defined]
    with tiff.open_volume(tmp_path, volume) as two:
        assert two._opened is first  # type: ignore[attr-defined]
        assert (two.read_source(FULL) == array).all()
    assert open_files(tmp_path) == ["a.tif"]


def test_no_more_than_one_is_kept(tmp_path: Path) -> None:
    made = [write(tmp_path / f"{name}.tif", seed) for seed, name in enumerate("abc")]
    for volume, array in (*made, *made):
        assert (read(tmp_path, volume) == array).all()
        assert open_files(tmp_path) == [volume.files[0]]
    kept.close_kept()
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("how", ["replaced", "written over", "gone"])
def test_a_file_that_changed_is_opened_anew(how: str, tmp_path: Path) -> None:
    volume, _ = write(tmp_path / "a.tif", 1)
    read(tmp_path, volume)
    if how == "replaced":
        _, array = write(tmp_path / "b.tif", 2)
        (tmp_path / "b.tif").rename(tmp_path / "a.tif")
    elif how == "written over":
        _, array = write(tmp_path / "a.tif", 2)
        os.utime(tmp_path / "a.tif", ns=(1, 1))
    else:
        (tmp_path / "a.tif").unlink()
        with pytest.raises(BadInput, match="No such file"):
            read(tmp_path, volume)
        return
    assert (read(tmp_path, volume) == array).all()


def test_two_at_a_time_have_a_stack_each(tmp_path: Path) -> None:
    volume, array = write(tmp_path / "a.tif", 1)
    found: list[bool] = []

    def work() -> None:
        for _ in range(20):
            found.append(bool((read(tmp_path, volume) == array).all()))

    threads = [Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 60
    assert open_files(tmp_path) == ["a.tif"]
