"""Archives over HTTP: what they hold is converted, the original stays, a hostile one is told and touches nothing."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import tifffile

from cluster.state import State
from converters.verify import verify
from scray.client import ScrayClient
from tests.formats import pattern
from tests.trees import tree_digests


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def image(seed: int) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pattern((20, 30), "<u2", seed), metadata=None)
    return out.getvalue()


def send(client: ScrayClient, path: Path, sensor: str) -> str:
    return client.upload(path, sensor=sensor, name=path.stem, user_email="a@example.org").dataset_uuid


@pytest.mark.parametrize(("sensor", "shape"), [("TIFF", [2, 20, 30]), ("OTHER", [2, 20, 30])])
def test_a_zip_becomes_a_dataset_and_stays(
    stack: State, client: ScrayClient, tmp_path: Path, sensor: str, shape: list[int]
) -> None:
    path = zipped(tmp_path / "scan.zip", {f"s/{n}.tif": image(n) for n in (10, 2)})
    uuid = send(client, path, sensor)
    assert client.wait(uuid, 90)["status"] == "done"
    data = Path(stack.data)
    assert verify(data / "converted" / uuid, path) == []
    assert client.dataset(uuid)["conversion"]["shape"] == shape
    assert tree_digests(data / "upload" / uuid) == tree_digests(tmp_path)
    assert not (data / "converted" / ".staging" / uuid).exists()


def test_what_nobody_knows_is_kept_as_it_is(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("taken on Tuesday")
    uuid = send(client, path, "OTHER")
    assert client.wait(uuid, 90)["status"] == "done"
    data = Path(stack.data)
    assert any("kept as is" in note for note in client.dataset(uuid)["conversion"]["notes"])
    assert (data / "converted" / uuid / "notes.txt").samefile(data / "upload" / uuid / "notes.txt")


def test_a_hostile_zip_ends_with_unzip_error_and_its_code(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    before = {path.name for path in Path(stack.data).iterdir()}
    uuid = send(client, zipped(tmp_path / "evil.zip", {"../../evil": b"x"}), "TIFF")
    client.wait(uuid, 90)
    document = client.dataset(uuid)
    assert (document["status"], document["error_code"]) == ("unzip error", "unsafe-path")
    assert "evil.zip" in document["error_message"]
    assert {path.name for path in Path(stack.data).iterdir()} == before
    assert not (Path(stack.data) / "converted" / ".staging" / uuid).exists()
