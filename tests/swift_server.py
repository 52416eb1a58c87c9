"""OpenStack Swift with its S3 interface, as four processes over one folder: a real object store for the tests.

It lives in `.venv-s3` (`make .venv-s3`), an environment of its own.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

BIN = Path(__file__).parents[1] / ".venv-s3" / "bin"
KEY, SECRET = "test:tester", "planted-s3cret-of-swift"
SERVERS = ("object", "container", "account")
START_SECONDS = 60
COMMON = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
devices = {folder}/devices
user = root
workers = 0
mount_check = false
disable_fallocate = true
log_address = {folder}/no-log
"""
STORAGE = """[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
RINGS = """
import json, sys
from swift.common.ring import RingBuilder
folder, ports = sys.argv[1], json.loads(sys.argv[2])
for name, port in ports.items():
    builder = RingBuilder(2, 1, 0)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "sdb1", "weight": 1.0,
                     "replication_ip": "127.0.0.1", "replication_port": port, "meta": ""})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{name}.ring.gz")
"""
FILTERS = {
    "catch_errors": "catch_errors", "gatekeeper": "gatekeeper", "healthcheck": "healthcheck", "cache": "memcache",
    "listing_formats": "listing_formats", "s3api": "s3api", "tempauth": "tempauth", "copy": "copy", "slo": "slo",
    "dlo": "dlo", "versioned_writes": "versioned_writes", "symlink": "symlink",
}  # fmt: skip


@dataclass(frozen=True)
class Swift:
    """Ask `url` with KEY and SECRET, path-style, region us-east-1."""

    url: str
    folder: Path

    def address(self, bucket: str) -> str:
        """Where everybody reads a bucket that is `public-read`: Swift's own address, as S3's wants a signature here."""
        return f"{self.url}/v1/AUTH_{KEY.partition(':')[0]}/{bucket}"


@contextmanager
def swift_in(folder: Path) -> Iterator[Swift]:
    """A store for the length of a block; RuntimeError when it does not start."""
    (folder / "devices" / "sdb1").mkdir(parents=True)
    ports = dict(zip((*SERVERS, "proxy"), _free_ports(4), strict=True))
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = a\nswift_hash_path_prefix = b\n")
    for name in SERVERS:
        text = COMMON.format(port=ports[name], folder=folder) + STORAGE.format(name=name)
        (folder / f"{name}-server.conf").write_text(text)
    _rings(folder, ports)
    (folder / "proxy-server.conf").write_text(_proxy(folder, ports["proxy"]))
    with ExitStack() as stack:
        for name in ports:
            stack.enter_context(_process(folder, name))
        _await(f"http://127.0.0.1:{ports['proxy']}/healthcheck")
        yield Swift(f"http://127.0.0.1:{ports['proxy']}", folder)


def _proxy(folder: Path, port: int) -> str:
    sections = [f"[filter:{name}]\nuse = egg:swift#{egg}\n" for name, egg in FILTERS.items()]
    text = COMMON.format(port=port, folder=folder) + f"[pipeline:main]\npipeline = {' '.join(FILTERS)} proxy-server\n"
    text += "[app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\naccount_autocreate = true\n"
    for section in sections:
        text += section
        if "tempauth" in section:
            text += f"user_test_tester = {SECRET} .admin\n"
        if "s3api" in section:
            text += "location = us-east-1\ns3_acl = false\n"
    return text


def _rings(folder: Path, ports: dict[str, int]) -> None:
    """One device for each of the servers; made by one process, as each start takes its time."""
    named = json.dumps({name: ports[name] for name in SERVERS})
    done = subprocess.run([str(BIN / "python"), "-c", RINGS, str(folder), named], capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())


@contextmanager
def _process(folder: Path, name: str) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(BIN / f"swift-{name}-server"), str(folder / f"{name}-server.conf"), "-v"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(url: str) -> None:
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with opener.open(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"{url} does not answer")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in found]
