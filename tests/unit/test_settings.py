"""Settings come from the environment, a file, and defaults, and mistakes are told."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from scray.errors import BadParameter
from scray.settings import Settings, describe, load_settings
from scray.sizes import read_size, size_text


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {name for name, *_ in describe()} | {name for name in os.environ if name.startswith("SCRAY_")}:
        monkeypatch.delenv(name, raising=False)


def test_defaults_need_nothing() -> None:
    settings = load_settings()
    assert (settings.db_name, settings.api_host, settings.lease_seconds) == ("scientistcloud", "127.0.0.1", 60.0)
    assert settings.task_memory_bytes == 2**30
    assert settings.storage().converted == Path("/mnt/visus_datasets/converted")


def test_the_environment_goes_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "env"
    file.write_text("DB_NAME=from_file\nexport SCRAY_WORKERS=3\nVISUS_DATASETS=/data\nOTHER=1\n")
    monkeypatch.setenv("SCRAY_ENV_FILE", str(file))
    monkeypatch.setenv("DB_NAME", "from_environment")
    monkeypatch.setenv("JOB_IN_DATA_DIR", "/fast/in")
    monkeypatch.setenv("JOB_OUT_DATA_DIR", "")
    settings = load_settings()
    assert (settings.db_name, settings.workers) == ("from_environment", 3)
    storage = settings.storage()
    assert (storage.upload, storage.converted, storage.tmp) == (
        Path("/fast/in"),
        Path("/data/converted"),
        Path("/data/tmp"),
    )


def test_sizes_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRAY_TASK_MEMORY", "1.5GiB")
    monkeypatch.setenv("SCRAY_CORS_ORIGINS", "http://a, http://b,")
    settings = load_settings()
    assert settings.task_memory_bytes == 3 * 2**29
    assert settings.cors_origins == ("http://a", "http://b")
    assert Settings(cors_origins=("x",)).cors_origins == ("x",)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 2**26), ("1 gib", 2**30), (5, 5), ("500000000", 500_000_000), ("2TB", 2 * 10**12), ("0.5KiB", 512)],
)
def test_sizes(text: object, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "-1", "1XB", "1e9", "1.2.3GiB", None])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(BadParameter, match="is not a size"):
        read_size(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SCRAY_LEASE_SECONDS", "0"),
        ("SCRAY_TASK_MEMORY", "much"),
        ("SCRAY_TASK_MEMORY", "1"),
        ("SCRAY_CODEC", "zstd"),
        ("SCRAY_API_PORT", "70000"),
        ("DB_NAME", ""),
    ],
)
def test_an_impossible_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadParameter, match=name):
        load_settings()


def test_a_missing_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRAY_ENV_FILE", "/not/there")
    with pytest.raises(BadParameter, match="/not/there"):
        load_settings()


def test_unknown_names_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "env").write_text("SCRAY_LEASE_SECOND=5\n")
    monkeypatch.setenv("SCRAY_ENV_FILE", str(tmp_path / "env"))
    monkeypatch.setenv("SCRAY_ZZZZ", "1")
    with caplog.at_level(logging.WARNING):
        load_settings()
    assert caplog.messages == [
        "SCRAY_LEASE_SECOND is not a setting of scray; is SCRAY_LEASE_SECONDS meant?",
        "SCRAY_ZZZZ is not a setting of scray",
    ]


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCRAY_API_TOKEN", "SECRET_KEY", "MONGO_URL"):
        monkeypatch.setenv(name, "hidden-word")
    settings = load_settings()
    assert settings.api_token == "hidden-word"
    assert "hidden-word" not in repr(settings) + str(settings)


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 50, "1024.0 TiB")])
def test_sizes_are_readable(count: int, text: str) -> None:
    assert size_text(count) == text
