"""Damaged chunks whose HDF5 filters do not complain: refused, or read as the codec itself reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import imagecodecs
import numpy as np
import pytest

from converters import hdf5
from converters.volume import Array
from scray.errors import ScrayError

SAMPLES = np.random.default_rng(4).integers(0, 900, (20, 300)).astype("<u2")
DECODE = {"lzf": imagecodecs.lzf_decode, "zstd": imagecodecs.zstd_decode}


def read(root: Path) -> Array:
    (volume, *_) = hdf5.probe(root, ("x.h5",), {}).volumes
    with hdf5.open_volume(root, volume) as reader:
        return reader.read(0, tuple((0, n) for n in volume.space))


@pytest.mark.parametrize(("name", "filters"), [("lzf", {"compression": "lzf"}), ("zstd", hdf5plugin.Zstd())])
def test_a_chunk_is_never_made_of_memory_that_nobody_wrote(tmp_path: Path, name: str, filters: Any) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        made = file.create_dataset("data", data=SAMPLES, chunks=SAMPLES.shape, **filters)
        chunk = made.id.get_chunk_info(0)
    honest = (tmp_path / "x.h5").read_bytes()
    assert np.array_equal(read(tmp_path), SAMPLES)
    refused, rng = 0, np.random.default_rng(5)
    for _ in range(60):
        spoilt = bytearray(honest)
        spoilt[chunk.byte_offset + int(rng.integers(chunk.size))] ^= 1 << int(rng.integers(8))
        (tmp_path / "x.h5").write_bytes(spoilt)
        stored = bytes(spoilt[chunk.byte_offset : chunk.byte_offset + chunk.size])
        try:
            found = read(tmp_path)
        except ScrayError:
            refused += 1
        else:
            assert found.tobytes() == bytes(DECODE[name](stored, out=SAMPLES.nbytes))
    assert refused > 0
