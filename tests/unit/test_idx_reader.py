"""The independent reader agrees with OpenVisus about all that it writes, and never shows zeros for what is gone."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scray.errors import BadInput, MissingSource, NotFound, ScrayError, TruncatedInput, UnsafePath, Unsupported
from scray.idx import codecs
from scray.idx.header import Header, TimeRange
from scray.idx.hz import HzOrder
from scray.idx.reader import Dataset, read_header
from tests.openvisus import Box, openvisus

DATA = Path(__file__).parent.parent / "data" / "idx"
WORDS = {"|u1": "uint8", "<u2": "uint16", "<i4": "int32", "<u8": "uint64", "<f4": "float32", "<f8": "float64"}
Array = NDArray[Any]


def samples(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    """Random bits, so that NaN payloads and extremes are among the floats; no two neighbours alike."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(np.random.default_rng(seed).bytes(size), dtype).reshape(shape)


def same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def agree(path: Path, field: str, step: int | None, box: Box | None, level: int | None) -> bool | None:
    """Whether both readers see the same; None where OpenVisus refuses a box thinner than the level's stride."""
    with Dataset.open(path) as dataset:
        ours = dataset.read(box, step, field, level)
    theirs = openvisus().read(path, field, step, box, level)
    if theirs is None:
        return None
    return same(ours, theirs.reshape(ours.shape))


@st.composite
def datasets(draw: st.DrawFn) -> dict[str, Any]:
    axes = draw(st.integers(1, 5))
    most = {1: 300, 2: 60, 3: 24, 4: 9, 5: 6}[axes]
    shape = tuple(draw(st.lists(st.integers(1 if axes > 1 else 2, most), min_size=axes, max_size=axes)))
    shape = (max(shape[0], 2), *shape[1:])  # a trailing axis of one sample gets no bit
    dtypes = draw(st.lists(st.sampled_from(sorted(WORDS)), min_size=1, max_size=3))
    arco = draw(st.booleans())
    bits = draw(st.integers(1, min(9, sum((n - 1).bit_length() for n in shape))))
    options: dict[str, Any] = {"bitsperblock": bits, "blocksperfile": draw(st.integers(1, 9))}
    components = [draw(st.sampled_from([1, 1, 3, 4] if axes < 5 else [1])) for _ in dtypes]  # its arrays end at 5-D
    if arco:
        options = {"arco": max(np.dtype(d).itemsize * c for d, c in zip(dtypes, components, strict=True)) << bits}
    layout = draw(st.sampled_from(["", "hzorder"]))
    times = draw(st.sampled_from([(), (0, 2, "time_%04d/"), (5, 6, "t%02d/")]))
    if times:
        options["time"] = list(times)
    codec = draw(st.sampled_from(["", "zip", "lz4"]))
    return {
        "shape": shape,
        "options": options,
        "codec": codec,
        "steps": {(): [None], 0: [0, 1, 2], 5: [5, 6]}[times[0] if times else ()],
        "fields": [(f"f{i}", d, c, layout) for i, (d, c) in enumerate(zip(dtypes, components, strict=True))],
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(datasets(), st.data())
def test_reads_what_openvisus_writes(tmp_path: Path, made: dict[str, Any], data: st.DataObject) -> None:
    shutil.rmtree(tmp_path / "made", ignore_errors=True)
    path = tmp_path / "made" / "visus.idx"
    shape, fields = made["shape"], []
    writes: list[tuple[int | None, str, Array]] = []
    for name, dtype, components, layout in made["fields"]:
        fields.append((name, WORDS[dtype] + (f"[{components}]" if components > 1 else ""), layout))
        tail = (components,) if components > 1 else ()
        writes += [(step, name, samples(shape + tail, dtype, len(writes))) for step in made["steps"]]
    openvisus().create(path, shape, fields, writes, made["codec"], **made["options"])
    with Dataset.open(path) as dataset:
        assert dataset.check() == len(writes) * int(np.prod(shape))
        for step, name, array in writes:
            assert same(dataset.read(None, step, name), array)
        levels = dataset.header.max_level
    step, name, _ = data.draw(st.sampled_from(writes))
    for level in range(levels + 1):
        assert agree(path, name, step, None, level) is not False, level
    for _ in range(4):
        ends = [data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)) for n in shape]
        box = tuple((min(pair), max(pair)) for pair in ends)
        assert agree(path, name, step, box, data.draw(st.integers(0, levels) | st.none())) is not False, box


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("cat_gray/gray.idx", "e34f87cb9c55b5257695cc9631c45c1471a678a6b2e8dbbee876a1b81b2a9a88"),
        ("cat_rgb/rgb.idx", "9d0c712bfd476bcc25977cf76715bdf327d7d3cfb34e3cbeb8f573156dee2d81"),
    ],
)
def test_reads_real_samples_in_hz_order(name: str, digest: str) -> None:
    with Dataset.open(DATA / name) as dataset:
        assert hashlib.sha256(dataset.read().tobytes()).hexdigest() == digest
        assert not dataset.header.fields[0].row_major
    assert all(agree(DATA / name, "data", None, None, level) for level in range(17))
    assert agree(DATA / name, "data", None, ((17, 130), (4, 90)), 13)


# --- the old versions, which nobody writes any more: bytes made here, judged by OpenVisus ----------


def write_old(folder: Path, version: int, array: Array, codec: str, steps: range | None) -> Path:
    """A dataset of version 1 to 5 made from a single array: HZ order, 3-word block headers."""
    digits = "V" + "01" * 6
    time = TimeRange(steps[0], steps[-1], template="time%02d/") if steps else None
    header = replace(
        read_header(DATA / "cat_gray" / "gray.idx"),
        box=tuple((0, n - 1) for n in reversed(array.shape)),
        bitmask=digits,
        bits_per_block=6,
        blocks_per_file=16,
        filename_template="./data/%03x.bin",
        time=time,
    )
    word = WORDS[array.dtype.str]
    text = header.format().replace("(version)\n6", f"(version)\n{version}")
    lines = [
        f"data {word} {'compressed' if codec == 'zip' else ''}" if "default_" in t else t for t in text.splitlines()
    ]
    folder.mkdir(exist_ok=True)
    (folder / "old.idx").write_text("\n".join(lines))
    order = HzOrder(digits, 6, 2)
    for step in header.steps():
        big = array.astype(">f4") if version <= 2 and array.dtype == np.float32 else array
        for first in range(0, 64, 16):
            payloads = [codecs.encode(codec, gather(order, big, b)) for b in range(first, first + 16)]
            offset = (0 if version == 1 else 16) + 16 * 12
            table = b"" if version == 1 else bytes(16)
            for payload in payloads:
                table += struct.pack(">3I", offset, len(payload), codec == "zip")
                offset += len(payload)
            path = folder / read_header(folder / "old.idx").block_file(first, "data", step)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(table + b"".join(payloads))
    return folder / "old.idx"


def gather(order: HzOrder, array: Array, block: int) -> Array:
    """The samples of a block, address by address, zeros outside."""
    points = [order.point((block << order.bits) + k) for k in range(1 << order.bits)]
    inside = [all(c < n for c, n in zip(p, array.shape, strict=True)) for p in points]
    return np.array([array[p] if ok else 0 for p, ok in zip(points, inside, strict=True)], array.dtype)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("dtype", "codec"), [("<f4", "zip"), ("<u2", "raw")])
@pytest.mark.parametrize("steps", [None, range(2, 4)])
def test_reads_old_versions(tmp_path: Path, version: int, dtype: str, codec: str, steps: range | None) -> None:
    array = samples((50, 61), "<u2").astype(dtype)
    path = write_old(tmp_path / "old", version, array, codec, steps)
    step = steps[1] if steps else None
    with Dataset.open(path) as dataset:
        assert same(dataset.read(step=step), array)
    for level in (12, 9, 6, 3):
        assert agree(path, "data", step, None, level), level


# --- what is not there, cut or hostile -------------------------------------------------------------


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    """8 blocks of 64 samples in 2 files, zip."""
    path = tmp_path / "d" / "visus.idx"
    openvisus().create(
        path,
        (16, 32),
        [("a", "uint16", "")],
        [(None, "a", samples((16, 32), "<u2"))],
        "zip",
        bitsperblock=6,
        blocksperfile=4,
    )
    return path


def test_a_missing_file_is_an_error_or_default_by_choice(two_files: Path) -> None:
    (two_files.parent / "visus" / "0004.bin").unlink()
    with Dataset.open(two_files) as dataset:
        with pytest.raises(MissingSource, match=r"0004\.bin"):
            dataset.read()
        with pytest.raises(MissingSource, match=r"0004\.bin"):
            dataset.check()
        array = dataset.read(absent="zero")
        assert same(dataset.read(level=7), array[::2, ::2][:, :])
    assert 0 < np.count_nonzero(array) < array.size


def test_what_is_no_file_is_a_missing_one(two_files: Path) -> None:
    for make in (os.mkdir, os.mkfifo):
        (two_files.parent / "visus" / "0004.bin").unlink(missing_ok=True)
        make(two_files.parent / "visus" / "0004.bin")
        with Dataset.open(two_files) as dataset, pytest.raises(MissingSource, match=r"0004\.bin is no file"):
            dataset.check()
        if make is os.mkdir:
            (two_files.parent / "visus" / "0004.bin").rmdir()


def test_a_default_value_that_does_not_fit_wraps_around(two_files: Path) -> None:
    two_files.write_text(two_files.read_text().replace("default_value(0)", "default_value(65543)"))
    (two_files.parent / "visus" / "0004.bin").unlink()
    with Dataset.open(two_files) as dataset:
        assert (dataset.read(absent="zero") == 7).any()


def test_an_absent_block_is_an_error(two_files: Path) -> None:
    damage(two_files, 4, 40 + 5 * 0 + 40 * 1 + 16, bytes(4))
    with Dataset.open(two_files) as dataset, pytest.raises(MissingSource, match=r"block 5 of field a.*0004\.bin"):
        dataset.check()


def damage(path: Path, file: int, at: int, data: bytes) -> None:
    block_file = path.parent / "visus" / f"{file:04x}.bin"
    content = bytearray(block_file.read_bytes())
    content[at : at + len(data)] = data
    block_file.write_bytes(content)


@pytest.mark.parametrize("keep", [0, 39, 100, -1])
def test_a_truncated_file_is_an_error_also_where_absence_is_allowed(two_files: Path, keep: int) -> None:
    block_file = two_files.parent / "visus" / "0004.bin"
    block_file.write_bytes(block_file.read_bytes()[:keep])
    with Dataset.open(two_files) as dataset, pytest.raises(TruncatedInput, match=r"0004\.bin"):
        dataset.read(absent="zero")


@pytest.mark.parametrize(
    ("at", "data", "error"),
    [
        (40 + 8, b"\xff\xff\xff\xff", TruncatedInput),  # offset
        (40 + 12, b"\x00\x00\x00\x01", TruncatedInput),  # its high word
        (40 + 16, b"\x7f\xff\xff\xff", BadInput),  # size
        (40 + 20, b"\x00\x00\x00\x14", Unsupported),  # jpg
        (40 + 20, b"\x00\x00\x00\x17", BadInput),  # not lz4
        (40 + 4 * 40 + 30, b"\xff" * 8, BadInput),  # payload
    ],
)
def test_damage_is_named_by_file_and_block(two_files: Path, at: int, data: bytes, error: type[ScrayError]) -> None:
    damage(two_files, 0, at, data)
    with Dataset.open(two_files) as dataset, pytest.raises(error, match=r"block 0 of field a.*0000\.bin"):
        dataset.check()


@pytest.mark.parametrize(("shift", "says"), [(-4, "within another"), (-180, "within its table")])
def test_blocks_that_lie_in_each_other_or_in_their_table_are_damage(tmp_path: Path, shift: int, says: str) -> None:
    path, array = tmp_path / "visus.idx", samples((16, 32), "<u2")
    openvisus().create(path, (16, 32), [("a", "uint16", "")], [(None, "a", array)], "", bitsperblock=6, blocksperfile=4)
    raw = (tmp_path / "visus" / "0000.bin").read_bytes()
    first = min(range(4), key=lambda block: struct.unpack_from(">I", raw, 48 + 40 * block))
    at = 48 + 40 * (first if shift == -180 else (first + 1) % 4)
    damage(path, 0, at, struct.pack(">I", struct.unpack_from(">I", raw, at)[0] + shift))
    with Dataset.open(path) as dataset, pytest.raises(BadInput, match=says):
        dataset.check()


def test_a_cleared_layout_flag_shows(two_files: Path) -> None:
    before = Dataset.open(two_files).read()
    damage(two_files, 0, 40 + 20, b"\x00\x00\x00\x03")
    assert not same(Dataset.open(two_files).read(), before)


def test_a_link_out_of_the_dataset_is_refused(two_files: Path, tmp_path: Path) -> None:
    block_file = two_files.parent / "visus" / "0000.bin"
    block_file.rename(tmp_path / "elsewhere.bin")
    block_file.symlink_to(tmp_path / "elsewhere.bin")
    with pytest.raises(UnsafePath):
        Dataset.open(two_files).read()


def test_wrong_questions_are_told(two_files: Path) -> None:
    dataset = Dataset.open(two_files)
    with pytest.raises(NotFound, match="a"):
        dataset.read(field="b")
    with pytest.raises(NotFound):
        dataset.read(field=1)
    with pytest.raises(BadInput, match="box"):
        dataset.read(((0, 17), (0, 32)))
    with pytest.raises(NotFound):
        Dataset.open(two_files.parent / "other.idx")
    with pytest.raises(BadInput):
        Dataset.open(two_files.parent)


def test_filters_are_not_read(two_files: Path) -> None:
    two_files.write_text(two_files.read_text().replace("default_layout()", "default_layout() filter(dehaar)"))
    with pytest.raises(Unsupported, match="dehaar"):
        Dataset.open(two_files).read()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 700), junk=st.binary(min_size=1, max_size=12))
def test_any_damage_ends_in_samples_or_a_clear_error(two_files: Path, at: int, junk: bytes) -> None:
    block_file = two_files.parent / "visus" / "0000.bin"
    whole = block_file.read_bytes()
    damage(two_files, 0, at % len(whole), junk)
    try:
        with Dataset.open(two_files) as dataset:
            assert dataset.read().shape == (16, 32)
    except (BadInput, Unsupported):
        pass
    finally:
        block_file.write_bytes(whole)


@settings(deadline=None)
@given(st.text("01234", min_size=2, max_size=14), st.integers(0, 6))
def test_every_point_of_the_lattice_is_in_one_block_once(letters: str, bits: int) -> None:
    axes = int(max(letters)) + 1
    order = HzOrder("V" + letters, min(bits, len(letters)), axes)
    shape = tuple(1 << letters.count(str(axes - 1 - axis)) for axis in range(axes))
    seen = np.zeros(shape, int)
    for block in range(1 << (len(letters) - order.bits)):
        lattice = order.lattice(block)
        slices = tuple(
            slice(a, a + n * s, s) for a, s, n in zip(lattice.start, lattice.stride, lattice.shape, strict=True)
        )
        seen[slices] += 1
        first = order.point((block << order.bits) + (1 << order.bits) - 1)
        assert seen[first] == 1
        assert order.block_of(first) == block
    assert (seen == 1).all()


@settings(deadline=None)
@given(st.data())
def test_the_blocks_of_a_box_are_those_that_touch_it(data: st.DataObject) -> None:
    letters = data.draw(st.text("012", min_size=3, max_size=11).filter(lambda t: "2" in t))
    order = HzOrder("V" + letters, data.draw(st.integers(1, len(letters))), 3)
    level = data.draw(st.integers(0, len(letters)))
    box = []
    for axis in range(3):
        size = 1 << letters.count(str(2 - axis))
        low = data.draw(st.integers(0, size - 1))
        box.append((low, data.draw(st.integers(low + 1, size))))
    wanted = set()
    for address in range(1 << level):
        if all(a <= c < b for c, (a, b) in zip(order.point(address), box, strict=True)):
            wanted.add(address >> order.bits)
    assert list(order.blocks(tuple(box), level)) == sorted(wanted)


def test_a_hostile_header_costs_no_time() -> None:
    huge = Header.parse(
        "(version)\n6\n(box)\n0 1048575 0 1048575 0 1048575\n(fields)\na uint8\n(bits)\nV"
        + "012" * 20
        + "\n(bitsperblock)\n16\n(blocksperfile)\n1\n(filename_template)\n./x/%04x.bin\n"
    )
    with pytest.raises(MissingSource):
        Dataset(Path("/nowhere"), huge).check()
    with pytest.raises(ScrayError):
        Dataset(Path("/nowhere"), huge).read()
