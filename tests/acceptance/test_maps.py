"""A 4-D scan over HTTP: its memory map lies beside the file, and is no input when it is converted again."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from cluster.state import State
from converters.verify import verify
from scray.client import ScrayClient
from tests.formats import pattern


def test_a_scan_gets_its_memory_map(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    array = pattern((5, 6, 20, 30), "<u2", 3)
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        file.create_dataset("entry/data/PIL11", data=array, chunks=(2, 3, 20, 16), compression="gzip")
    sent = client.upload(tmp_path / "scan.nxs", sensor="4D_NEXUS", name="scan", user_email="a@example.org")
    uuid = sent.dataset_uuid
    assert client.wait(uuid, 90)["status"] == "done"
    upload, result = Path(stack.data) / "upload" / uuid, Path(stack.data) / "converted" / uuid
    found = np.fromfile(upload / "scan.entry_data_PIL11.float32.dat", "<f4").reshape(array.shape)
    assert np.array_equal(found, array.astype("<f4"))
    assert verify(result, upload) == []
