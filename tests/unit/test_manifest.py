"""The manifest: deterministic, complete, and quick to notice what changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scray.errors import BadInput, UnsafePath
from scray.manifest import FileDigest, Manifest, digest_file
from scray.spans import CHUNK_BYTES

DIGEST = "ab" * 32
NAMES = ["visus.idx", "01234567/00/0000.bin", "01234567/00/0001.bin", "preview.png"]

files = st.builds(
    lambda path, digest, size: FileDigest(path, size, (digest.hex(),) if size else ()),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    st.binary(min_size=32, max_size=32),
    st.integers(0, CHUNK_BYTES),
)
lists = st.lists(files, max_size=5, unique_by=lambda file: file.path).map(tuple)
values = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=3)


@given(lists, lists, values, values, values, st.text(max_size=8), st.booleans(), st.lists(st.text(), max_size=3))
def test_json_there_and_back(
    inputs: tuple[FileDigest, ...],
    outputs: tuple[FileDigest, ...],
    parameters: dict[str, object],
    geometry: dict[str, object],
    codec: dict[str, object],
    plan: str,
    verified: bool,
    notes: list[str],
) -> None:
    one = Manifest(inputs, outputs, parameters, geometry, codec, plan, verified, tuple(notes))
    other = Manifest(
        inputs[::-1],
        outputs[::-1],
        dict(reversed(parameters.items())),
        geometry,
        codec,
        plan,
        verified,
        one.notes,
    )
    assert one.to_json() == other.to_json()
    back = Manifest.from_json(one.to_json())
    assert back.to_json() == one.to_json()
    assert set(back.outputs) == set(outputs)


def with_input(**row: object) -> bytes:
    return json.dumps({"version": 1, "inputs": [row], "outputs": [], "notes": []}).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"version": 2}',
        b'{"version": 1, "inputs": [], "outputs": [], "notes": [], "surprise": 1}',
        with_input(path=1, size=0, chunks=[], root=""),
        with_input(path="a", size=1, chunks=[], root=""),
        with_input(path="a", size=0, chunks=[], root="00"),
        with_input(path="a", size=1, chunks=["x"], root="00"),
    ],
)
def test_damaged_manifests_are_refused(text: bytes) -> None:
    with pytest.raises(BadInput, match=r"manifest\.json is damaged"):
        Manifest.from_json(text)


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        Manifest((), (), parameters={"x": float("nan")}).to_json()


def test_the_chunks_must_fit_the_size() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        FileDigest("a", CHUNK_BYTES + 1, (DIGEST,))


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, Manifest]:
    root = tmp_path / "dataset"
    for number, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes([number]) * (100 + number))
    manifest = Manifest((), tuple(digest_file(root, name) for name in NAMES))
    (root / "manifest.json").write_bytes(manifest.to_json())
    (root / "run.json").write_text("{}")
    return root, manifest


def test_a_whole_tree_has_no_differences(tree: tuple[Path, Manifest]) -> None:
    root, manifest = tree
    assert manifest.differences(root) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_damage_is_named(tree: tuple[Path, Manifest], name: str) -> None:
    root, manifest = tree
    path = root / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert manifest.differences(root) == [f"truncated: {name} has {len(whole) - 1} bytes instead of {len(whole)}"]
    path.write_bytes(whole + b"x")
    assert manifest.differences(root)[0].startswith(f"longer: {name}")
    path.write_bytes(whole[:-1] + b"x")
    assert manifest.differences(root) == [f"changed: {name} in chunk 0"]
    path.unlink()
    assert manifest.differences(root) == [f"missing: {name}"]


def test_extra_files_are_named_but_not_former_data(tree: tuple[Path, Manifest]) -> None:
    root, manifest = tree
    shutil.copytree(root / "01234567", root / "fedcba98")
    assert manifest.differences(root) == []
    (root / "01234567" / "surplus.bin").write_bytes(b"x")
    (root / "more").mkdir()
    (root / "more" / "run.json").write_text("{}")
    assert manifest.differences(root) == ["extra: 01234567/surplus.bin", "extra: more/run.json"]


def test_swapped_files_are_both_changed(tree: tuple[Path, Manifest]) -> None:
    root, manifest = tree
    one, other = root / NAMES[1], root / NAMES[2]
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])
    assert {line.split(" ")[1] for line in manifest.differences(root)} == {NAMES[1], NAMES[2]}


def test_a_link_out_of_the_dataset_is_refused(tree: tuple[Path, Manifest], tmp_path: Path) -> None:
    root, manifest = tree
    (tmp_path / "secret").write_bytes((root / NAMES[0]).read_bytes())
    (root / NAMES[0]).unlink()
    (root / NAMES[0]).symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafePath):
        manifest.differences(root)
    with pytest.raises(UnsafePath):
        digest_file(root, "../secret")


def test_inputs_carry_their_root(tree: tuple[Path, Manifest]) -> None:
    root, manifest = tree
    rows = json.loads(manifest.to_json())["outputs"]
    assert {row["path"]: row["root"] for row in rows} == {name: digest_file(root, name).root for name in NAMES}
