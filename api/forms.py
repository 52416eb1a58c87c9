"""Reading `multipart/form-data` as it arrives: fields are kept, the file is handed on, nothing is held whole."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol
from urllib.parse import quote, unquote

from api.multipart import Bytes, Multipart, read_boundary
from scray.errors import BadRequest, InvalidField, UploadBroken

FILE_FIELD = "file"
FIELD_BYTES = 65_536
PARTS = 64


class FileSink(Protocol):
    """Where the bytes of the file part go."""

    def open(self, filename: str) -> None: ...
    def write(self, data: Bytes) -> None: ...
    def close(self) -> None: ...


class Form:
    """One form, fed piece by piece.

    Promise: however the body is cut into pieces, `fields` and the bytes given to the sink are the same;
    memory stays below one piece and the bounded fields. Fields that are not in `names` are ignored. Raises
    `BadRequest` for a body that is no form, `UploadBroken` for one that ends too early, `InvalidField` for
    a field that cannot be accepted. `file_field` is the name of the file part; a `named` one has a file name, in
    which every sign but letters, digits and `_.-~` is written as `%XX` where it is `quoted`.
    """

    def __init__(
        self,
        content_type: str,
        names: Container[str],
        sink: FileSink,
        *,
        file_field: str = FILE_FIELD,
        named: bool = True,
        quoted: bool = False,
    ) -> None:
        self.fields: dict[str, str] = {}
        self.has_file = False
        self.file_field, self.named, self.quoted = file_field, named, quoted
        self._parts = _Parts(self, names, sink)
        self._body = Multipart(read_boundary(content_type), self._parts)
        self.feed = self._body.feed

    def finish(self) -> None:
        """The body is over: raise unless it was a whole form with a file in it."""
        if not self._body.ended:
            raise UploadBroken("The upload broke off before its end; send it again.")
        if not self.has_file:
            raise InvalidField(f"The field '{self.file_field}' is missing: send the file as a part of that name.")


class _Parts:
    """Every part of the form in turn, told apart by name."""

    def __init__(self, form: Form, names: Container[str], sink: FileSink) -> None:
        self._form = form
        self._names = names
        self._sink = sink
        self._name = ""
        self._count = 0
        self._value: bytearray | None = None

    @property
    def _is_file(self) -> bool:
        return self._name == self._form.file_field

    def begin(self, name: str, filename: str | None) -> None:
        self._name = name
        self._count += 1
        if self._count > PARTS:
            raise BadRequest(f"The form has more than {PARTS} parts.")
        if self._is_file:
            self._open_file(filename or "")
        elif name in self._names:
            self._open_field()

    def take(self, data: Bytes) -> None:
        if self._is_file:
            self._sink.write(data)
        elif self._value is not None:
            self._value += data
            if len(self._value) > FIELD_BYTES:
                raise InvalidField(f"The field '{self._name}' is longer than {FIELD_BYTES} bytes.")

    def end(self) -> None:
        if self._is_file:
            self._sink.close()
        elif self._value is not None:
            self._form.fields[self._name] = _text(self._name, bytes(self._value))
            self._value = None

    def _open_file(self, filename: str) -> None:
        if self._form.has_file:
            raise InvalidField("Send one file at a time: the form has two.")
        if self._form.named and not filename:
            raise InvalidField(f"The field '{self._name}' has no file name, so it is not a file.")
        self._form.has_file = True
        self._sink.open(_unquoted(filename) if self._form.quoted else filename)

    def _open_field(self) -> None:
        if self._name in self._form.fields:
            raise InvalidField(f"The field '{self._name}' was sent twice.")
        self._value = bytearray()


def _unquoted(filename: str) -> str:
    """The name, unless it is not quoted after all."""
    plain = unquote(filename)
    return plain if quote(plain, safe="") == filename else filename


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidField(f"The field '{name}' is not UTF-8 text.") from error
