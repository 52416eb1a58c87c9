"""Conversion parameters of a document reach the pixels, whoever wrote them there, or fail with the axes named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cluster.state import State
from converters.verify import verify
from scray.client import ScrayClient
from scray.database import connect
from scray.settings import Settings
from tests.formats import pattern
from tests.openvisus import openvisus


def write_document(stack: State, uuid: str, parameters: dict[str, Any]) -> None:
    """As another program does it: past every check."""
    settings = Settings(_env_file=stack.settings_file)  # type: ignore[call-arg]
    database = connect(settings.mongo_url, settings.db_name)
    with database.client:
        database.visstoredatas.update_one({"uuid": uuid}, {"$set": {"conversion_parameters": parameters}})


def test_what_the_document_says_is_what_is_converted(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    array = pattern((12, 40, 50), "<i2", 5)
    array[3, :20] = -1
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("data", data=array, chunks=(4, 20, 50), compression="gzip", fillvalue=-1)
    uuid = client.upload(
        tmp_path / "scan.h5", sensor="HDF5", name="scan", user_email="a@example.org", parameters={"axes": "tyx"}
    ).dataset_uuid
    assert client.wait(uuid, 90)["status"] == "done"
    result = Path(stack.data) / "converted" / uuid
    assert np.array_equal(np.asarray(openvisus().read(result / "visus.idx", "data", 7)), array[7])
    write_document(stack, uuid, {"axes": "xzy", "fill": 9, "codec": "fast"})
    client.convert(uuid)
    assert client.wait(uuid, 90)["status"] == "done"
    turned = np.where(array == -1, np.int16(9), array).transpose(1, 2, 0)
    assert np.array_equal(np.asarray(openvisus().read(result / "visus.idx", "data")), turned)
    assert verify(result, tmp_path / "scan.h5") == []
    for parameters, words in (({"axes": "zy"}, "dim0 (12)"), ({"colour": "red"}, "Known are")):
        write_document(stack, uuid, parameters)
        client.convert(uuid)
        assert client.wait(uuid, 90)["status"] == "conversion failed"
        found = client.dataset(uuid)
        assert found["error_code"] == "bad-parameter"
        assert words in found["error_message"]
