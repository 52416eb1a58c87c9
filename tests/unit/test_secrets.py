"""Sealed credentials."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from scray.errors import SealBroken
from scray.secrets import KEY_FILE, Sealer, own_key
from scray.settings import Settings

VALUES = {"url": "https://x.org/?token=hunter2", "keys": ["ä", 1, None]}


def test_what_is_sealed_can_be_opened_with_the_key_alone(tmp_path: Path) -> None:
    one = Sealer(Settings(secret_key="one", visus_datasets=tmp_path))
    sealed = one.seal(VALUES)
    assert "hunter2" not in sealed
    assert sealed != one.seal(VALUES)
    assert Sealer(Settings(secret_key="one", visus_datasets=tmp_path)).open(sealed) == VALUES
    with pytest.raises(SealBroken):
        Sealer(Settings(secret_key="other", visus_datasets=tmp_path)).open(sealed)
    for broken in ("", "x", sealed[:-4], sealed[:20] + "AAAA" + sealed[24:]):
        with pytest.raises(SealBroken):
            one.open(broken)
    assert list(tmp_path.iterdir()) == []


def test_a_key_of_its_own_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(visus_datasets=tmp_path)
    sealed = Sealer(settings).seal(VALUES)
    assert (tmp_path / "auth" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert Sealer(settings).open(sealed) == VALUES
    assert [path.name for path in (tmp_path / "auth").iterdir()] == [KEY_FILE]


def test_two_makers_agree(tmp_path: Path) -> None:
    keys: set[str] = set()
    start = threading.Barrier(8)

    def make() -> None:
        start.wait()
        keys.add(own_key(tmp_path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 1
    assert len(keys.pop()) > 40
