"""Scale-offset chunks that are shorter than they say: HDF5 itself would read on behind their end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.h5scale import check_scaled
from scray.errors import TruncatedInput

SAMPLES = np.random.default_rng(1).integers(0, 60_000, (10, 30)).astype("<u2")


@pytest.mark.parametrize("block", [0, 512])
@pytest.mark.parametrize("samples", [SAMPLES, SAMPLES % 9, SAMPLES * 0, SAMPLES.astype(">i4"), SAMPLES / 7])
def test_chunks_are_as_long_as_they_say(tmp_path: Path, block: int, samples: NDArray[Any]) -> None:
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=block) as file:
        digits = 0 if samples.dtype.kind in "iu" else 3
        made = file.create_dataset("data", data=samples, chunks=(4, 7), scaleoffset=digits)
        first = made.id.get_chunk_info(0)
    with h5py.File(tmp_path / "x.h5") as file:
        check_scaled(tmp_path / "x.h5", file["data"], "x")
    with (tmp_path / "x.h5").open("rb+") as raw:
        raw.seek(first.byte_offset)
        raw.write(b"\x10\0\0\0" if first.size < 70 else b"\xff\0\0\0")
    with h5py.File(tmp_path / "x.h5") as file, pytest.raises(TruncatedInput, match="shorter"):
        check_scaled(tmp_path / "x.h5", file["data"], "x")
