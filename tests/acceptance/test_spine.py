"""The spine: an upload becomes a verified visus.idx, or ends with a code and a sentence, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cluster.state import Places, State
from converters.verify import verify
from scray.catalog import Catalog
from scray.client import ScrayClient
from scray.database import connect
from scray.errors import EmptyInput
from scray.manifest import MANIFEST, Manifest
from scray.settings import Settings
from tests.ray_session import until

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "examples" / "data"
PARTS = 48
BROKEN = {"bad-input", "truncated-input"}


def send(client: ScrayClient, path: Path, sensor: str, **parameters: Any) -> str:
    return client.upload(
        path, sensor=sensor, name=path.stem, user_email="a@example.org", parameters=parameters
    ).dataset_uuid


def result_of(stack: State, uuid: str) -> Path:
    return Path(stack.data) / "converted" / uuid


def staging_of(stack: State, uuid: str) -> Path:
    return Path(stack.data) / "converted" / ".staging" / uuid


@pytest.mark.parametrize(
    ("name", "sensor"),
    [
        ("img3d.tif", "TIFF"),
        ("uwnd_mean.nc", "NETCDF"),
        ("tooth.h5", "HDF5"),
        ("201805_WSe2_arpes.nxs", "4D_NEXUS"),
        ("cat_rgb", "IDX"),
    ],
)
def test_an_upload_becomes_a_verified_dataset(stack: State, client: ScrayClient, name: str, sensor: str) -> None:
    uuid = send(client, SAMPLES / name, sensor)
    assert client.wait(uuid, 90)["status"] == "done"
    assert verify(result_of(stack, uuid), SAMPLES / name) == []
    document = client.dataset(uuid)["conversion"]
    assert document["verified"]
    assert document["datasets"][0].endswith(".idx")
    assert not staging_of(stack, uuid).exists()


def test_what_rots_on_the_disk_is_not_converted(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    path = tmp_path / "rotten.tif"
    path.write_bytes((SAMPLES / "img3d.tif").read_bytes())
    uuid = client.upload(path, sensor="TIFF", name="rotten", user_email="a@example.org", convert=False).dataset_uuid
    assert client.wait(uuid, 60)["status"] == "done"
    stored = Path(stack.data) / "upload" / uuid / "rotten.tif"
    whole, times = stored.read_bytes(), stored.stat()
    stored.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(stored, ns=(times.st_atime_ns, times.st_mtime_ns))
    client.convert(uuid)
    assert client.wait(uuid, 90)["status"] == "conversion failed"
    assert client.dataset(uuid)["error_code"] == "chunk-damaged"
    assert not result_of(stack, uuid).exists()
    stored.write_bytes(whole)  # by somebody who mends it
    client.convert(uuid)
    assert client.wait(uuid, 90)["status"] == "done"


@pytest.mark.parametrize(
    ("content", "sensor", "codes"),
    [
        (b"not a picture", "TIFF", {"wrong-sensor"}),
        (b"not a table", "HDF5", {"wrong-sensor"}),
        ((SAMPLES / "img3d.tif").read_bytes()[:50_000], "TIFF", BROKEN),
        ((SAMPLES / "tooth.h5").read_bytes()[:500_000], "HDF5", BROKEN),
    ],
    ids=["no picture", "no table", "truncated TIFF", "truncated HDF5"],
)
def test_broken_input_ends_with_a_code_and_a_sentence_and_the_next_goes_on(
    stack: State, client: ScrayClient, tmp_path: Path, content: bytes, sensor: str, codes: set[str]
) -> None:
    broken = tmp_path / "broken.dat"
    broken.write_bytes(content)
    uuid = send(client, broken, sensor)
    follower = send(client, SAMPLES / "img3d.tif", "TIFF")
    found = client.wait(uuid, 30)
    assert found["status"] == "conversion failed"
    assert found["error_code"] in codes
    assert found["error_message"].endswith(".")
    assert not result_of(stack, uuid).exists()
    assert not staging_of(stack, uuid).exists()
    assert client.wait(follower, 60)["status"] == "done"


def test_an_empty_file_is_refused_at_the_door(client: ScrayClient, tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    with pytest.raises(EmptyInput):
        send(client, tmp_path / "empty.tif", "TIFF")


def many(folder: Path, seed: int) -> tuple[Path, str]:
    """A file of many datasets, hard to compress: a conversion of some seconds with many bricks."""
    path, rng = folder / "many.h5", np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        for i in range(PARTS):
            file[f"d{i:02}"] = rng.integers(0, 4096, (64, 96 + i, 128)).astype("<u2")
    return path, ",".join(f"/d{i:02}" for i in range(PARTS))


def finished_bricks(staging: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every block file that a mark in the staging folder names, by path in the result."""
    found = {}
    for mark in staging.glob("*/marks/*.json"):
        for file in json.loads(mark.read_text())["files"]:
            stat = (mark.parents[1] / "tree" / file["path"]).stat()
            found[file["path"]] = (stat.st_ino, stat.st_mtime_ns)
    return found


def drivers(stack: State) -> list[dict[str, Any]]:
    settings = Settings(_env_file=stack.settings_file)  # type: ignore[call-arg]
    database = connect(settings.mongo_url, settings.db_name)
    with database.client:
        return Catalog(database).drivers()


def test_killing_the_driver_in_the_middle_costs_only_time(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    path, names = many(tmp_path, 1)
    uuid = send(client, path, "HDF5", dataset=names, codec="small")
    staging = staging_of(stack, uuid)
    until(lambda: len(finished_bricks(staging)) >= 5, 60, "the fifth brick")
    driver = next(one for one in drivers(stack) if one["alive"])
    os.kill(driver["pid"], signal.SIGKILL)
    before = finished_bricks(staging)
    assert len(before) < PARTS, "the conversion was over before the driver was killed"
    assert client.wait(uuid, 120)["status"] == "done"
    result = result_of(stack, uuid)
    after = {name: ((result / name).stat().st_ino, (result / name).stat().st_mtime_ns) for name in before}
    assert after == before, "a finished brick was made again"
    assert verify(result, path) == []
    until(lambda: any(one["alive"] and one["pid"] != driver["pid"] for one in drivers(stack)), 30, "the new driver")


def test_a_cancelled_conversion_stops_and_leaves_nothing(stack: State, client: ScrayClient, tmp_path: Path) -> None:
    path, names = many(tmp_path, 2)
    uuid = send(client, path, "HDF5", dataset=names, codec="small")
    staging = staging_of(stack, uuid)
    until(lambda: len(finished_bricks(staging)) >= 2, 60, "the second brick")
    client.cancel(f"upload_{uuid}")
    assert client.wait(uuid, 30)["status"] == "cancelled"
    until(lambda: not staging.exists(), 20, "the end of the staging folder")
    assert not result_of(stack, uuid).exists()


def test_converting_again_gives_the_same_bytes_and_other_parameters_replace_them(
    stack: State, client: ScrayClient
) -> None:
    uuid = send(client, SAMPLES / "img3d.tif", "TIFF")
    assert client.wait(uuid, 60)["status"] == "done"
    manifest = (result_of(stack, uuid) / MANIFEST).read_bytes()
    client.convert(uuid)
    assert client.wait(uuid, 60)["status"] == "done"
    assert (result_of(stack, uuid) / MANIFEST).read_bytes() == manifest
    assert Manifest.from_json(manifest).differences(result_of(stack, uuid)) == []


def test_the_command_line_uploads_watches_and_reports(stack: State, tmp_path: Path) -> None:
    def scray(*words: object) -> tuple[int, Any]:
        line = [sys.executable, "-m", "cluster.cli", *map(str, words), "--data", stack.data, "--json"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    code, sent = scray("upload", SAMPLES / "tooth.h5", "--sensor", "HDF5", "--wait")
    assert (code, sent["status"]) == (0, "done")
    assert sent["dataset_uuid"] == sent["uuid"]
    two = [SAMPLES / "img3d.tif", tmp_path / "more"]
    two[1].mkdir()
    (two[1] / "img3d.tif").write_bytes(two[0].read_bytes())
    code, sent = scray("upload", *two, "--sensor", "TIFF", "--name", "two", "--wait")
    assert (code, sent["file_count"]) == (0, 2)
    (tmp_path / "broken.tif").write_bytes(b"nothing")
    code, sent = scray("upload", tmp_path / "broken.tif", "--sensor", "TIFF")
    assert code == 0
    code, failed = scray("watch", sent["dataset_uuid"])
    assert (code, failed["error"]["code"]) == (1, "wrong-sensor")
    code, found = scray("status")
    assert (code, found["healthy"]) == (0, True)
    assert found["datasets"]["done"] >= 2
    code, found = scray("up", "--detach")
    assert (code, found["api"]) == (0, stack.api)


def test_no_secret_is_in_the_environment_of_ray(stack: State) -> None:
    """Ray's processes know where the settings are, not what they say; files with secrets are the owner's alone."""
    places = Places(Path(stack.data))
    mongo = Settings(_env_file=stack.settings_file).mongo_url  # type: ignore[call-arg]
    environment = Path(f"/proc/{stack.children['ray']}/environ").read_bytes()
    assert stack.settings_file.encode() in environment
    assert mongo.encode() not in environment
    for path in (places.token, places.settings):
        assert path.stat().st_mode & 0o077 == 0
    assert places.root.stat().st_mode & 0o077 == 0
