"""Carries out the shell blocks of the README's cluster section: `python -m tests.integration.readme_cluster FOLDER`.

FOLDER/blocks.sh holds them, FOLDER is HOME and the data folder. Best run in a network of its own (`unshare -rn`), where
Ray's usual ports are free. Prints what it found as one JSON document, last.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster import embedded
from cluster.stack import succeeds
from converters.verify import verify
from scray.catalog import Catalog
from scray.client import ScrayClient
from scray.database import connect
from tests.ray_session import until

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "data" / "img3d.tif"
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 1, 64
MONGO_PORT, API = 27017, "http://127.0.0.1:8000"
ASK_RAY = "import ray; ray.init(address='127.0.0.1:6379', log_to_driver=False); print('LET IN')"


def main(folder: Path) -> dict[str, Any]:
    loopback_up()
    start([*embedded.command(embedded.find_server(), folder / "database", MONGO_PORT)], folder / "database.log")
    run(["bash", "-euo", "pipefail", str(folder / "blocks.sh")])
    database = connect(embedded.url(MONGO_PORT), "scientistcloud")
    with database.client:
        until(lambda: any(driver["alive"] for driver in Catalog(database).drivers()), 60, "the driver")
    os.environ["SCRAY_ENV_FILE"] = str(folder / "scray.env")
    start([sys.executable, "-m", "api"], folder / "api.log")
    until(lambda: succeeds(f"{API}/healthz"), 30, "the API")
    found: dict[str, Any] = {"status": convert(folder), "sent": listing(), "open_ports": open_ports()}
    strangers = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    strangers |= {"HOME": str(folder / "nobody")}
    found["job_of_a_stranger"] = run(submit("echo", "LET IN"), strangers)
    found["ray_of_a_stranger"] = run([sys.executable, "-c", ASK_RAY], strangers)
    return found


def loopback_up() -> None:
    """A new network begins with its loopback down; in the usual one this is not allowed, and not needed."""
    with socket.socket() as one, suppress(PermissionError):
        fcntl.ioctl(one, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP | IFF_RUNNING))


def start(command: list[str], log: Path) -> None:
    with log.open("wb") as file:
        subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, stdin=subprocess.DEVNULL)


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What a command printed, and its exit code; the README's own must succeed."""
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    if environment is None and done.returncode:
        sys.exit(f"{command} failed: {done.stdout} {done.stderr}")
    return f"{done.stdout} {done.stderr} exit {done.returncode}"


def submit(*entry: str) -> list[str]:
    return ["ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--working-dir", ".", "--", *entry]


def convert(folder: Path) -> str:
    """An upload through the API, converted by the driver that the job started; `done` when it equals its source."""
    with ScrayClient(API) as client:
        upload = client.upload(SAMPLE, sensor="TIFF", name="readme", user_email="a@example.org")
        status = str(client.wait(upload.dataset_uuid, 60)["status"])
    return status if not verify(folder / "data" / "converted" / upload.dataset_uuid, SAMPLE) else "differs"


def listing() -> list[str]:
    """The files that a job finds in its working folder."""
    return [line[2:] for line in run(submit("find", ".", "-type", "f")).splitlines() if line.startswith("./")]


def open_ports() -> list[str]:
    """Addresses other than loopback that something of ours listens on."""
    import psutil

    from cluster.children import MARK, marked

    found = {
        connection.laddr.ip
        for process in marked(os.environ[MARK])
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    return sorted(found - {"127.0.0.1", "::1", "::ffff:127.0.0.1"})


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
