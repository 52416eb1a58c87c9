"""Which ports of ours strangers could reach: what Ray, the database and the API listen on beyond loopback, and whether
Ray asks for its token. Found in the kernel's tables (/proc/net/tcp), not by asking the programs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil

PARTS = (
    ("gcs_server", "GCS"),
    ("ray.util.client.server", "client server"),
    ("ray/dashboard/dashboard.py", "dashboard"),
    ("ray/dashboard/agent.py", "agent"),
    ("runtime_env/agent", "agent"),
    ("raylet/raylet", "raylet"),
    ("ray/_private/", "Ray"),
    ("ray/autoscaler/", "autoscaler"),
    ("cluster.driver", "watchdog"),  # of the driver: whatever is connected to Ray listens
    ("ray::", "worker"),
    ("secantusd", "database"),
)
RAYS = frozenset(part for _, part in PARTS) - {"database"}


@dataclass(frozen=True)
class Door:
    """A port on which a process of ours listens."""

    part: str
    address: str
    port: int

    @property
    def is_open(self) -> bool:
        """Whether other machines may reach it, as far as this one decides."""
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return not (mapped or address).is_loopback


def ours() -> list[psutil.Process]:
    """Every process on this machine that belongs to a Ray or an embedded database."""
    return [process for process in psutil.process_iter() if part_of(process)]


def part_of(process: psutil.Process) -> str:
    """Which part of the system a process is; empty for none."""
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return next((part for word, part in PARTS if word in line), "")
    return ""


def doors(processes: Iterable[psutil.Process]) -> Iterator[Door]:
    """Every port on which these processes listen."""
    for process in processes:
        with suppress(psutil.Error):
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    yield Door(part_of(process) or process.name(), one.laddr.ip, one.laddr.port)


def token_is_on(processes: Iterable[psutil.Process]) -> bool | None:
    """Whether every Ray among these processes was started with its token; None where there is no Ray to see."""
    found = []
    for process in processes:
        if part_of(process) in ("GCS", "raylet"):
            with suppress(psutil.Error):
                found.append(process.environ().get("RAY_AUTH_MODE") == "token")
    return all(found) if found else None
