"""The fields of an upload form, checked. Names and limits are those that existing clients send."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Self

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from scray.errors import BadParameter, EmptyInput, InvalidField
from scray.parameters import check
from scray.sensors import ALIASES, SENSORS, read_sensor
from scray.storage import safe_name, safe_relative

EMAIL = re.compile(r"[^@\s\x00-\x1f<>()\[\],;:\\\"]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
PARAMETER_DEPTH = 4
WINDOWS = "\\"  # between the folders of a path there; programs send `folder` as their system writes it


def read_email(value: str) -> str:
    """An e-mail address in its usual form (RFC 5321 length limits; quoted local parts are refused)."""
    if len(value) > 254 or not EMAIL.fullmatch(value) or ".." in value:
        raise ValueError("value is not a valid email address")
    return value


def _printable(value: str) -> str:
    if CONTROL.search(value):
        raise ValueError("control characters are not allowed")
    return value


def _sensor(value: str) -> str:
    try:
        return read_sensor(value)
    except InvalidField as error:
        raise ValueError(error.message) from error


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


def _empty_if_none(value: Any) -> Any:
    return "" if value is None else value


def _parameters(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}", parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def check_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Conversion parameters that exist, of their kind, and that can be stored: flat enough, with plain names.

    Raises ValueError, which lists the known ones. Whether a value fits the data, the conversion says.
    """
    _check_value(parameters, PARAMETER_DEPTH)
    try:
        check(parameters)
    except BadParameter as error:
        raise ValueError(error.message) from error
    return parameters


def _check_value(value: Any, depth: int) -> None:
    if depth < 0:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        for name in value:
            if not name or name.startswith("$") or "." in name or CONTROL.search(name):
                raise ValueError(f"{name[:40]!r} is not a parameter name")
    elif isinstance(value, int | float) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError("a number is too large")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_value(part, depth - 1)


Parameters = Annotated[dict[str, Any], BeforeValidator(_parameters), AfterValidator(check_parameters)]
Email = Annotated[str, Field(max_length=254, json_schema_extra={"format": "email"}), AfterValidator(read_email)]
Sensor = Annotated[str, Field(json_schema_extra={"enum": [*SENSORS, *ALIASES]}), AfterValidator(_sensor)]
Label = Annotated[str | None, Field(max_length=255), BeforeValidator(_none_if_empty)]
Text = Annotated[str, AfterValidator(_printable)]


class UploadFields(BaseModel):
    """What comes with a file."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    user_email: Email
    dataset_name: Annotated[Text, Field(min_length=1, max_length=255)]
    sensor: Sensor
    convert: bool = True
    is_public: bool = False
    is_public_downloadable: bool = False
    publish: bool = True
    folder: Label = None
    relative_path: Annotated[str | None, Field(max_length=500), BeforeValidator(_none_if_empty)] = None
    team_uuid: Label = None
    tags: Annotated[str, Field(max_length=500), BeforeValidator(_empty_if_none)] = ""
    dataset_identifier: Label = None
    add_to_existing: bool = False
    alone: bool = False  # no other file is coming for this dataset, so nobody waits for one
    conversion_parameters: Parameters = {}

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Self:
        """Raises RequestValidationError, which names each wrong field."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from error

    @property
    def tag_list(self) -> list[str]:
        return [tag.strip() for tag in self.tags.split(",") if tag.strip()]

    @property
    def folder_label(self) -> str | None:
        """The folder of the user interface, unless `folder` is a place (see `path`)."""
        return None if self._folder_is_place else self.folder

    @property
    def _folder_is_place(self) -> bool:
        return self.dataset_identifier is not None and self.relative_path is None

    @property
    def joins(self) -> bool:
        """Whether the file is one of several of its dataset."""
        return self.dataset_identifier is not None and not self.alone

    def check_content(self, size_bytes: int) -> None:
        """Raises EmptyInput for a file of no bytes, unless it is one of several: folders hold such files."""
        if not size_bytes and not self.joins:
            raise EmptyInput("The file is empty; nothing was stored.")

    def path(self, filename: str) -> PurePosixPath:
        """Where in the dataset the file lies, made of safe names. Raises UnsafePath.

        `relative_path` is the file's whole path, or its folder when it ends in `/`. Without it, `folder` is
        the sub-folder of a file that names its dataset by `dataset_identifier`.
        """
        name = safe_name(filename)
        place = self.relative_path
        if place is None and self._folder_is_place and self.folder:
            return safe_relative(f"{self.folder.replace(WINDOWS, '/')}/{name}")
        if place is None:
            return safe_relative(name)
        return safe_relative(place + name if place.endswith("/") else place)


NAMES = frozenset(UploadFields.model_fields)
REQUIRED = frozenset(name for name, field in UploadFields.model_fields.items() if field.is_required())


def read_uuid(text: str) -> str | None:
    """The usual spelling of a UUID, None when `text` is none."""
    try:
        return str(uuid.UUID(text)) if len(text) == 36 else None
    except ValueError:
        return None
