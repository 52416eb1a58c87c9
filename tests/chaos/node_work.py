"""One dataset on a cluster of several machines: `python -m tests.chaos.node_work FOLDER WORKERS`, see hosts.py.

A head, WORKERS further nodes, and one node that has no storage. In the middle the head loses its power and comes back.
Prints what it found as one JSON document, last.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cluster import embedded, head
from cluster.stack import succeeds
from converters.convert import convert
from converters.mark import Mark, read_mark
from converters.own import RUN
from converters.plan import Choices
from converters.prepare import Job
from converters.run import Serial
from converters.verify import verify
from scray.catalog import Catalog
from scray.client import ScrayClient
from scray.database import connect
from scray.settings import Settings
from tests.chaos.hosts import SWITCH, Host, make_switch, switched_on
from tests.ray_session import until
from tests.trees import tree_digests

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PARTS = 60
ENOUGH = 8  # bricks, before the head is switched off
MONGO_PORT, API = 27017, "http://127.0.0.1:8000"
QUICK = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # a node whose head is gone for longer ends itself
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


class Cluster:
    """A head, its workers, and `blind`, which is a worker without the storage."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder, self.data = folder, folder / "data"
        self.head = Host("head", 1)
        self.workers = [Host(f"worker{i}", 1 + i) for i in range(1, workers + 1)]
        self.blind = Host("blind", 99, hidden=(self.data,))
        self.environment = self._environment()

    @property
    def hosts(self) -> list[Host]:
        return [self.head, *self.workers, self.blind]

    def _environment(self) -> dict[str, str]:
        token = self.folder / "token"
        head.write_token(token)
        settings = {
            "MONGO_URL": f"mongodb://{SWITCH}:{MONGO_PORT}/?retryWrites=false",
            "VISUS_DATASETS": str(self.data),
            "SCRAY_LEASE_SECONDS": "6",
            "SCRAY_SETTLE_SECONDS": "0.2",
            "SCRAY_POLL_SECONDS": "0.2",
            "SCRAY_CODEC": "small",
        }
        (self.folder / "scray.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        others = ("RAY_", "SCRAY_", "MONGO_", "TMPDIR")  # Ray would share its folder there with the other machines
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        found = {**kept, **head.environment({}, token), **QUICK, "SCRAY_ENV_FILE": str(self.folder / "scray.env")}
        del found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]  # that one refuses further nodes
        return found

    def start_head(self) -> None:
        """Ray's head and the driver's watchdog, each kept as by systemd."""
        more = """--head --port=6379 --dashboard-host=127.0.0.1 --resources='{"scray_driver": 1}'"""
        self._start_ray(self.head, more)
        driver = f"cd {ROOT} && {BIN}/python -m cluster.driver"
        here = {**self.environment, "RAY_ADDRESS": f"{self.head.address}:6379"}
        self.head.keep(driver, here, self.folder / "driver.log")

    def start_workers(self) -> None:
        for host in (*self.workers, self.blind):
            self._start_ray(host, f"--address={self.head.address}:6379")

    def _start_ray(self, host: Host, more: str) -> None:
        command = f"{BIN}/ray start --block --node-ip-address={host.address} --num-cpus=1 {more}"
        command += f" --object-store-memory={head.OBJECT_STORE_BYTES}"
        host.keep(command, self.environment, self.folder / f"{host.name}.log")


def main(folder: Path, workers: int) -> dict[str, Any]:
    make_switch()
    cluster = Cluster(folder, workers)
    cluster.data.mkdir()
    source = make_source(folder)
    services = start_services(cluster)
    try:
        with switched_on(*cluster.hosts):
            cluster.start_head()
            cluster.start_workers()
            found = work(cluster, source)
    finally:
        for service in services:
            service.kill()
    return {**found, **compare(cluster, source, found["uuid"])}


def make_source(folder: Path) -> Path:
    """One file of many bricks that are hard to compress."""
    path, rng = folder / "many.h5", np.random.default_rng(11)
    with h5py.File(path, "w") as file:
        for i in range(PARTS):
            file[f"d{i:02}"] = rng.integers(0, 4096, (64, 96 + i, 128)).astype("<u2")
    return path


def start_services(cluster: Cluster) -> list[subprocess.Popen[bytes]]:
    """The database, reachable from the nodes, and the API."""
    command = embedded.command(embedded.find_server(), cluster.folder / "database", MONGO_PORT)
    command[command.index("127.0.0.1")] = SWITCH
    services = [start(command, cluster, "database")]
    until(lambda: "listening" in (cluster.folder / "database.log").read_text(), 60, "the database")
    services.append(start([sys.executable, "-m", "api"], cluster, "api"))
    until(lambda: succeeds(f"{API}/healthz"), 60, "the API")
    return services


def start(command: list[str], cluster: Cluster, name: str) -> subprocess.Popen[bytes]:
    with (cluster.folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env=cluster.environment, stdout=log, stderr=log)


def work(cluster: Cluster, source: Path) -> dict[str, Any]:
    """Convert, switching the head off in the middle."""
    settings = Settings(_env_file=cluster.environment["SCRAY_ENV_FILE"])  # type: ignore[call-arg]
    database = connect(settings.mongo_url, settings.db_name)
    with database.client, ScrayClient(API) as client:
        catalog = Catalog(database)
        until(lambda: all(has_joined(cluster, host) for host in cluster.hosts), 120, "the start of every node")
        until(lambda: bool(alive(catalog)), 120, "the driver")
        doors = look_for_doors(cluster)
        uuid = client.upload(
            source, sensor="HDF5", name="many", user_email="a@example.org", parameters={"dataset": names()}
        ).dataset_uuid
        staging = cluster.data / "converted" / ".staging" / uuid
        until(lambda: len(finished(staging)) >= ENOUGH and len(hosts_of(staging)) > len(cluster.workers), 120, "bricks")
        blind = f"{cluster.blind.name} does not see the storage"
        until(lambda: blind in left_out(catalog), 60, "the heartbeat that names the node without storage")
        cluster.head.switch_off()
        before = finished(staging)
        cluster.head.switch_on()
        cluster.start_head()
        status = client.wait(uuid, 240)["status"]
        document = client.dataset(uuid)
    result = cluster.data / "converted" / uuid
    after = {name: inode_and_time(result / name) for name in before if (result / name).exists()}
    return {
        "uuid": uuid,
        "status": status,
        "attempt": document["attempt"],
        "done_before": len(before),
        "done_again": sum(after.get(name) != value for name, value in before.items()),
        "noted": sorted(notes(cluster)),
        **doors,
    }


LISTENING = """
import json, psutil
found = {one.laddr.port: one.pid for one in psutil.net_connections("tcp") if one.status == "LISTEN"}
print(json.dumps({port: psutil.Process(pid).cmdline() for port, pid in found.items()}))
"""
REACHED = """
import json, socket, sys
def reached(port):
    with socket.socket() as one:
        one.settimeout(5)
        return one.connect_ex((sys.argv[1], port)) == 0
print(json.dumps([port for port in sys.argv[2:] if reached(int(port))]))
"""


def look_for_doors(cluster: Cluster) -> dict[str, Any]:
    """What listens on the head, what of that a worker reaches, and where the doctor on the head says otherwise.

    A worker of Ray comes and goes with its port: what was there before and afterwards counts.
    """
    before = ask(cluster, cluster.head, "-c", LISTENING)
    checks = ask(cluster, cluster.head, "-m", "cluster.cli", "doctor", "--data", cluster.folder, "--json")["checks"]
    doors = [check["says"] for check in checks if check["name"].startswith("ports")]
    named = {port for says in doors for port in re.findall(r":(\d+)(?:,|$)", says)}
    reached = set(ask(cluster, cluster.workers[0], "-c", REACHED, cluster.head.address, *before))
    listening = before.keys() & ask(cluster, cluster.head, "-c", LISTENING).keys()
    return {
        "listening": sorted(listening),
        "reached": sorted(reached & listening),
        "wrong": {port: before[port] for port in (named ^ reached) & listening},
    }


def ask(cluster: Cluster, host: Host, *words: object) -> Any:
    """What a Python program prints there as JSON."""
    command = [*host.inside, sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=cluster.environment, stdout=subprocess.PIPE, check=False)
    return json.loads(done.stdout)


def has_joined(cluster: Cluster, host: Host) -> bool:
    return "runtime started" in (cluster.folder / f"{host.name}.log").read_text()


def names() -> str:
    return ",".join(f"/d{i:02}" for i in range(PARTS))


def alive(catalog: Catalog) -> list[dict[str, Any]]:
    return [driver for driver in catalog.drivers() if driver["alive"]]


def left_out(catalog: Catalog) -> str:
    return " ".join(says for driver in alive(catalog) for says in driver["left_out"])


def notes(cluster: Cluster) -> set[str]:
    """The hosts that left a note beside the results."""
    folder = cluster.data / "converted" / ".nodes"
    return {path.name.rpartition("-")[0] for path in folder.glob("*-????????") if "@" not in path.name}


def marks(staging: Path) -> list[tuple[Path, Mark]]:
    found = [(path.parents[1], read_mark(path.parents[1], path.stem)) for path in staging.glob("*/marks/*.json")]
    return [(folder, mark) for folder, mark in found if mark]


def hosts_of(staging: Path) -> set[str]:
    return {mark.host for _, mark in marks(staging)}


def finished(staging: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every block file that a mark names, by path in the result."""
    return {
        file.path: inode_and_time(folder / "tree" / file.path) for folder, mark in marks(staging) for file in mark.files
    }


def inode_and_time(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def compare(cluster: Cluster, source: Path, uuid: str) -> dict[str, Any]:
    """With what a loop makes of the same file."""
    result, reference = cluster.data / "converted" / uuid, cluster.folder / "reference"
    job = Job(source.parent, (source.name,), "HDF5", {"dataset": names()}, Choices(codec="small"))
    convert(job, reference, Serial())
    tasks = json.loads((result / RUN).read_bytes())["tasks"]
    return {
        "hosts": sorted({task["host"] for task in tasks}),
        "same": tree_digests(result) == tree_digests(reference),
        "differences": [str(difference) for difference in verify(result, source)],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
