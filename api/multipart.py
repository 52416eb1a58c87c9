"""Splitting the body of a form as it arrives: RFC 7578 (form data) over RFC 2046, section 5.1 (multipart).

What stands between two boundaries is searched for the next one as a whole and handed on without a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message
from email.parser import HeaderParser
from email.utils import collapse_rfc2231_value
from typing import Protocol

from scray.errors import BadRequest, InvalidField

MEDIA_TYPE = "multipart/form-data"
BOUNDARY_BYTES = 200  # RFC 2046 allows 70
HEADER_BYTES = 16_384
LINE, DASHES = b"\r\n", b"--"
Bytes = bytes | memoryview


class Parts(Protocol):
    """Where the parts of a form go, one after another."""

    def begin(self, name: str, filename: str | None) -> None: ...
    def take(self, data: Bytes) -> None: ...
    def end(self) -> None: ...


class Multipart:
    """One body, fed in pieces; however it is cut, the parts are the same. Memory stays below one piece and one header.

    Only a boundary that is followed by a line break or, at the end, by two dashes is one; what follows the last is
    ignored. Raises BadRequest for a body that is no form, and whatever `parts` raises.
    """

    def __init__(self, boundary: bytes, parts: Parts) -> None:
        self.ended = False
        self._mark = LINE + DASHES + boundary
        self._parts = parts
        self._held = LINE  # a boundary begins with a line break, but for the first one
        self._read: Callable[[bytes, int], int | None] = self._read_beginning

    def feed(self, data: bytes) -> None:
        """Take the next piece of the body."""
        data = self._held + data if self._held else data
        at: int | None = 0
        while at is not None:
            at = self._read(data, at)

    # Each reads what it finds at an offset and returns where to go on; None: more has to come, the rest is held.

    def _hold(self, data: bytes, at: int) -> int | None:
        self._held = data[at:]
        return None

    def _read_beginning(self, data: bytes, at: int) -> int | None:
        at = len(LINE) if data.startswith(LINE + LINE) else at
        head = data[at : at + len(self._mark)]
        if not self._mark.startswith(head):
            raise BadRequest("The body is not a multipart form: it does not begin with its boundary.")
        if len(data) < at + len(self._mark) + len(LINE):
            return self._hold(data, 0)
        return self._read_boundary(data, at)

    def _read_content(self, data: bytes, at: int) -> int | None:
        found = data.find(self._mark, at)
        if found < 0:
            found = self._perhaps(data, at)
        elif len(data) >= found + len(self._mark) + len(LINE):
            if self._is_boundary(data, found):
                self._hand_on(data, at, found)
                self._parts.end()
                return self._read_boundary(data, found)
            self._hand_on(data, at, found + len(self._mark))
            return found + len(self._mark)
        self._hand_on(data, at, found)
        return self._hold(data, found)

    def _perhaps(self, data: bytes, at: int) -> int:
        """Where the beginning of a boundary may stand at the end of what has come; the end, if nowhere."""
        last = data.rfind(LINE[:1], max(at, len(data) - len(self._mark)))
        return last if last >= 0 and self._mark.startswith(data[last:]) else len(data)

    def _hand_on(self, data: bytes, start: int, stop: int) -> None:
        if stop > start:
            self._parts.take(memoryview(data)[start:stop])

    def _is_boundary(self, data: bytes, at: int) -> bool:
        return data[(behind := at + len(self._mark)) : behind + 2] in (LINE, DASHES)

    def _read_boundary(self, data: bytes, at: int) -> int:
        """Go on behind the boundary at `at`; its line break belongs to the header."""
        behind = at + len(self._mark)
        if data[behind : behind + 2] == LINE:
            self._read = self._read_header
        elif data[behind : behind + 2] == DASHES:
            self._read, self.ended = self._ignore, True
        else:
            raise BadRequest("The body is not a multipart form: its first boundary is not its own.")
        return behind

    def _read_header(self, data: bytes, at: int) -> int | None:
        end = data.find(LINE + LINE, at, at + HEADER_BYTES)
        if end >= 0:
            self._read = self._read_content
            self._parts.begin(*read_header(data[at + len(LINE) : end]))
            return end + 2 * len(LINE)
        if len(data) - at >= HEADER_BYTES:
            raise BadRequest("The header of a form part is too long.")
        return self._hold(data, at)

    def _ignore(self, data: bytes, _at: int) -> int | None:
        return self._hold(data, len(data))


def read_boundary(content_type: str) -> bytes:
    """The boundary that a `Content-Type` names. Raises InvalidField for another type, BadRequest for a long one."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary() if message.get_content_type() == MEDIA_TYPE else None
    if not boundary:
        raise InvalidField("Send the file and its fields as multipart/form-data.")
    if len(boundary) > BOUNDARY_BYTES:
        raise BadRequest("The boundary of the form is too long.")
    return boundary.encode()


def read_header(text: bytes) -> tuple[str, str | None]:
    """The name of a part and, of a file, its file name. Raises BadRequest."""
    try:
        message = HeaderParser().parsestr(text.decode())
        name, filename = (_parameter(message, key) for key in ("name", "filename"))
    except (ValueError, LookupError) as error:  # no UTF-8; an encoding that nobody knows
        raise BadRequest("The body is not a well-formed multipart form.") from error
    alone = len(message.get_all("content-disposition", [])) == 1
    if not (alone and name and message.get_content_disposition() == "form-data"):
        raise BadRequest("Each part of a form has one name: Content-Disposition: form-data; name=…")
    return name, filename


def _parameter(message: Message, key: str) -> str | None:
    found = message.get_param(key, None, "content-disposition")
    return None if found is None else collapse_rfc2231_value(found)
