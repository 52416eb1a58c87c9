"""`ray up cluster.yaml` on two machines, over ssh: `python -m tests.chaos.launch_work FOLDER`, see hosts.py.

The file is taken as it stands; only what is marked CHANGE in it is changed. Prints what it found as one JSON document.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from cluster import head
from tests.chaos.hosts import Host, make_switch, switched_on
from tests.ray_session import until

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).parent / "ray"
ASK_RAY = """
import json, platform, ray
ray.init(address="auto", log_to_driver=False)
@ray.remote(num_cpus=1)
def host():
    return platform.node()
nodes = [node for node in ray.nodes() if node["Alive"]]
def on(node):
    return host.options(label_selector={"ray.io/node-id": node["NodeID"]}).remote()
print(json.dumps(sorted(ray.get([on(node) for node in nodes]))))
"""
SSHD = """
ListenAddress 0.0.0.0
HostKey {folder}/key
AuthorizedKeysFile {folder}/key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
"""


def main(folder: Path) -> dict[str, Any]:
    make_switch()
    Path("/tmp/ray").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/tmp/ray"], check=True)  # the launcher keeps its notes there
    hosts = Host("head", 1), Host("worker", 2)
    config, environment = write_config(folder, *hosts), prepare(folder)
    with switched_on(*hosts):
        for host in hosts:
            make_ready(host, folder, environment)
        command = [str(RAY), "up", "-y", "--no-config-cache", str(config)]
        up = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        on_head = {**environment, "HOME": str(home_on(hosts[0], folder))}
        if up.returncode == 0:
            until(lambda: len(names_of_nodes(hosts[0], on_head)) == len(hosts), 180, "the start of the worker")
        nodes = names_of_nodes(hosts[0], on_head)
        command = [str(RAY), "down", "-y", str(config)]
        down = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        with suppress(AssertionError):
            until(lambda: not any(map(runs_ray, hosts)), 180, "the end of Ray")
        still = [host.name for host in hosts if runs_ray(host)]
    said = {"said": (up.stdout + up.stderr)[-3000:], "said_down": (down.stdout + down.stderr)[-3000:]}
    return {"up": up.returncode, "nodes": nodes, "down": down.returncode, "still": still, **said}


def runs_ray(host: Host) -> bool:
    """Whether anything of Ray runs on it."""
    done = subprocess.run([*host.inside, "ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return "raylet" in done.stdout or "gcs_server" in done.stdout


def write_config(folder: Path, first: Host, second: Host) -> Path:
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text().replace("/data/scray", str(folder / "data")))
    config["provider"] |= {"head_ip": first.address, "worker_ips": [second.address]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(folder / "key")}
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def prepare(folder: Path) -> dict[str, str]:
    """The data, the key, and the home of whoever calls the launcher."""
    (folder / "data").mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    (folder / "sshd").write_text(SSHD.format(folder=folder))
    home = folder / "home"
    (home / ".ray").mkdir(parents=True)
    head.write_token(home / ".ray" / "auth_token")
    (home / "scray.env").write_text(f"VISUS_DATASETS={folder / 'data'}\n")
    others = ("RAY_", "SCRAY_", "MONGO_", "TMPDIR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}


def make_ready(host: Host, folder: Path, environment: dict[str, str]) -> None:
    """A home of its own for root, the repository in there, and a server for ssh."""
    home, users = home_on(host, folder), folder / f"{host.name}.passwd"
    home.mkdir()
    (home / "scray").symlink_to(ROOT)
    users.write_text(Path("/etc/passwd").read_text().replace(":/root:", f":{home}:", 1))
    subprocess.run([*host.inside, "mount", "--bind", str(users), "/etc/passwd"], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    host.start(["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd")], environment, folder / f"{host.name}.log")
    until(lambda: "listening" in (folder / f"{host.name}.log").read_text(), 30, f"ssh on {host.name}")


def home_on(host: Host, folder: Path) -> Path:
    return folder / f"home-{host.name}"


def names_of_nodes(host: Host, environment: dict[str, str]) -> list[str]:
    """The host names of the cluster's nodes, each said by a task that ran there."""
    command = [*host.inside, sys.executable, "-c", ASK_RAY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return list(json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else [done.stderr[-500:]]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
