"""What tests of several kinds share."""

from __future__ import annotations

from collections.abc import Iterator

import hdf5plugin  # noqa: F401  (before any test loads netCDF4, whose HDF5 its filters would take for theirs)
import pytest

from tests.swift_server import BIN, Swift, swift_in


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """An object store for the tests of this session."""
    if not BIN.exists():
        pytest.skip("there is no object store: run `make .venv-s3`")
    with swift_in(tmp_path_factory.mktemp("swift") / "store") as found:
        yield found
