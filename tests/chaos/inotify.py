"""What the kernel says of a folder: names that were renamed into it."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

IN_MOVED_TO, IN_NONBLOCK = 0x80, 0o4000  # linux/inotify.h
EVENT = struct.Struct("iIII")
LIBC = ctypes.CDLL(None, use_errno=True)


class Renames:
    """Watches folders; a folder that is renamed itself stays watched, under the name it had first."""

    def __init__(self) -> None:
        self.fd = LIBC.inotify_init1(IN_NONBLOCK)
        self.folders: dict[int, Path] = {}

    def watch(self, folder: Path) -> bool:
        """Whether the folder was there."""
        number = LIBC.inotify_add_watch(self.fd, os.fsencode(folder), IN_MOVED_TO)
        if number >= 0:
            self.folders.setdefault(number, folder)
        return bool(number >= 0)

    def read(self) -> list[tuple[Path, str]]:
        """The folders and the names that came into them since the last call."""
        found: list[tuple[Path, str]] = []
        while True:
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return found
            at = 0
            while at < len(data):
                number, _, _, size = EVENT.unpack_from(data, at)
                name = data[at + EVENT.size : at + EVENT.size + size].rstrip(b"\0").decode()
                at += EVENT.size + size
                if name and number in self.folders:
                    found.append((self.folders[number], name))

    def close(self) -> None:
        os.close(self.fd)
