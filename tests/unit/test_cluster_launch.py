"""The files of Ray's launcher pass Ray's own checks and start Ray with a secret and a dashboard on loopback."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from cluster.head import DRIVER_RESOURCE
from cluster.nodes import NEAR

ROOT = Path(__file__).parents[2]
FILES = ["cluster.yaml", "cluster/launch/aws.yaml", "cluster/launch/gcp.yaml"]


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


def starts(config: dict[str, Any], kind: str) -> str:
    """The one command line that starts Ray."""
    [line] = [line for line in config[f"{kind}_start_ray_commands"] if " start " in line]
    return str(line)


@pytest.mark.parametrize("name", FILES)
def test_ray_takes_the_file(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(read(name)))


def test_ray_refuses_a_file_with_a_word_it_does_not_know() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(Exception, match="storage_mounts"):
        validate_config(prepare_config({**read("cluster.yaml"), "storage_mounts": []}))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["head", "worker"])
def test_every_node_starts_with_the_secret_and_a_small_object_store(name: str, kind: str) -> None:
    line = starts(read(name), kind)
    assert "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 SCRAY_ENV_FILE=$HOME/scray.env " in line
    assert re.search(r"--object-store-memory=200000000\b", line)
    assert {"~/.ray/auth_token", "~/scray.env"} <= set(read(name)["file_mounts"])


@pytest.mark.parametrize("name", FILES)
def test_the_head_has_the_driver_and_starts_the_workers(name: str) -> None:
    line = starts(read(name), "head")
    assert f'"{DRIVER_RESOURCE}": 1' in line
    assert "--dashboard-host=127.0.0.1" in line
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in line
    assert "--address=$RAY_HEAD_IP:6379" in starts(read(name), "worker")


@pytest.mark.parametrize("name", FILES[1:])
def test_what_the_launcher_expects_of_a_machine_is_what_the_machine_says(name: str) -> None:
    kinds = read(name)["available_node_types"]
    assert kinds["head"]["resources"] == {"CPU": 0, DRIVER_RESOURCE: 1}
    share = kinds["worker"]["resources"][NEAR]
    assert f"""--resources='{{"{NEAR}": {share}}}'""" in starts(read(name), "worker")
    assert kinds["worker"]["min_workers"] >= 1


@pytest.mark.parametrize("name", FILES)
def test_the_storage_is_looked_for_before_ray_starts(name: str) -> None:
    assert any("test -w /data/scray" in line for line in read(name)["setup_commands"])


def test_machines_of_ones_own_are_started_by_the_autoscaler_that_can() -> None:
    assert "RAY_enable_autoscaler_v2=0 " in starts(read("cluster.yaml"), "head")
