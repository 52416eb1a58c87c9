"""The members of an archive, one format after another: streamed into a crate, never held in memory.

Formats: zip (APPNOTE.TXT of PKWARE), tar (POSIX ustar, pax, GNU), 7z, and the stream compressors around a tar or a
single file. Only files and folders are taken; links, devices and encrypted members are refused.
"""

from __future__ import annotations

import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import inflate64
import py7zr
import zstandard
from py7zr.io import Py7zIO, WriterFactory

from converters.crate import PIECE_BYTES, Crate
from converters.faults import reading
from converters.frames import OPENERS, PACKED_BYTES
from converters.sniff import is_tar
from converters.tarhead import TarHead
from scray.errors import (
    ArchiveBomb,
    ArchiveDevice,
    ArchiveLink,
    BadArchive,
    EncryptedArchive,
    TruncatedInput,
    Unsupported,
)

TAR_HEAD_BYTES = 512
VOLUME_LABEL, DUMPED_FOLDER, CONTINUED = b"V", b"D", b"M"  # kinds of members that GNU tar alone has
DEFLATE64, UTF8_NAME, UNICODE_PATH = 9, 0x800, 0x7075
ZIP_HEAD_BYTES = 30  # of a member, at least
SEVEN_HEAD_BYTES = 32
TAR_SUFFIXES = frozenset({".tar", ".tgz", ".txz", ".tbz", ".tbz2", ".tzst"})


def unpack(kind: str, path: Path, crate: Crate) -> None:
    """Every member of an archive of this kind (a key of KINDS) into the crate, or the reason why not."""
    with _told(crate.archive):
        _UNPACKERS[kind](path, crate)


@contextmanager
def _told(archive: str) -> Iterator[None]:
    """What the libraries raise, as one of our errors that names the archive."""
    with reading(archive, "an archive"):
        try:
            yield
        except EOFError as error:
            raise TruncatedInput(f"{archive} ends before its end.") from error
        except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
            raise BadArchive(f"{archive} is damaged: {error}.") from error
        except (py7zr.Bad7zFile, py7zr.DecompressionError, zstandard.ZstdError) as error:
            raise BadArchive(f"{archive} is damaged: {error}.") from error
        except (NotImplementedError, py7zr.UnsupportedCompressionMethodError) as error:
            raise Unsupported(
                f"{archive} is compressed in a way that is not known here: {error}. Pack it anew."
            ) from error
        except py7zr.PasswordRequired as error:
            raise EncryptedArchive(f"{archive} is encrypted; upload it without a password.") from error


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _check_mode(crate: Crate, name: str, mode: int) -> None:
    """`mode` as in st_mode, 0 where the archive says nothing."""
    if stat.S_ISLNK(mode):
        raise ArchiveLink(f"{crate.archive} holds the link {name!r}; pack the files themselves.")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveDevice(f"{crate.archive} holds {name!r}, which is a device, pipe or socket.")


# --- zip -----------------------------------------------------------------------------------------


def _zip(path: Path, crate: Crate) -> None:
    if not zipfile.is_zipfile(path):
        raise TruncatedInput(f"{crate.archive} ends before its list of members.")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_spans(crate, members)
        crate.allowance.admit(len(members), sum(member.file_size for member in members), crate.archive)
        for member in members:
            name = _zip_name(member).replace("\\", "/")  # as some programs on Windows spell it
            _check_mode(crate, name, member.external_attr >> 16)
            if member.flag_bits & 0x1:
                raise EncryptedArchive(f"{name} in {crate.archive} is encrypted; upload it without a password.")
            if name.endswith("/"):
                crate.place(name + ".folder")
                continue
            if member.compress_type == DEFLATE64:
                crate.keep(name, _inflated64(path, member))
                continue
            with archive.open(member) as file:
                crate.keep(name, _pieces(file))


def _zip_name(member: zipfile.ZipInfo) -> str:
    """UTF-8 where the member says so, has it beside its name (0x7075), or its bytes are nothing else; else cp437."""
    if member.flag_bits & UTF8_NAME:
        return member.orig_filename
    raw = member.orig_filename.encode("cp437")
    extra, checksum = member.extra, struct.pack("<I", zlib.crc32(raw))
    while len(extra) >= 9:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == UNICODE_PATH and extra[5:9] == checksum:
            raw = extra[9 : 4 + size]
        extra = extra[4 + size :]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return member.orig_filename


def _inflated64(path: Path, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """A member that Windows packed because it is of 2 GiB and more; the standard library does not know Deflate64."""
    inflater, left, checksum = inflate64.Inflater(), member.compress_size, 0
    with path.open("rb") as packed:
        packed.seek(member.header_offset)
        head = packed.read(ZIP_HEAD_BYTES)
        packed.seek(sum(struct.unpack("<HH", head[-4:])), os.SEEK_CUR)  # its name, and what else there is
        while left:
            piece = packed.read(min(PACKED_BYTES, left))
            if not piece:
                raise EOFError
            left -= len(piece)
            out = inflater.inflate(piece)
            checksum = zlib.crc32(out, checksum)
            yield out
    if checksum != member.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {member.filename!r}")


def _check_spans(crate: Crate, members: list[zipfile.ZipInfo]) -> None:
    """Each member has bytes of its own, from the first of the file on: bombs share theirs, joined zips hide some."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.volume:
            raise BadArchive(f"{crate.archive} is one part of several; upload it in one piece.")
        if member.header_offset < end:
            raise ArchiveBomb(f"{crate.archive} holds members that share their bytes, {member.filename!r} for one.")
        if not end and member.header_offset:
            raise BadArchive(f"{crate.archive} begins with something that its list of members does not name.")
        end = member.header_offset + ZIP_HEAD_BYTES + len(member.orig_filename) + member.compress_size


# --- tar, and compressed streams -----------------------------------------------------------------


def _tar(path: Path, crate: Crate) -> None:
    with path.open("rb") as file:
        _tar_stream(file, crate)


def _tar_stream(file: IO[bytes], crate: Crate) -> None:
    with tarfile.open(fileobj=file, mode="r|", tarinfo=TarHead) as archive:
        for member in archive:
            _check_tar_member(crate, member)
            if member.type == VOLUME_LABEL:
                continue
            content = archive.extractfile(member) if member.isreg() else None
            if content:
                crate.allowance.admit(1, member.size, crate.archive)
                crate.keep(member.name, _pieces(content))
            else:
                crate.place(f"{member.name}/.folder")
        for piece in _pieces(archive.fileobj):  # type: ignore[arg-type] # what the stream has left
            if piece.strip(b"\0"):
                raise BadArchive(f"{crate.archive} goes on behind its end, as archives do that were joined.")
    for piece in _pieces(file):  # to its end, where the checksum of a compressed stream is
        crate.count(len(piece))


def _check_tar_member(crate: Crate, member: tarfile.TarInfo) -> None:
    if member.issym() or member.islnk():
        raise ArchiveLink(f"{crate.archive} holds the link {member.name!r}; pack the files themselves.")
    if member.type == CONTINUED:
        raise BadArchive(f"{crate.archive} is one part of several; upload it in one piece.")
    if not (member.isreg() or member.isdir() or member.type in (VOLUME_LABEL, DUMPED_FOLDER)):
        raise ArchiveDevice(f"{crate.archive} holds {member.name!r}, which is a device, pipe or socket.")


def _compressed(opened: Callable[[IO[bytes]], Any]) -> Callable[[Path, Crate], None]:
    """An unpacker of a compressed tar, or of one compressed file, which loses the last suffix of its name."""

    def unpack_stream(path: Path, crate: Crate) -> None:
        with path.open("rb") as packed, opened(packed) as file:
            head = file.read(TAR_HEAD_BYTES)
        with path.open("rb") as packed, opened(packed) as file:
            if _is_tar(head, crate.archive):
                _tar_stream(file, crate)
            else:
                crate.keep(PurePosixPath(crate.archive).stem, _pieces(file))

    return unpack_stream


def _is_tar(head: bytes, name: str) -> bool:
    suffixes = {suffix.lower() for suffix in PurePosixPath(name).suffixes[-2:]}
    return is_tar(head) or bool(suffixes & TAR_SUFFIXES)


# --- 7z ------------------------------------------------------------------------------------------


def _seven(path: Path, crate: Crate) -> None:
    with path.open("rb") as packed, py7zr.SevenZipFile(packed) as archive:
        _check_end(crate, packed)
        if archive.needs_password():
            raise EncryptedArchive(f"{crate.archive} is encrypted; upload it without a password.")
        members = list(archive.files)
        crate.allowance.admit(len(members), sum(member.uncompressed or 0 for member in members), crate.archive)
        places: dict[str, Path | None] = {}
        for member in members:
            _check_mode(crate, member.filename, _seven_mode(member))
            if member.is_directory:
                crate.place(f"{member.filename}/.folder")
            else:
                places[member.filename] = crate.place(member.filename)
        with _Writers(crate, places) as writers:
            archive.extract(factory=writers)


def _check_end(crate: Crate, packed: IO[bytes]) -> None:
    """Nothing may follow the list of members, whose place and size are in the first 32 bytes."""
    before = packed.tell()
    offset, size = struct.unpack("<QQ", os.pread(packed.fileno(), 16, SEVEN_HEAD_BYTES - 20))
    packed.seek(SEVEN_HEAD_BYTES + offset + size)
    if any(piece.strip(b"\0") for piece in _pieces(packed)):
        raise BadArchive(f"{crate.archive} goes on behind its end, as archives do that were joined.")
    packed.seek(before)


def _seven_mode(member: Any) -> int:
    if member.is_symlink or member.is_junction:
        return stat.S_IFLNK
    return int(member.st_fmt or 0)


class _Writers(WriterFactory):
    """Opens the files of a crate for py7zr, which names the members as they are listed."""

    def __init__(self, crate: Crate, places: dict[str, Path | None]) -> None:
        self.crate, self.places = crate, places
        self.latest: _Writer | None = None

    def create(self, filename: str) -> Py7zIO:
        if filename not in self.places:
            raise BadArchive(f"{self.crate.archive} spells the name of {filename!r} in two ways.")
        self.latest = _Writer(self.crate, self.places[filename])
        return self.latest

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, *_: object) -> None:
        if self.latest:
            self.latest.close()


class _Writer(Py7zIO):
    """One file on its way to the disk; without a path its bytes are only counted."""

    def __init__(self, crate: Crate, path: Path | None) -> None:
        self.crate, self.written = crate, 0
        self.file = path.open("xb") if path else None

    def write(self, s: bytes | bytearray) -> int:
        self.crate.count(len(s))
        self.written += len(s)
        if self.file:
            self.file.write(s)
        return len(s)

    def read(self, _size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, _whence: int = 0) -> int:
        return offset

    def flush(self) -> None:
        """Flushed once, when it is closed."""

    def size(self) -> int:
        return self.written

    def close(self) -> None:
        if self.file and not self.file.closed:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()


_UNPACKERS: dict[str, Callable[[Path, Crate], None]] = {
    "zip": _zip,
    "7z": _seven,
    "tar": _tar,
    **{kind: _compressed(opened) for kind, opened in OPENERS.items()},
}
