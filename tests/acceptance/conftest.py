"""One whole stack for all acceptance tests: database, Ray, API and driver on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.state import State
from scray.client import ScrayClient
from scray.settings import Settings
from scray.sources.bucket import Keys, s3_client
from tests.drive_server import Drive, serving_drive
from tests.ray_session import stack_in
from tests.swift_server import BIN, KEY, SECRET, Swift

SAMPLES = Path(__file__).parents[2] / "examples" / "data"


@pytest.fixture(scope="session")
def drive() -> Iterator[Drive]:
    """What stands in for Google Drive."""
    with serving_drive() as found:
        yield found


@pytest.fixture(scope="session")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's S3 profiles; empty until a test writes one."""
    path = tmp_path_factory.mktemp("profiles") / "s3"
    path.touch()
    return path


@pytest.fixture(scope="session")
def bucket(profiles: Path, swift: Swift) -> Any:
    """From here on there is the bucket that results are copied to, and the profile for it; a client of it."""
    profiles.write_text(
        f"[publish]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\nendpoint_url={swift.url}\n"
    )
    store = s3_client(Keys(KEY, SECRET, endpoint_url=swift.url), Settings(), trusted=True)
    store.create_bucket(Bucket="results")
    return store


@pytest.fixture(scope="session")
def endpoint(request: pytest.FixtureRequest) -> str:
    """The object store of requests that name none."""
    swift: Swift | None = request.getfixturevalue("swift") if BIN.exists() else None
    return swift.url if swift else ""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, drive: Drive, profiles: Path, endpoint: str) -> Iterator[State]:
    quick = {
        "SCRAY_SETTLE_SECONDS": "0.5",
        "SCRAY_LEASE_SECONDS": "6",
        "SCRAY_POLL_SECONDS": "0.2",
        "SCRAY_SILENCE_SECONDS": "8",
        "SCRAY_WORKERS": "2",
        "SCRAY_ALLOWED_ADDRESSES": "127.0.0.1",
        "SCRAY_IMPORT_ROOTS": str(SAMPLES),
        "SCRAY_DRIVE_ENDPOINT": drive.url,
        "SCRAY_S3_PROFILES": str(profiles),
        "SCRAY_S3_ENDPOINT": endpoint,
        "SCRAY_PUBLISH_URL": "s3://results/lab",
    }
    with stack_in(tmp_path_factory.mktemp("stack") / "data", **quick) as state:
        yield state


@pytest.fixture
def client(stack: State) -> Iterator[ScrayClient]:
    with ScrayClient(stack.api) as client:
        yield client
