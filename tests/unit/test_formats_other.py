"""OTHER: what is known is converted, everything else is kept, byte for byte, and says so."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
import tifffile

from converters import registry
from converters.convert import convert
from converters.info import info
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.verify import verify
from scray.errors import BadInput, EmptyInput, MixedInput
from scray.manifest import MANIFEST, Manifest
from tests.formats import pattern


def run(folder: Path, out: Path, sensor: str = "OTHER") -> Manifest:
    root, files = find_files([folder])
    convert(Job(root, files, sensor), out, Serial())
    return Manifest.from_json((out / MANIFEST).read_bytes())


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "notes.txt").write_text("taken on Tuesday")
    (folder / "metadata.json").write_text('{"mine": true}')
    (folder / "manifest.json").write_text("[]")
    (folder / "run.json").mkdir()
    (folder / "run.json" / "deep").write_text("a folder of this name")
    (folder / "deep" / "er" / "x.bin").write_bytes(bytes(range(256)) * 500)
    (folder / "deep" / "empty").touch()
    (folder / ".hidden").write_text("not for others")
    return folder


def test_what_is_not_known_is_kept_as_it_is(odd: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = run(odd, out)
    assert any(note.startswith("kept as is") for note in manifest.notes)
    assert (out / "deep" / "er" / "x.bin").samefile(odd / "deep" / "er" / "x.bin")
    assert json.loads((out / "original" / "metadata.json").read_bytes()) == {"mine": True}
    assert (out / "original" / "manifest.json").read_text() == "[]"
    assert (out / "original" / "run.json" / "deep").read_text() == "a folder of this name"
    assert (out / "deep" / "empty").stat().st_size == 0
    assert not (out / "visus.idx").exists()
    assert not list(out.rglob(".hidden"))
    assert {f.path for f in manifest.inputs} == set(find_files([odd])[1])


def test_a_package_is_verified_and_described(odd: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(odd, out)
    assert verify(out) == []
    assert verify(out, odd) == []
    told = info(out)
    assert (told["format"], told["datasets"]) == ("other", [])
    path = out / "notes.txt"
    path.unlink()
    path.write_text("taken on Sunday!")
    assert any("notes.txt" in problem for problem in verify(out))
    run(odd, out)
    assert verify(out) == []


def test_sessions_of_dashboards_are_no_data(odd: Path, tmp_path: Path) -> None:
    for name in ("sessions/session_1.json", "sessions/notes.json", "deep/sessions/session_1.json"):
        (odd / name).parent.mkdir(exist_ok=True)
        (odd / name).write_text("{}")
    manifest = run(odd, tmp_path / "out")
    kept = {file.path for file in manifest.inputs if "session" in file.path}
    assert kept == {"sessions/notes.json", "deep/sessions/session_1.json"}
    (odd / "sessions" / "session_1.json").write_text('{"zoom": 2}')
    assert verify(tmp_path / "out", odd) == []
    assert (odd / "sessions" / "session_1.json").exists()


def test_several_kinds_are_kept_by_other_and_refused_by_name_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", pattern((4, 5), "u1"))
    with h5py.File(folder / "b.h5", "w") as file:
        file["data"] = pattern((4, 5), "u1")
    with pytest.raises(MixedInput, match=r"TIFF image \(1, like a\.tif\).*HDF5 file \(1, like b\.h5\)"):
        registry.probe("IDX", *find_files([folder]), {})
    (note,) = run(folder, tmp_path / "out").notes
    assert "a.tif" in note
    assert "b.h5" in note


def test_a_known_file_without_numbers_is_kept_and_a_broken_one_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with h5py.File(folder / "b.h5", "w") as file:
        file["words"] = "no numbers here"
    assert "b.h5" in run(folder, tmp_path / "out").notes[0]
    (folder / "b.h5").write_bytes((folder / "b.h5").read_bytes()[:100])
    with pytest.raises(BadInput, match=r"b\.h5"):
        run(folder, tmp_path / "out2")
    (folder / "b.h5").write_bytes(b"")
    with pytest.raises(EmptyInput):
        run(folder, tmp_path / "out2")
    assert not (tmp_path / "out2").exists()
