"""The fields of a form: what is accepted, how it is read, where a file goes."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st

from api.fields import UploadFields, read_uuid
from scray.errors import InvalidField, UnsafePath
from scray.sensors import read_sensor

FORM = {"user_email": "ada@example.org", "dataset_name": "scan", "sensor": "TIFF"}


def read(**fields: str) -> UploadFields:
    return UploadFields.read({**FORM, **fields})


@pytest.mark.parametrize("email", ["a@b.org", "a.b+c@d-e.f.org", "root@localhost", "müller@example.org"])
def test_addresses(email: str) -> None:
    assert read(user_email=email).user_email == email


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a",
        "a@",
        "@b.org",
        "a b@c.org",
        "a@b@c.org",
        "a@b..org",
        "a@-b.org",
        "a@b.org\n",
        "<a@b.org>",
        "a" * 250 + "@b.org",
    ],
)
def test_no_addresses(email: str) -> None:
    with pytest.raises(RequestValidationError):
        read(user_email=email)


@pytest.mark.parametrize("name", ["tiff", "X-RAY", "", "TIFF "])
def test_no_sensors(name: str) -> None:
    with pytest.raises(InvalidField, match="4D_NEXUS"):
        read_sensor(name)
    with pytest.raises(RequestValidationError):
        read(sensor=name)


def test_sensors() -> None:
    assert [read(sensor=name).sensor for name in ("4D_Probe", "NEXUS", "TIFF RGB")] == [
        "4D_NEXUS",
        "4D_NEXUS",
        "TIFF RGB",
    ]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "x.tif"),
        ({"folder": "label"}, "x.tif"),
        ({"dataset_identifier": "d", "folder": "sub/deep"}, "sub/deep/x.tif"),
        ({"dataset_identifier": "d", "folder": "sub/"}, "sub/x.tif"),
        ({"dataset_identifier": "d", "folder": "label", "relative_path": "a/y.tif"}, "a/y.tif"),
        ({"relative_path": "a/b/y.tif"}, "a/b/y.tif"),
        ({"relative_path": "a/b/"}, "a/b/x.tif"),
        ({"relative_path": ""}, "x.tif"),
    ],
)
def test_where_a_file_lies(fields: dict[str, str], path: str) -> None:
    assert str(read(**fields).path("x.tif")) == path


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=40))
def test_no_name_leads_out_of_the_dataset(relative: str, folder: str, filename: str) -> None:
    fields = UploadFields.model_construct(relative_path=relative or None, folder=folder or None, dataset_identifier="d")
    try:
        path = fields.path(filename)
    except UnsafePath:
        return
    assert not path.is_absolute()
    assert path.parts
    assert not any(part in {"", ".", ".."} or part.startswith(".") or "\0" in part for part in path.parts)


def test_folder_is_a_label_or_a_place_never_both() -> None:
    assert read(folder="F").folder_label == "F"
    assert read(folder="F", dataset_identifier="d").folder_label is None
    assert read(folder="F", dataset_identifier="d", relative_path="x").folder_label == "F"


def test_tags_and_parameters() -> None:
    fields = read(tags=" a, b,,c ", conversion_parameters='{"Xs": "e/x", "dataset": ["a", 1], "repack": true}')
    assert fields.tag_list == ["a", "b", "c"]
    assert fields.conversion_parameters == {"Xs": "e/x", "dataset": ["a", 1], "repack": True}
    assert read(conversion_parameters="").conversion_parameters == {}


@pytest.mark.parametrize(
    "text",
    [
        "1", "[]", "null", "{", '{"": 1}', '{"$set": 1}', '{"a.b": 1}', '{"a": Infinity}', '{"a": 1e999}',
        '{"a": 99999999999999999999}', '{"a":{"a":{"a":{"a":{"a":1}}}}}', '{"a\\u0000": 1}',
        "{" + ",".join(f'"p{i}":1' for i in range(65)) + "}", '{"colour": "red"}', '{"codec": "best"}',
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_stored(text: str) -> None:
    with pytest.raises(RequestValidationError) as found:
        read(conversion_parameters=text)
    assert found.value.errors()[0]["loc"][:2] == ("body", "conversion_parameters")


@pytest.mark.parametrize("text", ["", "x", "12345678-1234-1234-1234-1234567890zz", "../" * 12])
def test_no_uuids(text: str) -> None:
    assert read_uuid(text) is None


def test_a_uuid_in_its_usual_spelling() -> None:
    assert read_uuid("ABCDEF01-1234-4234-8234-123456789ABC") == "abcdef01-1234-4234-8234-123456789abc"


def test_unknown_fields_are_ignored() -> None:
    fields: dict[str, Any] = {"original_file_path": "/x", "status": "done"}
    assert read(**fields) == read()
