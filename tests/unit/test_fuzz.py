"""The fuzzer finds what must not happen: honest files pass it, a result with one wrong sample does not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import h5py
import pytest
import tifffile

from bench.fuzz import Range, damaged
from bench.fuzzchild import convert
from bench.judge import SAME, judge
from bench.mutations import mutate
from bench.seeds import TARGETS, Files, Target

pytestmark = pytest.mark.slow


def by_name(name: str) -> Target:
    return next(target for target in TARGETS if target.name == name)


@pytest.fixture(params=["tiff", "hdf5", "zip", "idx header"])
def target(request: pytest.FixtureRequest) -> Target:
    return by_name(request.param)


def seeds_of(target: Target, tmp_path: Path) -> list[Files]:
    folder = tmp_path / "seeds"
    folder.mkdir()
    return target.make(folder)


def test_honest_files_are_published_and_judged_the_same(target: Target, tmp_path: Path) -> None:
    seeds = seeds_of(target, tmp_path)
    shooting = Range(target, tmp_path, tmp_path / "finds")
    try:
        for number, files in enumerate(seeds):
            shooting.shoot(-1 - number, files)
        for number in range(1, 6):
            shooting.shoot(number, damaged(target, seeds, str(number)))
    finally:
        shooting.close()
    assert shooting.tally.outcomes["published"] >= len(seeds)
    assert shooting.tally.verdicts[SAME] >= len(seeds)
    assert shooting.tally.runs == len(seeds) + 5
    assert shooting.tally.finds == []
    assert not list(shooting.inputs.iterdir())
    assert not list(shooting.out.iterdir())


@pytest.mark.parametrize("name", ["tiff", "hdf5"])
def test_one_wrong_sample_is_seen(tmp_path: Path, name: str) -> None:
    target = by_name(name)
    (files, *_) = seeds_of(target, tmp_path)
    (tmp_path / "in").mkdir()
    (only,) = files
    (tmp_path / "in" / only).write_bytes(files[only])
    request = {"root": str(tmp_path / "in"), "parent": str(tmp_path / "out"), "sensor": target.sensor, "parameters": {}}
    (tmp_path / "out").mkdir()
    told = json.loads(convert(request, lambda: None))
    assert told["problems"] == []
    question = {"staging": told["staging"], "contents": []}
    assert judge(question, lambda: None) == SAME
    change_one_sample(tmp_path / "in" / only)
    assert judge(question, lambda: None).startswith("differs")


def change_one_sample(path: Path) -> None:
    if path.suffix == ".tif":
        samples = tifffile.memmap(path)
        samples[3, 7, 9] ^= 1
        samples.flush()
        return
    with h5py.File(path, "r+") as file:
        file["entry/data"][3, 7, 9] += 1


def test_damage_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    target = by_name("idx header")
    seeds = seeds_of(target, tmp_path)
    assert damaged(target, seeds, "7") == damaged(target, seeds, "7")
    assert len({json.dumps(sorted(map(str, damaged(target, seeds, str(n)).items()))) for n in range(20)}) > 10
    assert mutate(random.Random(1), b"x" * 100) != b"x" * 100
