"""Memory maps for 4-D dashboards: the dataset as float32, whole, where they look, and never taken for an input."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters import mapplan, sandbox
from converters.bricks import BASE_BYTES
from converters.convert import convert
from converters.mapplan import cell, is_map, map_name, slabs
from converters.mark import read_mark
from converters.plan import Choices
from converters.prepare import Job, find_files, prepare
from converters.run import Serial, Threads, execute, load_plan
from converters.verify import verify
from converters.volume import Array
from scray.errors import BadInput, BadParameter
from scray.manifest import MANIFEST, Manifest, digest_file
from tests.formats import pattern
from tests.trees import tree_digests
from tests.unit.volumes import volume

NAME = "scan.entry_data_PIL11.float32.dat"


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, Array]:
    """A 4-D detector, chunked across its first axis, and what is too flat for a map."""
    folder = tmp_path / "upload"
    (folder / "deep").mkdir(parents=True)
    array = pattern((7, 6, 20, 30), "<u2", 3)
    with h5py.File(folder / "deep" / "scan.nxs", "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "PIL11"})
        data.create_dataset("PIL11", data=array, chunks=(2, 3, 20, 16), compression="gzip")
        data["samx"] = np.linspace(0, 1, 7)
    return folder, array


def job(folder: Path, sensor: str = "4D_NEXUS", memmaps: str = "", **parameters: Any) -> Job:
    return Job(*find_files([folder]), sensor, parameters, Choices(memmaps=memmaps))


def hashed(work: Job) -> Any:
    return tuple(digest_file(work.root, name) for name in work.files)


def test_a_map_lies_beside_its_file_as_float32(scan: tuple[Path, Array], tmp_path: Path) -> None:
    folder, array = scan
    before = tree_digests(folder)
    convert(job(folder, memmaps=str(folder)), tmp_path / "out", Serial())
    path = folder / "deep" / NAME
    assert np.array_equal(np.memmap(path, "<f4", "r", shape=array.shape), array.astype("<f4"))
    manifest = Manifest.from_json((tmp_path / "out" / MANIFEST).read_bytes())
    assert [file.path for file in manifest.beside] == [NAME]
    assert manifest.beside[0].chunks == digest_file(folder / "deep", NAME).chunks
    assert manifest.verified
    assert verify(tmp_path / "out", folder) == []
    after = tree_digests(folder)
    assert after.pop(f"deep/{NAME}")
    assert after == before, "inputs are never modified"
    assert find_files([folder])[1] == ("deep/scan.nxs",), "a map is no input of the next conversion"


def test_maps_are_written_where_asked_and_not_else(scan: tuple[Path, Array], tmp_path: Path) -> None:
    folder, array = scan
    (tmp_path / "cache").mkdir()
    convert(job(folder, memmaps=str(tmp_path / "cache")), tmp_path / "one", Serial())
    assert (tmp_path / "cache" / NAME).stat().st_size == 4 * array.size
    convert(job(folder), tmp_path / "two", Serial())
    work = Job(*find_files([folder]), "4D_NEXUS", {"memmaps": False}, Choices(memmaps=str(folder)))
    convert(work, tmp_path / "four", Serial())
    assert [p.name for p in (folder / "deep").iterdir()] == ["scan.nxs"]
    work = Job(*find_files([folder]), "HDF5", {"memmaps": "true"})
    convert(work, tmp_path / "five", Serial())
    assert (folder / "deep" / NAME).exists()
    with pytest.raises(BadParameter, match="memmaps"):
        convert(Job(work.root, work.files, "HDF5", {"memmaps": "some"}), tmp_path / "six", Serial())


def test_parts_any_order_any_memory_one_map(
    scan: tuple[Path, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, array = scan
    monkeypatch.setattr(mapplan, "SLAB_BYTES", 2 * 4 * 6 * 20 * 30)
    work = Job(
        *find_files([folder]), "4D_NEXUS", {}, Choices(memmaps=str(folder), memory_bytes=BASE_BYTES + (34 << 20))
    )
    staging = prepare(work, hashed(work), tmp_path / "s")
    plan = load_plan(staging)
    assert sum(task.kind == "map" for task in plan.tasks) == 4
    assert plan.disk.maps == 2 * 4 * array.size
    execute(staging, Threads(2))
    expected = array.astype("<f4").tobytes()
    path = folder / "deep" / NAME
    assert path.read_bytes() == expected
    path.unlink()
    (staging / "maps" / "map-0-1.raw").write_bytes(b"cut")
    (staging / "marks" / "place-0.json").unlink()
    stray = folder / "deep" / f".{NAME}.0123.tmp"
    stray.touch()
    execute(staging, Serial())
    assert path.read_bytes() == expected
    assert not stray.exists()


def test_the_child_writes_the_parts_and_its_parent_places_them(scan: tuple[Path, Array], tmp_path: Path) -> None:
    folder, array = scan
    work = job(folder, memmaps=str(folder))
    staging = sandbox.prepare(work, hashed(work), tmp_path / "s")
    for task in load_plan(staging).tasks:
        sandbox.perform(staging, task.id)
        assert read_mark(staging, task.id) is not None
    sandbox.end_all()
    assert (folder / "deep" / NAME).read_bytes() == array.astype("<f4").tobytes()


def test_broken_data_leave_no_map(scan: tuple[Path, Array], tmp_path: Path) -> None:
    folder, _ = scan
    path = folder / "deep" / "scan.nxs"
    with h5py.File(path) as file:
        info = file["entry/data/PIL11"].id.get_chunk_info(3)
    with path.open("rb+") as raw:
        raw.seek(info.byte_offset)
        raw.write(b"\xff" * 50)
    with pytest.raises(BadInput):
        convert(job(folder, memmaps=str(folder)), tmp_path / "out", Serial())
    assert [p.name for p in (folder / "deep").iterdir()] == ["scan.nxs"]


def test_no_map_has_the_name_of_two_datasets(tmp_path: Path) -> None:
    """Who looks for one of them would be shown the other."""
    folder = tmp_path / "in"
    folder.mkdir()
    arrays = {name: pattern((3, 4, 5), "<u2", seed) for seed, name in enumerate(("a/b_c", "a_b/c", "d"))}
    with h5py.File(folder / "scan.nxs", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    convert(job(folder, dataset="a/b_c,a_b/c,d", memmaps=str(folder)), tmp_path / "out", Serial())
    [path] = folder.glob("*.dat")
    assert (path.name, path.read_bytes()) == ("scan.d.float32.dat", arrays["d"].astype("<f4").tobytes())
    notes = json.loads((tmp_path / "out" / "metadata.json").read_bytes())["notes"]
    assert "scan.a_b_c.float32.dat is not written: it would be the memory map of /a/b_c and of /a_b/c" in notes


def test_which_files_are_maps() -> None:
    names = {"a.b.nxs", f"a.b.x_y{mapplan.SUFFIX}", f"other.x{mapplan.SUFFIX}", f"deep/a.b.x{mapplan.SUFFIX}"}
    assert [name for name in sorted(names) if is_map(name, names)] == [f"a.b.x_y{mapplan.SUFFIX}"]
    flat = volume((4, 5), options={"path": "data"})
    assert map_name(flat) == ""


axes = st.lists(st.integers(1, 9), min_size=3, max_size=5)


@given(axes, st.data())
def test_slabs_and_cells_cover_a_volume_and_keep_to_the_budget(shape: list[int], data: Any) -> None:
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    budget = data.draw(st.integers(1, 4000))
    made = volume(tuple(shape), "<u2", chunks=chunks)
    boxes = list(slabs(made))
    assert boxes[0][0][0] == 0
    assert sum(math.prod(b - a for a, b in box) for box in boxes) == math.prod(shape)
    for box in boxes:
        held = cell(made, box, budget)
        assert all(h % c == 0 or h == b - a for h, c, (a, b) in zip(held, chunks, box, strict=True))
        assert math.prod(held) * 6 <= max(budget, math.prod(chunks) * 6)


def test_metadata_say_where_the_map_is(scan: tuple[Path, Array], tmp_path: Path) -> None:
    folder, _ = scan
    convert(job(folder, memmaps=str(folder)), tmp_path / "out", Serial())
    assert any(NAME in note for note in json.loads((tmp_path / "out" / "metadata.json").read_bytes())["notes"])
