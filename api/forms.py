"""Reading `multipart/form-data` as it arrives: fields are kept, the file is handed on, nothing is held whole.

The format is RFC 7578 (form data) over RFC 2046 section 5.1 (multipart). The splitting itself is done by
streaming-form-data; around it stand the bounds it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol

from streaming_form_data import ParseFailedException, StreamingFormDataParser
from streaming_form_data.parser import parse_content_boundary
from streaming_form_data.targets import BaseTarget

from scray.errors import BadRequest, InvalidField, ScrayError, UploadBroken

FILE_FIELD = "file"
FIELD_BYTES = 65_536
PARTS = 64
HEADER_BYTES = 16_384
BOUNDARY_BYTES = 200  # RFC 2046 allows 70
HANDED_BYTES = 1 << 20  # the file goes on in pieces worth the calls that hash and write them
SLICE_BYTES = 32_768  # a header never lies in more than one slice and the limit above, so parsing it is cheap


class FileSink(Protocol):
    """Where the bytes of the file part go."""

    def open(self, filename: str) -> None: ...
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Form:
    """One form, fed piece by piece.

    Promise: however the body is cut into pieces, `fields` and the bytes given to the sink are the same;
    memory stays below one piece and the bounded fields. Fields that are not in `names` are ignored. Raises
    `BadRequest` for a body that is no form, `UploadBroken` for one that ends too early, `InvalidField` for
    a field that cannot be accepted. `file_field` is the name of the file part; a `named` one has a file name.
    """

    def __init__(
        self,
        content_type: str,
        names: Container[str],
        sink: FileSink,
        *,
        file_field: str = FILE_FIELD,
        named: bool = True,
    ) -> None:
        self.fields: dict[str, str] = {}
        self.has_file = False
        self.file_field, self.named = file_field, named
        self._parts = _Parts(self, names, sink)
        self._end = _End(_boundary(content_type))
        self._parser = StreamingFormDataParser({"content-type": content_type})
        self._parser.register("any", self._parts, self._parts.name_next)

    def feed(self, data: bytes) -> None:
        """Take the next piece of the body."""
        data = self._end.cut(data)
        for start in range(0, len(data), SLICE_BYTES):
            self._feed_slice(data[start : start + SLICE_BYTES])

    def finish(self) -> None:
        """The body is over: raise unless it was a whole form with a file in it."""
        if not self._end.found or self._parts.inside:
            raise UploadBroken("The upload broke off before its end; send it again.")
        if not self.has_file:
            raise InvalidField(f"The field '{self.file_field}' is missing: send the file as a part of that name.")

    def _feed_slice(self, data: bytes) -> None:
        self._parts.silent_bytes += len(data)
        try:
            self._parser.data_received(data)
        except Exception as error:  # whatever the parser trips over in a hostile header is the sender's fault
            if isinstance(error, ScrayError) or error is self._parts.failure:
                raise
            raise BadRequest("The body is not a well-formed multipart form.") from error
        if self._parts.silent_bytes > HEADER_BYTES + SLICE_BYTES:
            raise BadRequest("The header of a form part is too long.")


class _Parts(BaseTarget):  # type: ignore[misc]  # the library has no types
    """Every part of the form in turn, told apart by name."""

    def __init__(self, form: Form, names: Container[str], sink: FileSink) -> None:
        super().__init__()
        self.inside = False
        self.silent_bytes = 0
        self.failure: Exception | None = None
        self._form = form
        self._names = names
        self._sink = sink
        self._name = ""
        self._count = 0
        self._value: bytearray | None = None
        self._held = bytearray()

    def name_next(self, _registered: str, name: str) -> bool:
        self._name = name
        return True

    def on_start(self) -> None:
        if self.inside:
            raise BadRequest("A form part has two names.")
        self.inside = True
        self.silent_bytes = 0
        self._count += 1
        if self._count > PARTS:
            raise BadRequest(f"The form has more than {PARTS} parts.")
        if self._name == self._form.file_field:
            self._open_file()
        elif self._name in self._names:
            self._open_field()

    def on_data_received(self, chunk: bytes) -> None:
        self.silent_bytes = 0
        if self._name == self._form.file_field:
            self._held += chunk
            if len(self._held) >= HANDED_BYTES:
                self._hand_on_held()
        elif self._value is not None:
            self._value += chunk
            if len(self._value) > FIELD_BYTES:
                raise InvalidField(f"The field '{self._name}' is longer than {FIELD_BYTES} bytes.")

    def on_finish(self) -> None:
        self.inside = False
        self.silent_bytes = 0
        if self._name == self._form.file_field:
            self._hand_on_held()
            self._hand_on(self._sink.close)
        elif self._value is not None:
            self._form.fields[self._name] = _text(self._name, bytes(self._value))
            self._value = None

    def _open_file(self) -> None:
        if self._form.has_file:
            raise InvalidField("Send one file at a time: the form has two.")
        if self._form.named and not self.multipart_filename:
            raise InvalidField(f"The field '{self._name}' has no file name, so it is not a file.")
        self._form.has_file = True
        self._hand_on(self._sink.open, self.multipart_filename or "")

    def _hand_on_held(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        if held:
            self._hand_on(self._sink.write, held)

    def _hand_on(self, act: Callable[..., None], *values: object) -> None:
        try:
            act(*values)
        except Exception as error:
            self.failure = error
            raise

    def _open_field(self) -> None:
        if self._name in self._form.fields:
            raise InvalidField(f"The field '{self._name}' was sent twice.")
        self._value = bytearray()


class _End:
    """Finds the closing boundary, so that what follows it never reaches the parser (which trips over it)."""

    def __init__(self, boundary: bytes) -> None:
        self.found = False
        self._mark = b"\r\n--" + boundary + b"--"
        self._tail = b"\r\n"

    def cut(self, data: bytes) -> bytes:
        """`data` up to and including the closing boundary; nothing once that has been seen."""
        if self.found:
            return b""
        reach = len(self._mark) - 1
        across = (self._tail + data[:reach]).find(self._mark)
        at = across - len(self._tail) if across >= 0 else data.find(self._mark)
        self.found = across >= 0 or at >= 0
        self._tail = (self._tail + data[-reach:])[-reach:]
        return data[: at + len(self._mark)] if self.found else data


def _boundary(content_type: str) -> bytes:
    try:
        boundary: bytes = parse_content_boundary({"content-type": content_type})
    except ParseFailedException as error:
        raise InvalidField("Send the file and its fields as multipart/form-data.") from error
    if len(boundary) > BOUNDARY_BYTES:
        raise BadRequest("The boundary of the form is too long.")
    return boundary


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidField(f"The field '{name}' is not UTF-8 text.") from error
