"""What a file is, by its first bytes; never by its name."""

from __future__ import annotations

import os
from pathlib import Path

from converters.kinds import HDF5_SIGNATURE, KINDS

HEAD_BYTES = 4096


def kind_of(path: Path) -> str:
    """The kind of a file, a key of KINDS. An HDF5 file may have a user block of 512, 1024, 2048 … bytes before it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _kind(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _kind(fd: int, size: int) -> str:
    head = os.pread(fd, HEAD_BYTES, 0)
    if not head:
        return "empty"
    for name, kind in KINDS.items():
        if head.startswith(kind.magic, kind.at):
            return name
    if head[128:132] == b"DICM":
        return "dicom"
    if is_tar(head):
        return "tar"
    if head[:2] == b"BM" and int.from_bytes(head[2:6], "little") == size:
        return "bmp"
    return _by_text(head) or _behind_user_block(fd, size) or _plain(head)


def is_tar(head: bytes) -> bool:
    """Whether a file begins with the header of a tar member: ustar, or, older, one whose checksum is right."""
    if head[257:262] == b"ustar":
        return True
    said = head[148:156].strip(b" \0")
    if len(head) < 512 or not head[0] or not said or said.strip(b"01234567"):
        return False
    return sum(head[:148]) + sum(b" " * 8) + sum(head[156:512]) == int(said, 8)


def _by_text(head: bytes) -> str:
    """IDX headers begin with a key in brackets, mostly the version; comments may stand before it."""
    lines = [line.strip() for line in head.removeprefix(b"\xef\xbb\xbf").splitlines()]
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    if first.startswith(b"(") and b"(version)" in lines:
        return "idx"
    start = head.lstrip()[:2048].lower()
    return "midx" if start.startswith(b"<") and b"<dataset" in start else ""


def _behind_user_block(fd: int, size: int) -> str:
    at = 512
    while at + 8 <= size:
        if os.pread(fd, 8, at) == HDF5_SIGNATURE:
            return "hdf5"
        at *= 2
    return ""


def _plain(head: bytes) -> str:
    if b"\0" in head:
        return "unknown"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return "text" if error.start > HEAD_BYTES - 4 else "unknown"
    return "text"
