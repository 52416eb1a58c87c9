"""What the kernel can take from a process before it opens a hostile file: memory, network, and reach.

Landlock (docs.kernel.org/userspace-api/landlock.html) limits the files this thread and all it starts may touch;
a network namespace of its own leaves it no network; rlimits bound its address space. Each is applied where the
kernel offers it, and the names of those in force are returned.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
PATH_BENEATH = 1
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3
READ = EXECUTE | READ_FILE | READ_DIR
FILE_ONLY = EXECUTE | READ_FILE | 1 << 1 | 1 << 14  # what may be asked of a file that is no folder
ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
TCP = 0b11  # bind and connect, since ABI 4
SCOPES = 0b11  # abstract sockets and signals, since ABI 6

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        os._exit(1)  # it ended before we asked


def end_together() -> None:
    """In a session of its own, with a guard that ends all of it when this process ends, however it does.

    No signal tells the guard: who is confined can send none beyond its confines, not even by its death.
    """
    with suppress(OSError):
        os.setsid()
    try:
        watched = os.pidfd_open(os.getpid())
    except (AttributeError, OSError):  # a Python or a kernel without it (Linux 5.3): there is no guard
        return
    if os.fork() == 0:
        os.closerange(0, 3)  # who waits for the end of an answer waits for nobody but the child
        select.select([watched], [], [])
        os.killpg(0, signal.SIGKILL)
    os.close(watched)


def limit_memory(address_bytes: int) -> None:
    """Bound the address space, open files and core dumps."""
    resource.setrlimit(resource.RLIMIT_AS, (address_bytes, address_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))


def leave_network() -> bool:
    """A network namespace without interfaces; False where the system allows none. Needs a process of one thread."""
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWUSER | CLONE_NEWNET
    return bool(_libc.unshare(flags) == 0)


def abi() -> int:
    """The version of Landlock this kernel speaks; 0 where it has none."""
    return max(0, int(_libc.syscall(CREATE_RULESET, None, 0, 1)))


def restrict(read: Iterable[Path], write: Iterable[Path]) -> bool:
    """From here on only these trees can be read, and only `write` written; False without Landlock."""
    version = abi()
    if not version:
        return False
    every = ALL_BY_ABI[max(v for v in ALL_BY_ABI if v <= version)]
    ruleset = _create(every, version)
    try:
        for path in read:
            _allow(ruleset, path, READ & every)
        for path in write:
            _allow(ruleset, path, every & ~EXECUTE)
        _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _checked(_libc.syscall(RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _create(every: int, version: int) -> int:
    attribute = struct.pack("QQQ", every, TCP if version >= 4 else 0, SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    return _checked(_libc.syscall(CREATE_RULESET, attribute, size, 0))


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH)
    except FileNotFoundError:
        return
    try:
        allowed = access if path.is_dir() else access & FILE_ONLY
        _checked(_libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0))
    finally:
        os.close(fd)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
