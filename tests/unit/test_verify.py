"""A result is verified by its bytes: every kind of damage is found, and named by file and block."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from converters.compare import check_blocks, first_difference
from converters.convert import convert
from converters.info import info
from converters.plan import Choices
from converters.prepare import Job, find_files
from converters.promise import first_blocks
from converters.run import Serial
from converters.verify import verify
from converters.volume import Array
from scray.errors import NotFound, VerificationFailed
from scray.idx import codecs
from scray.idx.reader import Dataset, read_header
from scray.manifest import MANIFEST, Manifest, digest_file
from tests.openvisus import openvisus

SHAPE = (3, 40, 70, 90)
FILE_BYTES = 512 << 10


@pytest.fixture(scope="module")
def array() -> Array:
    rng = np.random.default_rng(11)
    array = np.cumsum(rng.normal(size=SHAPE).astype("<f4"), axis=3)
    array[0, 3, 4, 5] = np.nan
    array[1, 0, 0, 0] = np.inf
    return array


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, array: Array) -> Path:
    path = tmp_path_factory.mktemp("source") / "steps.nc"
    write_source(path, array)
    return path


def write_source(path: Path, array: Array) -> None:
    """Three time steps of a volume, in compressed chunks."""
    with netCDF4.Dataset(path, "w") as file:
        for name, length in zip(("time", "z", "y", "x"), SHAPE, strict=True):
            file.createDimension(name, length)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "days since 2000-01-01"
        time[:] = [0, 1, 2]
        made = file.createVariable(
            "data", "f4", ("time", "z", "y", "x"), chunksizes=(1, 8, 70, 90), compression="zlib", fill_value=-9999
        )
        made.units = "mm"
        made.set_auto_maskandscale(False)
        made[:] = array


def convert_to(source: Path, out: Path, parameters: dict[str, str] | None = None, **choices: object) -> Path:
    root, files = find_files([source])
    chosen = Choices(file_bytes=FILE_BYTES, **choices)  # type: ignore[arg-type]
    convert(Job(root, files, "NETCDF", parameters or {}, chosen), out, Serial())
    return out


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    return convert_to(source, tmp_path_factory.mktemp("result") / "out")


@pytest.fixture
def result(pristine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine, tmp_path / "out", symlinks=True)


def block_files(result: Path) -> list[Path]:
    return sorted(result.rglob("*.bin"))


def reseal(result: Path) -> None:
    """Make the manifest agree with the files, so that only their content can give them away."""
    path = result / MANIFEST
    manifest = Manifest.from_json(path.read_bytes())
    outputs = [digest_file(result, p.relative_to(result).as_posix()) for p in result.rglob("*") if p.is_file()]
    kept = tuple(f for f in outputs if f.path not in (MANIFEST, "run.json"))
    path.write_bytes(Manifest(**{**vars(manifest), "outputs": kept}).to_json())


# --- what is well --------------------------------------------------------------------------------


def test_a_whole_result_has_no_problems(result: Path, source: Path, array: Array) -> None:
    assert verify(result) == []
    assert verify(result, source) == []
    assert len(block_files(result)) > 6
    with Dataset.open(result / "visus.idx") as dataset:
        assert dataset.read(step=1).tobytes() == array[1].tobytes()


@pytest.mark.parametrize("codec", ["zip", "small", "fast", "raw"])
def test_every_codec_verifies(codec: str, source: Path, tmp_path: Path) -> None:
    assert verify(convert_to(source, tmp_path / "out", codec=codec), source) == []


def test_a_cloud_result_verifies(source: Path, tmp_path: Path) -> None:
    result = convert_to(source, tmp_path / "out", profile="cloud")
    assert verify(result, source) == []
    block_files(result)[0].unlink()
    assert any("missing" in p and ".bin" in p for p in verify(result))


def test_time_as_an_axis_verifies(source: Path, tmp_path: Path) -> None:
    assert verify(convert_to(source, tmp_path / "out", {"time": "axis"}), source) == []


# --- what is not ---------------------------------------------------------------------------------


def truncate(result: Path) -> Path:
    path = block_files(result)[1]
    path.write_bytes(path.read_bytes()[:-7])
    return path


def remove(result: Path) -> Path:
    path = block_files(result)[1]
    path.unlink()
    return path


def swap(result: Path) -> Path:
    one, *_, other = block_files(result)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return one


def clear_layout_flag(result: Path) -> Path:
    return patch_first_entry(result, 5, codecs.ZIP)


def drop_block(result: Path) -> Path:
    return patch_first_entry(result, 4, 0)


def patch_first_entry(result: Path, word: int, value: int) -> Path:
    path = block_files(result)[0]
    data = bytearray(path.read_bytes())
    data[40 + 4 * word : 44 + 4 * word] = struct.pack(">I", value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("damage", [truncate, remove, swap, clear_layout_flag, drop_block])
def test_damage_is_named(result: Path, damage: Callable[[Path], Path]) -> None:
    path = damage(result)
    assert any(path.name in problem for problem in verify(result))


@pytest.mark.parametrize("damage", [truncate, clear_layout_flag, drop_block])
def test_damage_behind_a_matching_manifest_is_named_by_file_and_block(
    result: Path, damage: Callable[[Path], Path]
) -> None:
    path = damage(result)
    reseal(result)
    problems = verify(result)
    assert problems
    assert all("block" in problem and path.name in problem for problem in problems)


def test_an_extra_file_is_named(result: Path) -> None:
    (result / "surplus.bin").write_bytes(b"x")
    assert any("surplus.bin" in problem for problem in verify(result))


def change_one_sample(result: Path, step: int = 0) -> Path:
    """Flip the lowest bit of one sample and store its block anew, as a correct zip block of another size."""
    with Dataset.open(result / "visus.idx") as dataset:
        block = list(dataset.blocks())[-1]
        path = result / dataset.file_name(block, step, 0)
        stored = dataset.read_block(block, step)
        assert stored is not None
        samples = stored.copy()
        samples.reshape(-1).view("u4")[0] ^= 1
        position = dataset.header.position_in_file(block)
    payload = codecs.encode("zip", samples)
    data = bytearray(path.read_bytes())
    data[40 + 40 * position + 8 : 40 + 40 * position + 20] = struct.pack(">III", len(data), 0, len(payload))
    path.write_bytes(bytes(data) + payload)
    return path


@pytest.mark.parametrize("step", [0, 2])
def test_one_changed_sample_is_named_against_the_source(result: Path, source: Path, step: int) -> None:
    path = change_one_sample(result, step)
    assert any(path.name in problem for problem in verify(result))
    reseal(result)
    assert verify(result) == []
    (problem,) = verify(result, source)
    assert path.name in problem
    assert "block" in problem
    assert "sample" in problem


def test_swapped_files_behind_a_matching_manifest_differ_from_the_source(result: Path, source: Path) -> None:
    one, other = block_files(result)[-2:]
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    reseal(result)
    assert any(one.name in p or other.name in p for p in verify(result, source))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0 89 ", "0 88 "),
        ("float32", "int32"),
        ("(time)\n0 2 ", "(time)\n0 1 "),
        ("(time)\n0 2 ", "(time)\n0 3 "),
    ],
)
def test_a_lying_header_is_named(result: Path, source: Path, old: str, new: str) -> None:
    path = result / "visus.idx"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert any("visus.idx" in problem for problem in verify(result))
    reseal(result)
    assert any("visus.idx" in problem for problem in verify(result)), "metadata.json tells"
    (result / "metadata.json").unlink()
    reseal(result)
    (result / "metadata.json").write_text(json.dumps({"sensor": "NETCDF", "datasets": [{"idx": "visus.idx"}]}))
    assert any("visus.idx" in problem for problem in verify(result, source)), "the source tells"


def test_the_wrong_source_is_told(result: Path, array: Array, tmp_path: Path) -> None:
    other = array.copy()
    other[-1, -1, -1, -1] += 1
    write_source(tmp_path / "steps.nc", other)
    assert len(verify(result, tmp_path / "steps.nc")) == 1


def test_what_is_no_result_is_told(tmp_path: Path, result: Path) -> None:
    with pytest.raises(NotFound):
        verify(tmp_path)
    (result / MANIFEST).write_text("{")
    (result / "metadata.json").unlink()
    (result / "visus.idx").write_text("(version)\n9\n")
    problems = verify(result)
    assert [any(name in p for p in problems) for name in (MANIFEST, "metadata.json", "visus.idx")] == [True] * 3


# --- the check of a brick ------------------------------------------------------------------------


def check_all(result: Path, array: Array) -> None:
    header = read_header(result / "visus.idx")
    for first in first_blocks(header):
        check_blocks(result, header, 1, first, {0: array}, (0, 0, 0), (1, 1, 1))


def test_check_blocks_compares_every_bit(result: Path, array: Array) -> None:
    check_all(result, array[1])
    wrong = array[1].copy()
    wrong.view("u4")[-1, -1, -1] ^= 1
    with pytest.raises(VerificationFailed, match=r"block .*\.bin differs"):
        check_all(result, wrong)
    with pytest.raises(VerificationFailed, match="beyond"):
        check_all(result, array[1, ..., :1])
    with pytest.raises(VerificationFailed, match="differs"):
        check_all(result, array[0])
    for path in block_files(result):
        if "time_1" in path.parts:
            path.unlink()
    with pytest.raises(VerificationFailed, match="missing"):
        check_all(result, array[1])


def test_check_blocks_takes_a_lattice(tmp_path: Path, array: Array) -> None:
    """What a merge holds: the samples of the coarse levels, of which file 0 is made."""
    path = tmp_path / "visus.idx"
    openvisus().create(
        path, SHAPE[1:], [("data", "float32", "")], [(None, "data", array[2])], "zip", bitsperblock=8, blocksperfile=4
    )
    header = read_header(path)
    stride = Dataset.open(path).hz.stride(10)
    coarse = array[2, :: stride[0], :: stride[1], :: stride[2]]
    check_blocks(tmp_path, header, 0, 0, {0: coarse}, (0, 0, 0), stride)
    with pytest.raises(VerificationFailed, match="beyond"):
        check_blocks(tmp_path, header, 0, 4, {0: coarse}, (0, 0, 0), stride)
    with pytest.raises(VerificationFailed, match="differs"):
        check_blocks(tmp_path, header, 0, 0, {0: coarse[::-1]}, (0, 0, 0), stride)


def test_differences_are_those_of_bits() -> None:
    one = np.array([[1.0, np.nan], [0.0, 2.0]])
    assert first_difference(one, one.copy()) is None
    other = one.copy()
    other[1, 0] = -0.0
    assert first_difference(one, other) == (1, 0)
    other = one.copy()
    other.view("u8")[0, 1] ^= 1
    assert first_difference(one, other) == (0, 1)
    assert first_difference(one, one[:1]) == (0, 0)
    assert first_difference(one, one.view("i8")) == (0, 0)


# --- what is told --------------------------------------------------------------------------------


def test_info_tells_what_is_there(pristine: Path) -> None:
    told = info(pristine)
    assert json.loads(json.dumps(told)) == told
    (dataset,) = told["datasets"]
    (field,) = dataset["fields"]
    assert (dataset["dtype"], dataset["codec"], field["attributes"]["units"]) == ("<f4", "zip", "mm")
    assert told["verified"] is True
    assert told["bytes"] > 0
    assert told["inputs"][0]["path"] == "steps.nc"
    assert int(np.prod(dataset["shape"])) * dataset["steps"] == dataset["samples"] == int(np.prod(SHAPE))


def test_info_tells_of_a_bare_header(pristine: Path, tmp_path: Path) -> None:
    data = Path(__file__).parent.parent / "data" / "idx" / "cat_rgb" / "rgb.idx"
    (dataset,) = info(data)["datasets"]
    assert (dataset["shape"], dataset["fields"][0]["components"]) == ([256, 256], 3)
    shutil.copy(pristine / "visus.idx", tmp_path / "visus.idx")
    assert info(tmp_path)["datasets"][0]["dtype"] == "<f4"
    for nothing in (tmp_path / "no", data.parent):
        with pytest.raises(NotFound):
            info(nothing)


def test_openvisus_sees_the_same(pristine: Path) -> None:
    path = pristine / "visus.idx"
    with Dataset.open(path) as dataset:
        for step in dataset.header.steps():
            for level in (dataset.header.max_level, dataset.header.max_level - 4):
                theirs = openvisus().read(path, dataset.header.fields[0].name, step, None, level)
                assert theirs is not None
                assert theirs.tobytes() == dataset.read(step=step, level=level).tobytes()
