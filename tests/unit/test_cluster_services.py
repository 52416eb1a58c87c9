"""The container files and the units of systemd: what they name is there, nothing runs as root or listens too widely."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from cluster.head import DRIVER_RESOURCE

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "cluster" / "docker"
UNITS = sorted((ROOT / "cluster" / "systemd").glob("*.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name in SERVICES if name != "mongo"]
MOST_EXPOSED = 35  # of 100, by systemd's own count


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, comments aside, continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text()).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_images_come_from_no_named_place_and_are_pinned() -> None:
    bases = [what.split()[0] for word, what in instructions() if word == "FROM"]
    assert len(bases) == 2
    for image in [*bases, *(service["image"] for service in SERVICES.values())]:
        assert re.fullmatch(r"[a-z-]+:\d[\w.-]*", image)


def test_the_image_holds_pinned_packages_and_runs_as_nobody_special() -> None:
    found = instructions()
    words = {word for word, _ in found}
    assert words <= {"FROM", "ENV", "WORKDIR", "RUN", "COPY", "USER", "VOLUME", "CMD"}
    assert any("--require-hashes" in what and "requirements.lock" in what for word, what in found if word == "RUN")
    last = [what for word, what in found if word == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", last)


def test_what_is_copied_into_the_image_is_there_and_sent() -> None:
    sent = set((DOCKER / "Dockerfile.dockerignore").read_text().split("\n"))
    copied = [what.split() for word, what in instructions() if word == "COPY" and not what.startswith("--from")]
    for *sources, _ in copied:
        for source in sources:
            assert (ROOT / source).exists()
            assert f"!{source}" in sent
    assert "*" in sent
    assert "**/*.env" in sent


def test_only_loopback_is_published() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_names_only_what_there_is(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for other in service.get("depends_on", {}):
        assert "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_has_no_privileges(name: str) -> None:
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in SERVICES[name]


@pytest.mark.parametrize("name", [name for name in OURS if name != "api"])
def test_ray_in_containers_asks_for_the_secret(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
    assert "ray_token" in SERVICES[name]["secrets"]


def test_no_secret_stands_in_the_compose_file() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|TOKEN|SECRET|URL", name) or value.startswith("/run/secrets/")


def test_the_driver_has_a_place() -> None:
    head = next(path for path in UNITS if "head" in path.name).read_text()
    assert f'"--resources={{\\"{DRIVER_RESOURCE}\\": 1}}"' in head
    assert f"""--resources='{{"{DRIVER_RESOURCE}": 1}}'""" in SERVICES["head"]["command"]


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The units as they would be with this environment."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    folder = tmp_path_factory.mktemp("units")
    for path in UNITS:
        (folder / path.name).write_text(path.read_text().replace("/opt/scray", str(ROOT)))
    return sorted(folder.iterdir())


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_systemd_takes_the_units(units: list[Path]) -> None:
    assert len(units) == 4
    done = analyze("verify", "--man=no", *map(str, units))
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if any(unit.name in line for unit in units)], done.stderr


def test_systemd_finds_a_wrong_word(units: list[Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.service"
    wrong.write_text(units[0].read_text().replace("ProtectHome=yes", "ProtectHouse=yes"))
    assert "ProtectHouse" in analyze("verify", "--man=no", str(wrong)).stderr


def test_units_are_hardened(units: list[Path]) -> None:
    for unit in units:
        done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit))
        assert done.returncode == 0, done.stdout[-300:] + done.stderr


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_again_and_has_its_secrets_as_credentials(path: Path) -> None:
    text = path.read_text()
    assert "Restart=always" in text
    assert "User=scray" in text
    assert "LoadCredential=" in text
    assert not re.search(r"(?m)^Environment=.*(TOKEN|SECRET_KEY|MONGO_URL)=(?!%d/)", text)
    assert ("RAY_AUTH_MODE=token" in text) == ("bin/ray " in text)
