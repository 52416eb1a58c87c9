"""The head of one member of a tar, read to the letter where the standard library is lenient, or can be kept busy."""

from __future__ import annotations

import re
import tarfile

MAX_BYTES = 1 << 20  # of what may stand before a member: its long name, or what pax says of it
MAX_DIGITS = 1000  # in a row: Python before 3.12.6 takes as many steps as their square (CVE-2024-6232)
EXTENSIONS = frozenset(b"LKxgX")  # kinds of members that only say something about the next


class TarHead(tarfile.TarInfo):
    """Where the standard library takes a broken head for the end of the archive, this one raises tarfile.ReadError,
    and EOFError where the archive ends in it.

    And where it takes the time of a member for a folder: GNU tar has that where others have the rest of a long name.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> TarHead:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0:
            raise tarfile.ReadError(f"{member.name!r} is said to have {member.size} bytes")
        if member.type[0] in EXTENSIONS and member.size > MAX_BYTES:
            raise tarfile.ReadError(f"{member.size:,} bytes stand where the name of a member belongs")
        if buf[257:265] == b"ustar  \0" and member.type not in tarfile.GNU_TYPES:
            member.name = member.name.removeprefix(buf[345:500].split(b"\0")[0].decode(encoding, errors) + "/")
        return member

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> TarHead:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            kind = type(error).__name__  # the library keeps its kinds of this error to itself
            if kind == "EOFHeaderError":
                raise
            if kind in ("EmptyHeaderError", "TruncatedHeaderError"):
                raise EOFError from error
            raise tarfile.ReadError(str(error)) from error

    def _proc_pax(self, tarfile_):  # type: ignore[no-untyped-def] # of the library, which searches what pax says
        stream = tarfile_.fileobj
        said = stream.read(self._block(self.size))  # type: ignore[attr-defined]
        if max(map(len, re.findall(rb"[0-9]+", said)), default=0) > MAX_DIGITS:
            raise tarfile.ReadError(f"pax says something of more than {MAX_DIGITS} digits")
        stream.buf, stream.pos = said + stream.buf, stream.pos - len(said)  # as it was
        return super()._proc_pax(tarfile_)  # type: ignore[misc]
