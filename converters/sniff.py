"""What a file is, by its first bytes; never by its name."""

from __future__ import annotations

import os
from pathlib import Path

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEAD_BYTES = 4096

# What each kind is called in a sentence.
KINDS = {
    "tiff": "a TIFF image",
    "hdf5": "an HDF5 file",
    "netcdf": "a NetCDF file",
    "idx": "an IDX header",
    "midx": "a description of several IDX datasets",
    "hdf4": "an HDF4 file",
    "png": "a PNG image",
    "jpeg": "a JPEG image",
    "gif": "a GIF image",
    "bmp": "a BMP image",
    "fits": "a FITS file",
    "dicom": "a DICOM file",
    "zip": "a zip archive",
    "gzip": "a gzip archive",
    "7z": "a 7z archive",
    "xz": "an xz archive",
    "bzip2": "a bzip2 archive",
    "zstd": "a zstd archive",
    "tar": "a tar archive",
    "pdf": "a PDF document",
    "grib": "a GRIB file",
    "empty": "empty",
    "text": "a text file",
    "unknown": "binary data of no known kind",
}

_MAGIC = (
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"CDF\x01", "netcdf"),
    (b"CDF\x02", "netcdf"),
    (b"CDF\x05", "netcdf"),
    (b"\x0e\x03\x13\x01", "hdf4"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"SIMPLE  =", "fits"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"%PDF-", "pdf"),
    (b"GRIB", "grib"),
)


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
    if head.startswith(HDF5_SIGNATURE):
        return "hdf5"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
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
