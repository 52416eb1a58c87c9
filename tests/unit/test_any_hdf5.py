"""Any small HDF5 dataset: type, shape, chunks and filters drawn by chance; OpenVisus reads what was written."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.convert import convert
from converters.describe import read_metadata
from converters.plan import Choices
from converters.prepare import Job, find_files
from converters.run import Serial
from tests.formats import pattern
from tests.quirks import published, same

pytestmark = pytest.mark.slow

TYPES = ["u1", ">i2", "<u4", ">i8", "<u8", "<f2", ">f4", "<f8"]
PIPELINES: list[dict[str, Any]] = [
    {},
    {"compression": "gzip"},
    {"compression": "lzf", "shuffle": True},
    {"compression": "szip"},
    {"fletcher32": True},
]


@st.composite
def stored(draw: st.DrawFn) -> tuple[str, tuple[int, ...], dict[str, Any], bool]:
    """Type, shape, how it is stored, and whether a part is never written."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=6)))
    how: dict[str, Any] = {}
    if draw(st.booleans()):
        chunks = tuple(draw(st.integers(1, n)) for n in shape)
        how = {"chunks": chunks, "maxshape": (None, *shape[1:]), **draw(st.sampled_from(PIPELINES))}
        if how.get("compression") == "szip" and np.prod(chunks) < 64:
            del how["compression"]
    return draw(st.sampled_from(TYPES)), shape, how, draw(st.booleans())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stored(), st.sampled_from(["zip", "fast", "raw"]), st.sampled_from(["local", "cloud"]))
def test_any_dataset_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    what: tuple[str, tuple[int, ...], dict[str, Any], bool],
    codec: str,
    profile: str,
) -> None:
    kind, shape, how, partly = what
    folder = tmp_path_factory.mktemp("any")
    (folder / "in").mkdir()
    with h5py.File(folder / "in" / "a.h5", "w") as file:
        made = file.create_dataset("data", shape, kind, fillvalue=3, **how)
        at = tuple(slice(n // 2, n) for n in shape) if partly else ...
        made[at] = pattern(shape, kind)[at]
        values = made[...]
    codec = "zip" if profile == "cloud" else codec  # there is no other in the cloud
    job = Job(*find_files([folder / "in"]), "HDF5", {}, Choices(codec, profile))
    convert(job, folder / "out", Serial())
    metadata = read_metadata(folder / "out")
    assert metadata
    (array,) = published(folder / "out", metadata["datasets"][0]).values()
    same(array, values.astype(array.dtype))
