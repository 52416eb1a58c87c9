"""A form read in pieces gives what was sent, and nothing a sender does makes it grow."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.forms import FIELD_BYTES, PARTS, Form
from api.multipart import Bytes
from scray.errors import BadRequest, InvalidField, ScrayError, UploadBroken

BOUNDARY = "a7f3-boundary"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
NAMES = {"user_email", "dataset_name"}


class Kept:
    """A file sink that keeps what it is given."""

    def __init__(self) -> None:
        self.name = ""
        self.data = b""
        self.closed = False

    def open(self, filename: str) -> None:
        self.name = filename

    def write(self, data: Bytes) -> None:
        self.data += data

    def close(self) -> None:
        self.closed = True


def part(head: str, value: bytes) -> bytes:
    disposition = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n"
    return disposition.encode() + b"\r\n" + value + b"\r\n"


def body(*parts: bytes, epilogue: bytes = b"\r\n") -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--".encode() + epilogue


def read(data: bytes, cuts: tuple[int, ...] = (), content_type: str = TYPE) -> tuple[Form, Kept]:
    sink = Kept()
    form = Form(content_type, NAMES, sink)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in pairwise(edges):
        form.feed(data[start:stop])
    form.finish()
    return form, sink


EMAIL = part('name="user_email"', b"a@b.org")
FILE = part('name="file"; filename="x.tif"', b"pixels")
# content that looks like a boundary, almost
TRAPS = st.sampled_from([b"\r\n", b"\r", b"\n", b"-", b"--", b"\r\n--a7f3", b"\r\n--a7f3-boundary ", b"x" * 2000])


@given(
    content=st.lists(TRAPS | st.binary(max_size=64), max_size=12).map(b"".join),
    cuts=st.lists(st.integers(0, 1 << 20), max_size=20).map(tuple),
    file_first=st.booleans(),
    epilogue=st.sampled_from([b"", b"\r\n", b"\r\n\r\n", b"\r\nignored, whatever it is"]),
)
def test_any_cut_gives_the_same_parts(content: bytes, cuts: tuple[int, ...], file_first: bool, epilogue: bytes) -> None:
    file = part('name="file"; filename="x.tif"', content)
    form, sink = read(body(*((file, EMAIL) if file_first else (EMAIL, file)), epilogue=epilogue), cuts)
    assert form.fields == {"user_email": "a@b.org"}
    assert (sink.name, sink.data, sink.closed) == ("x.tif", content, True)


@given(st.data())
def test_a_shortened_form_is_never_taken_for_a_whole_one(data: st.DataObject) -> None:
    whole = body(EMAIL, FILE, epilogue=b"")
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises((UploadBroken, BadRequest)):
        read(short, tuple(data.draw(st.lists(st.integers(0, 400), max_size=5))))


@given(st.binary(max_size=3000))
def test_noise_is_refused_with_a_reason(noise: bytes) -> None:
    for data in (noise, f"--{BOUNDARY}\r\n".encode() + noise, body(part(noise.decode("latin-1"), b"x"))):
        with pytest.raises(ScrayError):
            read(data)


@pytest.mark.parametrize("name", ["Größe.tif", "a b.tif", "x;y=z.tif", "../../x"])
def test_file_names_arrive_as_sent(name: str) -> None:
    assert read(body(EMAIL, part(f'name="file"; filename="{name}"', b"1")))[1].name == name


def test_extended_file_name_is_decoded() -> None:
    sink = read(body(part("name=\"file\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.tif", b"1")))[1]
    assert sink.name == "Größe.tif"


def test_unknown_fields_are_ignored_whatever_their_size() -> None:
    form, _ = read(body(part('name="original_file_path"', b"x" * (FIELD_BYTES * 3)), FILE))
    assert form.fields == {}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((EMAIL,), "'file' is missing"),
        ((FILE, FILE), "two"),
        ((EMAIL, EMAIL, FILE), "twice"),
        ((part('name="file"', b"no name"),), "no file name"),
        ((part('name="user_email"', b"x" * (FIELD_BYTES + 1)), FILE), "longer"),
        ((part('name="user_email"', b"\xff\xfe"), FILE), "UTF-8"),
    ],
)
def test_bad_fields_are_named(parts: tuple[bytes, ...], words: str) -> None:
    with pytest.raises(InvalidField, match=words):
        read(body(*parts))


def test_more_parts_than_the_limit_are_refused() -> None:
    with pytest.raises(BadRequest, match="parts"):
        read(body(*[part(f'name="p{i}"', b"") for i in range(PARTS + 1)], FILE))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"Content-Type: text/plain\r\n",
        b"Content-Disposition: form-data\r\n",
        b'Content-Disposition: attachment; name="file"; filename="x"\r\n',
        b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="file"\r\n',
        b'Content-Disposition: form-data; name="\xff"\r\n',
    ],
)
def test_a_part_has_one_name(head: bytes) -> None:
    with pytest.raises(BadRequest):
        read(body(f"--{BOUNDARY}\r\n".encode() + head + b"\r\nx\r\n", FILE))


@pytest.mark.parametrize("before", [b"x", b"\r", b"\n", b"\r\n\r\n", b"preamble\r\n", f"--{BOUNDARY}x\r\n".encode()])
def test_a_form_begins_with_its_boundary(before: bytes) -> None:
    with pytest.raises(BadRequest):
        read(before + body(EMAIL, FILE))
    assert read(b"\r\n" + body(EMAIL, FILE))[1].data == b"pixels"


def test_content_goes_on_as_views_of_what_came() -> None:
    seen: list[object] = []

    class Watching(Kept):
        def write(self, data: Bytes) -> None:
            seen.append(data.obj if isinstance(data, memoryview) else None)

    form = Form(TYPE, NAMES, Watching())
    form.feed(part('name="file"; filename="x.tif"', b"")[:-2])
    pieces = [bytes([n]) * 1000 for n in range(3)]
    for piece in pieces:
        form.feed(piece)
    assert all(one is piece for one, piece in zip(seen, pieces, strict=True))


def test_an_endless_header_is_refused() -> None:
    form = Form(TYPE, NAMES, Kept())
    form.feed(f"--{BOUNDARY}\r\nContent-Disposition: ".encode())
    with pytest.raises(BadRequest, match="header"):
        form.feed(b"a" * 131_072)


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidField, match="multipart/form-data"):
        read(b"{}", content_type=content_type)


def test_a_boundary_without_end_is_refused() -> None:
    with pytest.raises(BadRequest, match="boundary"):
        read(b"", content_type="multipart/form-data; boundary=" + "b" * 300)


def test_the_sinks_own_errors_come_through() -> None:
    class Full(Kept):
        def write(self, data: Bytes) -> None:
            raise ValueError(f"no room for {len(data)} bytes")

    form = Form(TYPE, NAMES, Full())
    with pytest.raises(ValueError, match="no room"):
        form.feed(body(FILE))
