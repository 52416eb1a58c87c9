"""Publishing, stopped between any two of its steps, is completed by whoever comes next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cluster import publishing
from converters.plan import Choices, Plan
from converters.prepare import Job, prepare
from converters.run import Serial, execute, load_plan
from converters.seal import seal
from converters.verify import verify
from scray.errors import Incomplete
from scray.manifest import MANIFEST, FileDigest, Manifest, digest_file

OLD, NEW = "0" * 32, "1" * 32


class Dataset:
    """A source, the staging folder of its conversion, and where it is published."""

    def __init__(self, folder: Path) -> None:
        self.source, self.parent, self.target = folder / "source", folder / "staging", folder / "converted"
        self.reads: list[str] = []
        self.source.mkdir()
        self.write(1)

    def write(self, seed: int) -> None:
        image = np.random.default_rng(seed).integers(0, 999, (5, 20, 30)).astype("<u2")
        tifffile.imwrite(self.source / "a.tif", image, photometric="minisblack")

    def convert(self) -> tuple[Path, Plan]:
        job = Job(self.source, ("a.tif",), "TIFF", {}, Choices())
        staging = prepare(job, (digest_file(self.source, "a.tif"),), self.parent)
        execute(staging, Serial())
        seal(staging)
        return staging, load_plan(staging)

    def next_owner(self) -> None:
        """What another driver does with whatever it finds."""
        publishing.put_back(self.parent)
        staging, plan = self.convert()
        if not self.is_published(plan):
            publishing.publish(publishing.take(staging, NEW), self.target, plan)

    def is_published(self, plan: Plan) -> bool:
        return publishing.is_published(self.target, plan, self.read)

    def read(self, root: Path, sizes: Mapping[str, int]) -> Iterator[FileDigest]:
        for name, size in sizes.items():
            assert (root / name).stat().st_size == size
            self.reads.append(name)
            yield digest_file(root, name)

    @property
    def problems(self) -> list[str]:
        return verify(self.target, self.source)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


@pytest.mark.parametrize("former", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_publish_that_was_stopped_is_completed(dataset: Dataset, steps: int, former: bool) -> None:
    if former:
        dataset.next_owner()
        dataset.write(2)
    staging, plan = dataset.convert()
    if steps > 0:
        staging = publishing.take(staging, OLD)
    if steps > 1:
        publishing.publish(staging, dataset.target, plan)
    dataset.next_owner()
    assert dataset.problems == []
    assert dataset.is_published(dataset.convert()[1])


def test_what_another_owner_took_is_gone_for_everybody_else(dataset: Dataset) -> None:
    staging, _ = dataset.convert()
    taken = publishing.take(staging, OLD)
    assert not staging.exists()
    with pytest.raises(Incomplete):
        publishing.take(staging, NEW)
    publishing.put_back(dataset.parent)
    assert staging.exists()
    assert not taken.exists()


def test_a_late_owner_whose_folder_was_put_back_publishes_nothing(dataset: Dataset) -> None:
    staging, plan = dataset.convert()
    taken = publishing.take(staging, OLD)
    publishing.put_back(dataset.parent)
    with pytest.raises(Incomplete):
        publishing.publish(taken, dataset.target, plan)
    assert not dataset.target.exists()


@pytest.mark.parametrize("damage", ["missing", "short", "manifest", "plan"])
def test_an_incomplete_result_is_not_published(dataset: Dataset, damage: str) -> None:
    staging, plan = dataset.convert()
    tree = staging / "tree"
    block = next(tree.rglob("*.bin"))
    if damage == "missing":
        block.unlink()
    elif damage == "short":
        block.write_bytes(block.read_bytes()[:-1])
    elif damage == "manifest":
        (tree / "manifest.json").unlink()
    else:
        dataset.write(3)
        plan = dataset.convert()[1]
    with pytest.raises(Incomplete):
        publishing.publish(publishing.take(staging, OLD), dataset.target, plan)
    assert not dataset.target.exists()


@pytest.mark.parametrize("damage", ["another byte", "short", "missing", "surplus", "another plan"])
def test_a_damaged_result_does_not_count_as_published_and_is_read_only_where_that_tells(
    dataset: Dataset, damage: str
) -> None:
    dataset.next_owner()
    assert dataset.reads == [], "nothing was there"
    _, plan = dataset.convert()
    assert dataset.is_published(plan)
    assert sorted(dataset.reads) == sorted(file.path for file in manifest_of(dataset.target).outputs)
    dataset.reads.clear()
    block = next(dataset.target.rglob("*.bin"))
    if damage == "another byte":
        block.write_bytes(bytes([block.read_bytes()[0] ^ 1]) + block.read_bytes()[1:])
    elif damage == "short":
        block.write_bytes(block.read_bytes()[:-1])
    elif damage == "missing":
        block.unlink()
    elif damage == "surplus":
        block.with_name("more.bin").touch()
    else:
        dataset.write(2)
        _, plan = dataset.convert()
    assert not dataset.is_published(plan)
    assert bool(dataset.reads) == (damage == "another byte")


def manifest_of(folder: Path) -> Manifest:
    return Manifest.from_json((folder / MANIFEST).read_bytes())


def test_nothing_is_put_back_where_nothing_is(tmp_path: Path) -> None:
    publishing.put_back(tmp_path / "none")
    (tmp_path / "x.y").mkdir()
    (tmp_path / f"{'a' * 32}.{OLD}").mkdir()  # without a tree: nothing to save
    publishing.put_back(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{'a' * 32}.{OLD}", "x.y"])
