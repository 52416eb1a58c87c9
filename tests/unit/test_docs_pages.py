"""What the pages of the documentation name exists, and the code on them does what they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from converters import kinds, registry, sniff
from converters.convert import convert
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.verify import verify
from scray.errors import MixedInput, TooLarge, TruncatedInput, every_error
from scray.idx.reader import Dataset
from tests.formats import check_boxes, pattern, read_all

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in (ROOT / "docs" / "security.md").read_text().splitlines()
    if line.startswith("| ") and "threat" not in line
]


# --- security.md ---------------------------------------------------------------------------------


def test_there_are_threats() -> None:
    assert len(ROWS) > 25


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_threat_has_a_code_a_check_and_a_test(row: list[str]) -> None:
    _, answer, check, test = row
    codes = {error.code for error in every_error()}
    assert set(re.findall(r"`([a-z-]+)`", answer)) <= codes
    assert "`" in answer or answer in ("bounded", "sealed off")
    assert (ROOT / check.strip("`")).is_file()
    path, _, name = test.strip("`").partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


# --- adding-a-format.md --------------------------------------------------------------------------


def code_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding-a-format.md").read_text(), re.DOTALL)


@pytest.fixture
def npy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module and the line of the page, in force for one test."""
    source, line = code_blocks()
    assert len(line.splitlines()) == 1
    module = ModuleType("converters.npy")
    exec(compile(source, "converters/npy.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "converters.npy", module)
    monkeypatch.setattr(kinds, "KINDS", dict(kinds.KINDS))
    for user in (sniff, registry):
        monkeypatch.setattr(user, "KINDS", kinds.KINDS)
    exec(line, kinds.__dict__)
    return module


@pytest.mark.parametrize(("shape", "dtype"), [((5, 40, 30), "<f4"), ((7, 9), ">i2"), ((6,), "?"), ((), "<f8")])
def test_the_format_of_the_page_converts(npy: Any, tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    array = pattern(shape, dtype) if dtype != "?" else np.array([True, False] * 3)
    np.save(tmp_path / "made.npy", array)
    root, files = find_files([tmp_path / "made.npy"])
    convert(Job(root, files, "OTHER"), tmp_path / "out", Serial())
    assert verify(tmp_path / "out") == []
    assert verify(tmp_path / "out", root / "made.npy") == []
    with Dataset.open(tmp_path / "out" / "visus.idx") as dataset:
        little = array.astype("|u1") if dtype == "?" else array.astype(array.dtype.newbyteorder("<"))
        assert dataset.read().tobytes() == little.tobytes()
    (volume,) = npy.probe(root, files, {}).volumes
    check_boxes(npy, root, volume, read_all(npy, root, volume), seed=1)


def test_the_format_of_the_page_refuses(npy: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, pattern((50, 60), "<f4"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TruncatedInput, match=r"a\.npy"):
        registry.probe("OTHER", tmp_path, ("a.npy",), {})
    path.write_bytes(path.read_bytes().replace(b"(50, 60)", b"(9**9,1)"))
    with pytest.raises(Exception, match=r"a\.npy"):
        registry.probe("OTHER", tmp_path, ("a.npy",), {})
    np.save(path, np.zeros(3))
    header = path.read_bytes().replace(b"(3,), }" + b" " * 13, b"(99999999999999,), }")
    path.write_bytes(header)
    with pytest.raises(TooLarge):
        registry.probe("OTHER", tmp_path, ("a.npy",), {})
    np.save(path, np.array([{}], object))
    assert registry.probe("OTHER", tmp_path, ("a.npy",), {}).format == "other", "kept as it is"
    with pytest.raises(MixedInput):
        npy.probe(tmp_path, ("a.npy", "b.npy"), {})
