"""Results in the profile `cloud`, read by OpenVisus from a bucket that everybody may read, over plain HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image

from converters.convert import convert
from converters.plan import Choices
from converters.prepare import Job, find_files
from converters.run import Serial
from scray.publish import outgoing, send
from scray.settings import Settings
from scray.sources.bucket import Keys, s3_client
from tests.mapir_target import exif
from tests.openvisus import openvisus
from tests.swift_server import KEY, SECRET, Swift

BUCKET = "open"


@pytest.fixture(scope="module")
def bucket(swift: Swift) -> str:
    """Its address for everybody."""
    client = s3_client(Keys(KEY, SECRET, endpoint_url=swift.url), Settings(), trusted=True)
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_acl(Bucket=BUCKET, ACL="public-read")
    return swift.address(BUCKET)


@pytest.fixture
def settings(swift: Swift, tmp_path: Path) -> Settings:
    profiles = tmp_path / "profiles"
    text = f"[publish]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\nendpoint_url={swift.url}\n"
    profiles.write_text(text)
    return Settings(publish_url=f"s3://{BUCKET}/lab", s3_profiles=profiles)


def published(source: Path, sensor: str, settings: Settings, **parameters: Any) -> str:
    """Convert, copy to the bucket, and take away what is here; the key of the result."""
    root, files = find_files([source])
    out = source.parent / "out"
    convert(Job(root, files, sensor, parameters, Choices(profile="cloud")), out, Serial())
    send(out, source.stem, outgoing(out).names, settings)
    out.rename(source.parent / "gone")
    return f"lab/{source.stem}"


def test_one_volume(bucket: str, settings: Settings, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 4000, (30, 70, 90), np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", samples)
    address = f"{bucket}/{published(tmp_path / 'stack.tif', 'TIFF', settings)}/visus.idx"
    assert httpx.get(address, trust_env=False).status_code == 200
    seen = openvisus().read(address, "stack")
    assert seen is not None
    assert np.array_equal(seen, samples)


def test_several_volumes_open_at_the_top_and_each_alone(bucket: str, settings: Settings, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    arrays = {"one/big": rng.normal(size=(40, 50, 60)).astype("<f4"), "two/small": rng.integers(0, 99, (30, 20), "<u2")}
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    key = published(tmp_path / "scan.h5", "HDF5", settings, dataset=",".join(arrays))
    for header, (name, array) in zip(("visus.idx", "two_small/visus.idx"), arrays.items(), strict=True):
        address = f"{bucket}/{key}/{header}"
        (field,) = openvisus().describe(address)["fields"]
        seen = openvisus().read(address, field if isinstance(field, str) else field["name"])
        assert seen is not None, name
        assert np.array_equal(seen.reshape(array.shape), array), name


def test_the_photos_of_a_mosaic(bucket: str, settings: Settings, tmp_path: Path) -> None:
    """Each alone: OpenVisus composes a midx from files, not from addresses."""
    folder = tmp_path / "photos"
    folder.mkdir()
    arrays = [np.random.default_rng(n).integers(1, 255, (40, 60, 3), np.uint8) for n in range(2)]
    for n, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{n}.png", exif=exif("Camera", (40.7662, -111.8456 + n), {6: 1350.0}))
    key = published(folder, "RGB", settings)
    for n, array in enumerate(arrays):
        seen = openvisus().read(f"{bucket}/{key}/{n}/visus.idx", "data")
        assert seen is not None
        assert np.array_equal(seen, array)
