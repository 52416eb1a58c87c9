"""What the README says about a cluster works as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.children import MARK, sweep

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"## Run it on a cluster\n(.*?)\n## ", re.DOTALL)
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
OWN_NETWORK = ["unshare", "-rn"]


def blocks() -> str:
    """The shell blocks of the section, in order."""
    section = SECTION.search((ROOT / "README.md").read_text())
    assert section
    return "\n".join(BLOCK.findall(section[1]))


def own_network() -> list[str]:
    """How to get a network of one's own, where the kernel allows it."""
    try:
        subprocess.run([*OWN_NETWORK, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return OWN_NETWORK


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, mark = tmp_path_factory.mktemp("home"), os.urandom(8).hex()
    script = blocks().replace("mongodb://mongo.example.org:27017", "'mongodb://127.0.0.1:27017/?retryWrites=false'")
    script = script.replace("/data/scray", str(folder / "data"))
    (folder / "blocks.sh").write_text(script)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SCRAY_", "MONGO_"))}
    environment = {**kept, "HOME": str(folder), "PATH": path, MARK: mark, "RAY_AUTH_MODE": "token"}
    command = [*own_network(), sys.executable, "-m", "tests.integration.readme_cluster", str(folder)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250, check=False
        )
    finally:
        sweep(mark)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_upload_is_converted_by_the_driver_of_the_job(found: dict[str, Any]) -> None:
    assert found["status"] == "done"


def test_only_what_the_driver_needs_is_sent(found: dict[str, Any]) -> None:
    sent = {name for name in found["sent"] if "__pycache__" not in name}  # the job itself makes these
    tops = {Path(name).parts[0] for name in sent}
    texts = {"Makefile", "README.md", "cluster.yaml", "pyproject.toml", ".gitignore", ".rayignore"}
    assert tops <= {"api", "cluster", "converters", "scray"} | texts
    assert {"cluster/driver.py", "cluster/tether.py", "scray/queue.py", "converters/plan.py"} <= sent
    assert not [name for name in sent if name.endswith((".env", ".h5", ".tif", ".key", ".pem"))]


def test_a_stranger_without_the_token_is_refused(found: dict[str, Any]) -> None:
    for answer in (found["job_of_a_stranger"], found["ray_of_a_stranger"]):
        assert "exit 0" not in answer
        assert "LET IN\n" not in answer
        assert re.search("auth|token|401|403", answer, re.IGNORECASE)


def test_nothing_listens_beyond_loopback(found: dict[str, Any]) -> None:
    assert found["open_ports"] == []
