"""What a result tells of itself may be damaged anywhere: it is refused or told, and nothing breaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from converters.convert import convert
from converters.describe import read_metadata
from converters.info import info
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.verify import verify
from scray.errors import BadInput, ScrayError
from scray.manifest import MANIFEST, Manifest

Place = tuple[str | int, ...]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
NAMES = st.sampled_from(["/etc/passwd", "../x", "visus.idx", "a/../../b", "\0", "\ud800"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES | NAMES,
    lambda c: st.lists(c, max_size=4) | st.dictionaries(st.text(max_size=3), c, max_size=3),
    max_leaves=6,
)
ONE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("told")
    tifffile.imwrite(
        folder / "a.tif", np.arange(60, dtype="u2").reshape(3, 4, 5), photometric="minisblack", metadata=None
    )
    convert(Job(*find_files([folder / "a.tif"]), "TIFF"), folder / "out", Serial())
    return folder / "out"


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """The way to each value of a JSON document, the document first."""
    yield here
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from places(below, (*here, key))


def changed(document: Any, data: st.DataObject) -> bytes:
    """The document with another value somewhere, as JSON."""
    place = data.draw(st.sampled_from(list(places(document))))
    value = data.draw(VALUES)
    if not place:
        return json.dumps(value).encode()
    made = at = deepcopy(document)
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return json.dumps(made).encode()


def tell(result: Path) -> None:
    """What `scray info` and `scray verify` do: they may refuse, and nothing else."""
    for ask in (lambda: json.dumps(info(result)), lambda: verify(result)):
        with suppress(ScrayError):
            ask()


@ONE
@given(st.data())
def test_a_manifest_that_was_changed_anywhere(result: Path, data: st.DataObject) -> None:
    whole = (result / MANIFEST).read_bytes()
    text = changed(json.loads(whole), data)
    try:
        (result / MANIFEST).write_bytes(text)
        tell(result)
    finally:
        (result / MANIFEST).write_bytes(whole)


@pytest.mark.parametrize("name", ["parameters", "geometry", "codec", "plan", "verified"])
def test_what_is_of_another_kind_is_refused(result: Path, name: str) -> None:
    values = json.loads((result / MANIFEST).read_bytes())
    with pytest.raises(BadInput, match=f"{name} is no "):
        Manifest.from_json(json.dumps(values | {name: []}))


@ONE
@given(st.data())
def test_metadata_that_was_changed_anywhere(result: Path, data: st.DataObject) -> None:
    whole = (result / "metadata.json").read_bytes()
    text = changed(json.loads(whole), data)
    try:
        (result / "metadata.json").write_bytes(text)
        tell(result)
    finally:
        (result / "metadata.json").write_bytes(whole)


@given(st.binary(max_size=64) | VALUES.map(lambda value: json.dumps({"datasets": [value]}).encode()))
@example(b'{"datasets": [{"idx": "../a.idx"}]}')
@example(b'{"datasets": [{"idx": "/a.idx"}]}')
@example(b'{"datasets": [{"idx": "\\ud800"}]}')
@example(b'{"datasets": [{"fields": null}]}')
@example(b'{"datasets": [{"fields": [1]}]}')
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_datasets_are_told_as_ours_or_not_at_all(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "metadata.json").write_bytes(text)
    told = read_metadata(tmp_path)
    for record in told["datasets"] if told else []:
        path = record.get("idx", "visus.idx")
        assert (tmp_path / path).resolve().is_relative_to(tmp_path.resolve())
        assert all(isinstance(field, dict) for field in record.get("fields", []))
