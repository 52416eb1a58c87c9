"""Sealing: nothing that is incomplete is sealed; what is sealed describes itself, the same way every time."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from converters.convert import convert
from converters.plan import Choices
from converters.prepare import Job, find_files, prepare
from converters.preview import MAX_PIXELS, preview
from converters.promise import promised_files
from converters.run import Serial, execute, load_plan
from converters.seal import seal
from converters.verify import verify
from converters.volume import Array
from scray.errors import Incomplete, VerificationFailed
from scray.idx.header import Field, Header, TimeRange
from scray.idx.hz import HzOrder
from scray.idx.reader import Dataset, read_header
from scray.manifest import MANIFEST, Manifest, digest_file
from tests.openvisus import openvisus
from tests.trees import tree_digests

DATA = Path(__file__).parent.parent / "data" / "idx"


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """Two detectors of different shapes, so two datasets; floats with everything that is not a number."""
    path = tmp_path / "scan.h5"
    rng = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        big = rng.normal(100, 10, (40, 50, 60)).astype("<f4")
        big[0, 0, :4] = [np.nan, np.inf, -np.inf, -9999]
        made = file.create_dataset("one/big", data=big)
        made.attrs["_FillValue"] = np.float32(-9999)
        file.create_dataset("two/small", data=rng.integers(0, 99, (30, 20), dtype="<u2"))
    return path


def job(path: Path, sensor: str = "HDF5", parameters: dict[str, str] | None = None, **choices: object) -> Job:
    root, files = find_files([path])
    return Job(root, files, sensor, parameters or {}, Choices(file_bytes=64 << 10, **choices))  # type: ignore[arg-type]


def staged(work: Job, parent: Path) -> Path:
    staging = prepare(work, tuple(digest_file(work.root, f) for f in work.files), parent)
    execute(staging, Serial())
    return staging


BOTH = {"dataset": "one/big,two/small"}


@pytest.mark.parametrize("profile", ["local", "cloud"])
def test_several_datasets_and_a_header_at_the_top(groups: Path, tmp_path: Path, profile: str) -> None:
    convert(job(groups, parameters=BOTH, profile=profile), tmp_path / "out", Serial())
    out = tmp_path / "out"
    metadata = json.loads((out / "metadata.json").read_bytes())
    names = [record["idx"] for record in metadata["datasets"]]
    assert len(names) == 2
    assert all(Path(name).name == "visus.idx" and len(Path(name).parts) == 2 for name in names)
    assert verify(out, groups) == []
    with h5py.File(groups) as file:
        for name, source in [(names[0], "one/big"), ("visus.idx", "one/big"), (names[1], "two/small")]:
            header = read_header(out / name)
            theirs = openvisus().read(out / name, header.fields[0].name)
            assert theirs is not None
            assert theirs.tobytes() == file[source][()].tobytes() == Dataset.open(out / name).read().tobytes()


def test_a_header_at_the_top_that_leads_elsewhere_is_named(groups: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(job(groups, parameters=BOTH), out, Serial())
    principal, other = (r["idx"] for r in json.loads((out / "metadata.json").read_bytes())["datasets"])
    top = (out / "visus.idx").read_text()
    for old, new in [("0 59 ", "0 58 "), (f"./{Path(principal).parent}/", f"./{Path(other).parent}/")]:
        (out / "visus.idx").write_text(top.replace(old, new))
        assert any("visus.idx at the top" in problem for problem in verify(out)), new
    (out / "visus.idx").write_text("(version)\n")
    assert any("visus.idx at the top" in problem for problem in verify(out))


def test_extremes_are_finite_and_in_header_and_metadata(groups: Path, tmp_path: Path) -> None:
    tree = seal(staged(job(groups, parameters={"dataset": "one/big"}), tmp_path / "s"))
    (record,) = json.loads((tree / "metadata.json").read_bytes())["datasets"]
    with h5py.File(groups) as file:
        samples = file["one/big"][()]
    known = samples[np.isfinite(samples)]
    (field,) = read_header(tree / "visus.idx").fields
    assert field.minimum == (float(known.min()),) == tuple(record["fields"][0]["minimum"])
    assert field.maximum == (float(known.max()),) == tuple(record["fields"][0]["maximum"])
    assert record["fields"][0]["attributes"]["_FillValue"] == -9999
    assert record["fields"][0]["source"] == "/one/big"
    assert record["shape"] == [40, 50, 60]
    assert record["axes"]


def test_nothing_but_nan_has_no_extremes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "nan.h5", "w") as file:
        file.create_dataset("a", data=np.full((20, 30), np.nan))
    tree = seal(staged(job(tmp_path / "nan.h5"), tmp_path / "s"))
    assert read_header(tree / "visus.idx").fields[0].minimum is None
    assert json.loads((tree / "metadata.json").read_bytes())["datasets"][0]["fields"][0]["minimum"] is None
    assert (tree / "preview.png").exists()


def test_a_singleton_axis_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "thin.h5", "w") as file:
        file.create_dataset("a", data=np.zeros((1, 20, 1, 30), "u1"))
    tree = seal(staged(job(tmp_path / "thin.h5"), tmp_path / "s"))
    (record,) = json.loads((tree / "metadata.json").read_bytes())["datasets"]
    assert (record["shape"], record["source_shape"]) == ([20, 30], [1, 20, 1, 30])
    assert record["squeezed_axes"] == [record["source_axes"][0], record["source_axes"][2]]


def test_sealing_twice_gives_the_same_bytes(groups: Path, tmp_path: Path) -> None:
    staging = staged(job(groups, parameters=BOTH), tmp_path / "s")
    first = tree_digests(seal(staging))
    (staging / "tree" / "visus.idx").unlink()
    assert tree_digests(seal(staging)) == first


def test_the_manifest_covers_every_file(groups: Path, tmp_path: Path) -> None:
    tree = seal(staged(job(groups, parameters=BOTH), tmp_path / "s"))
    manifest = Manifest.from_json((tree / MANIFEST).read_bytes())
    assert manifest.differences(tree) == []
    assert manifest.verified
    assert [f.path for f in manifest.inputs] == ["scan.h5"]
    assert manifest.parameters == BOTH
    assert {"visus.idx", "metadata.json", "preview.png"} <= {f.path for f in manifest.outputs}


def test_skipping_verification_is_recorded(groups: Path, tmp_path: Path) -> None:
    tree = seal(staged(job(groups, verify=False), tmp_path / "s"))
    manifest = Manifest.from_json((tree / MANIFEST).read_bytes())
    assert not manifest.verified
    assert any("not verified" in note for note in manifest.notes)


def test_what_is_incomplete_is_not_sealed(groups: Path, tmp_path: Path) -> None:
    staging = staged(job(groups, parameters=BOTH), tmp_path / "s")
    (staging / "tree" / ".0000.bin.0123456789abcdef.tmp").write_bytes(b"half")
    mark = next((staging / "marks").iterdir())
    saved = mark.read_bytes()
    mark.unlink()
    with pytest.raises(Incomplete, match=mark.stem):
        seal(staging)
    mark.write_bytes(saved)
    data = max((staging / "tree").rglob("*.bin"), key=lambda path: path.stat().st_size)
    content = data.read_bytes()
    os.truncate(data, 10)
    with pytest.raises(Incomplete, match=data.name):
        seal(staging)
    data.unlink()
    with pytest.raises(Incomplete, match=data.name):
        seal(staging)
    data.write_bytes(content)
    (data.parent / "stray.bin").write_bytes(b"?")
    with pytest.raises(VerificationFailed, match=r"stray\.bin"):
        seal(staging)
    (data.parent / "stray.bin").unlink()
    assert not (staging / "tree" / "visus.idx").exists()
    assert not list(seal(staging).rglob("*.tmp"))


def test_a_mark_that_forgets_a_file_is_found(groups: Path, tmp_path: Path) -> None:
    staging = staged(job(groups), tmp_path / "s")
    mark = next(m for m in (staging / "marks").iterdir() if json.loads(m.read_bytes())["files"])
    values = json.loads(mark.read_bytes())
    dropped = values["files"].pop()
    mark.write_text(json.dumps(values))
    with pytest.raises(Incomplete, match=dropped["path"]):
        seal(staging)
    values["files"] += [dropped, dropped | {"path": "elsewhere.bin"}]
    mark.write_text(json.dumps(values))
    with pytest.raises(VerificationFailed, match=r"elsewhere\.bin"):
        seal(staging)


def test_a_preview_that_fails_is_noted(groups: Path, tmp_path: Path) -> None:
    staging = staged(job(groups, parameters={"dataset": "one/big"}), tmp_path / "s")
    for data in (staging / "tree").rglob("*.bin"):
        data.write_bytes(bytes(data.stat().st_size))  # of the right size, and empty
    tree = seal(staging)
    assert not (tree / "preview.png").exists()
    assert "no preview: missing-source" in json.loads((tree / "metadata.json").read_bytes())["notes"]


def test_run_json_tells_how_it_went(groups: Path, tmp_path: Path) -> None:
    staging = staged(job(groups), tmp_path / "s")
    told = json.loads((seal(staging) / "run.json").read_bytes())
    assert told["task_count"] == len(load_plan(staging).tasks) == len(told["tasks"])
    assert told["seconds"].keys() >= {"read", "write", "verify"}


def test_idx_is_linked_described_and_verified(tmp_path: Path) -> None:
    convert(job(DATA / "cat_rgb", "IDX"), tmp_path / "out", Serial())
    out = tmp_path / "out"
    (record, *_) = json.loads((out / "metadata.json").read_bytes())["datasets"]
    assert (record["shape"], record["fields"][0]["components"]) == ([256, 256], 3)
    with Image.open(out / "preview.png") as shown:
        assert shown.size == (256, 256)
    assert verify(out) == []
    assert verify(out, DATA / "cat_rgb") == []
    assert (DATA / "cat_rgb" / "rgb" / "0.bin").stat().st_nlink >= 1
    assert any(p.endswith("0.bin differs from the source rgb/0.bin") for p in swapped(out))


def test_a_linked_file_that_is_gone_is_named_against_the_source(tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(job(DATA / "cat_gray", "IDX"), out, Serial())
    (out / "gray" / "0.bin").unlink()
    assert any("gray/0.bin" in p and "source" in p for p in verify(out, DATA / "cat_gray"))


def swapped(out: Path) -> list[str]:
    data = out / "rgb" / "0.bin"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.unlink()  # it may be the input itself
    data.write_bytes(content)
    return verify(out, DATA / "cat_rgb")


# --- the picture ---------------------------------------------------------------------------------


def picture(
    tmp_path: Path, array: Array, components: int = 1, fills: tuple[float, ...] = (), colours: tuple[str, ...] = ()
) -> Image.Image:
    path = tmp_path / "p" / "visus.idx"
    word = {"|u1": "uint8", "<u2": "uint16", "<f4": "float32"}[array.dtype.str]
    shape = array.shape[:-1] if components > 1 else array.shape
    fields = [("a", word + (f"[{components}]" if components > 1 else ""), "")]
    openvisus().create(path, shape, fields, [(None, "a", array)], bitsperblock=12, blocksperfile=64)
    with Dataset.open(path) as dataset:
        made = preview(dataset, fills, colours)
        assert preview(dataset, fills, colours) == made, "deterministic"
    return Image.open(io.BytesIO(made))


def test_a_volume_shows_its_middle_slice_stretched(tmp_path: Path) -> None:
    array = np.zeros((9, 40, 130), "<f4")
    array[4] = np.linspace(-5, 5, 130)
    array[4, 3, 3] = np.nan
    array[4, 30:, :] = 1e30
    shown = np.asarray(picture(tmp_path, array, fills=(1e30,)))
    assert shown.shape == (40, 130)
    assert shown[3, 3] == 0
    assert (shown[30:] == 0).all()
    assert shown[0, 0] == 0
    assert shown[0, 129] == 255
    assert (np.diff(shown[0].astype(int)) >= 0).all()


def test_colours_stay_as_they_are(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype="|u1")
    assert np.array_equal(np.asarray(picture(tmp_path, array, 3)), array)


@pytest.mark.parametrize(
    ("colour", "sample", "shown"),
    [
        ("CMYK", (0, 242, 230, 0), (255, 13, 25)),
        ("CMYK", (10, 20, 30, 255), (0, 0, 0)),
        ("YCbCr", (76, 85, 255), (254, 0, 0)),
        ("CIELab", (200, 3, 250), 200),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
    ],
)
def test_other_colours_are_shown_as_a_screen_shows_them(
    tmp_path: Path, colour: str, sample: tuple[int, ...], shown: tuple[int, ...] | int
) -> None:
    array = np.broadcast_to(np.array(sample, "|u1"), (90, 80, len(sample))).copy()
    assert (np.asarray(picture(tmp_path, array, len(sample), colours=(colour,))) == shown).all()


def test_where_zero_is_white_zero_is_white(tmp_path: Path) -> None:
    array = np.linspace(0, 1000, 90 * 80).astype("<u2").reshape(90, 80)
    shown = np.asarray(picture(tmp_path, array, colours=("grey, zero is white",)))
    assert (shown[0, 0], shown[-1, -1]) == (255, 0)


def test_wide_colours_are_stretched(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 4096, (90, 80, 4), dtype="<u2")
    shown = np.asarray(picture(tmp_path, array, 4))
    assert shown.shape == (90, 80, 3)
    assert (shown.min(), shown.max()) == (0, 255)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1000, 3000), (512, 171)),
        ((3000, 1000), (171, 512)),
        ((5000,), (512, 16)),
        ((700,), (512, 47)),
        ((3, 2, 9, 8), (112, 126)),
        ((65, 3), (3, 65)),
    ],
)
def test_the_size_is_bounded_and_in_proportion(tmp_path: Path, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    array = (np.arange(np.prod(shape)) % 251).astype("<u2").reshape(shape)
    shown = picture(tmp_path, array)
    assert shown.size == size
    assert max(shown.size) <= MAX_PIXELS


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan, np.inf])
def test_a_constant_has_a_picture(tmp_path: Path, value: float) -> None:
    shown = np.asarray(picture(tmp_path, np.full((20, 20), value, "<f4")))
    assert (shown == (128 if np.isfinite(value) else 0)).all()


# --- what is promised ----------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.text("012", min_size=3, max_size=10).filter(lambda t: "2" in t), st.integers(1, 5), st.integers(1, 9), st.data()
)
def test_promised_are_the_files_of_all_blocks(letters: str, bits: int, per_file: int, data: st.DataObject) -> None:
    sizes = [1 << letters.count(str(axis)) for axis in range(3)]
    arco = data.draw(st.sampled_from([0, 64]))
    header = Header(
        box=tuple((0, data.draw(st.integers(0, n - 1))) for n in sizes),
        bitmask="V" + letters,
        bits_per_block=min(bits, len(letters)),
        blocks_per_file=1 if arco else per_file,
        fields=(Field("a", "|u1"), Field("b", "|u1")),
        time=TimeRange(3, 4, template="t%d/"),
        arco=arco,
    )
    order = HzOrder(header.bitmask, header.bits_per_block, 3)
    wanted = set()
    for address in range(1 << len(letters)):
        if all(c < n for c, n in zip(order.point(address), header.shape, strict=True)):
            for step in (3, 4):
                wanted |= {header.block_file(address >> order.bits, name, step) for name in ("a", "b")}
    promised = list(promised_files(header))
    assert len(promised) == len(wanted)
    assert set(promised) == wanted


def test_what_is_promised_is_told_by_file_not_by_block() -> None:
    """2^34 blocks, which nobody can count, in 2^12 files; a box of one half has half of all but the coarsest four."""
    bitmask = "V" + "01" * 25
    for height, files in ((1 << 25, 4096), (1 << 24, 2050)):
        box = ((0, (1 << 25) - 1), (0, height - 1))
        header = Header(box, bitmask, 16, 1 << 22, (Field("a", "|u1"),), filename_template="./b/%04x/%04x.bin")
        promised = list(promised_files(header))
        assert len(set(promised)) == len(promised) == files
