"""Machines made of namespaces: each its own network, processes, host name and mounts; a bridge joins them.

To be used by a process that has a network of its own (`unshare --net`), which becomes the switch. Needs root, iproute2
and util-linux.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.77.0"
SWITCH = f"{NETWORK}.254"
PACKAGES = {  # where Debian has them
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "/usr/sbin/sshd": "openssh-server",
    "ssh": "openssh-client",
    "rsync": "rsync",
}
TOOLS = ("ip", "unshare", "nsenter")
LAUNCH_TOOLS = ("/usr/sbin/sshd", "ssh", "rsync")
OWN = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
WAIT_FOR_ORPHANS = "echo ready; sleep infinity & wait $!"  # what a first process is for


def impossible(tools: Sequence[str] = TOOLS) -> str:
    """Why no machines can be made here that have these tools, and what to do; empty where they can."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[tool] for tool in missing}))
        return f"there is no {' and no '.join(missing)} (Debian: apt-get install {packages})"
    if os.geteuid():
        return "only root can make machines of namespaces (sudo make chaos)"
    done = subprocess.run([*OWN, "ip", "link", "add", "br0", "type", "bridge"], capture_output=True, check=False)
    return "" if done.returncode == 0 else f"the kernel gives no network of one's own: {done.stderr.decode().strip()}"


def told() -> str:
    """What `make chaos` will leave out here, and why: a line of each; empty where it leaves out nothing."""
    tests = {"test_nodes.py": TOOLS, "test_launch.py": (*TOOLS, *LAUNCH_TOOLS)}
    left_out = {name: impossible(tools) for name, tools in tests.items()}
    return "".join(f"tests/chaos/{name} will be skipped: {reason}\n" for name, reason in left_out.items() if reason)


def make_switch() -> None:
    """This process's network gets a bridge with the address SWITCH."""
    _ip("link set lo up")
    _ip("link add br0 type bridge")
    _ip(f"addr add {SWITCH}/24 dev br0")
    _ip("link set br0 up")


@dataclass
class Host:
    """A machine; `hidden` folders are empty ones of its own."""

    name: str
    number: int
    hidden: Sequence[Path] = ()
    outer: subprocess.Popen[str] | None = None
    first: int = 0  # its first process: everything on it ends with that
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    def switch_on(self) -> None:
        # What Ray keeps under this name is one machine's alone.
        hide = "".join(f"mkdir -p {path}; mount -t tmpfs tmpfs {path}; " for path in ("/tmp/ray", *self.hidden))
        script = f"hostname {self.name}; {hide}{WAIT_FOR_ORPHANS}"
        command = [*OWN, "--uts", "bash", "-ec", script]
        self.outer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.outer.stdout
        assert self.outer.stdout.readline() == "ready\n"
        [self.first] = map(int, Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split())
        self._plug_in()

    def _plug_in(self) -> None:
        _ip(f"link add {self.name} type veth peer name eth0 netns {self.first}")
        _ip(f"link set {self.name} master br0 up")
        address = (f"addr add {self.address}/24 dev eth0", "link set eth0 up")
        for words in ("link set lo up", *address, f"route add default via {SWITCH}"):
            subprocess.run([*self.inside, "ip", *words.split()], check=True)

    @property
    def inside(self) -> list[str]:
        """What to put before a command that is to run on it."""
        return ["nsenter", "--target", str(self.first), "--net", "--pid", "--mount", "--uts"]

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Run a command on it."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*self.inside, *command], env=dict(environment), stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        self.running.append(process)
        return process

    def keep(self, command: str, environment: Mapping[str, str], log: Path) -> None:
        """Run a command line on it again and again, as a service of systemd with `Restart=always`."""
        self.start(["bash", "-c", f"while true; do {command}; sleep 1; done"], environment, log)

    def switch_off(self) -> None:
        """As if the power failed."""
        if self.outer:
            with suppress(ProcessLookupError):
                os.kill(self.first, signal.SIGKILL)
            self.outer.wait(30)
            for process in self.running:
                process.wait(30)
            subprocess.run(["ip", "link", "delete", self.name], capture_output=True, check=False)
            self.outer, self.running = None, []


@contextmanager
def switched_on(*hosts: Host) -> Iterator[None]:
    try:
        for host in hosts:
            host.switch_on()
        yield
    finally:
        for host in hosts:
            host.switch_off()


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


if __name__ == "__main__":
    print(told(), end="")
