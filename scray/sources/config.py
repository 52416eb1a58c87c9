"""What a request says of its source, checked before anything is asked. Knows no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scray.sources.links import read_link
from scray.storage import safe_relative

Short = Annotated[str, Field(max_length=1024)]


class Config(BaseModel):
    """A source. `shown` names it without anything secret."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @property
    def shown(self) -> str:
        raise NotImplementedError

    def to_seal(self) -> dict[str, Any]:
        """What the source is opened with."""
        return self.model_dump()


def read_url(text: str) -> str:
    """An http or https address with a host; ValueError for others, which repeats nothing of it."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number: perhaps the half of a password that is not written as %2F
        fits = False
    if not fits:
        raise ValueError("only http:// and https:// addresses can be used, with special characters as %XX")
    return text


def read_endpoint(text: str) -> str:
    """The address of a service: without user, password or query, of which messages might tell; or nothing."""
    if text and without_secrets(read_url(text)) != text:
        raise ValueError("an endpoint has no user, password or query")
    return text


def _as_text(value: Any) -> Any:
    """A key may come as JSON or as the text of it."""
    return json.dumps(value) if isinstance(value, dict) else value


def without_secrets(url: str) -> str:
    """The address without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class UrlConfig(Config):
    """`link_only`: nothing is fetched, the address is kept."""

    url: Annotated[str, Field(min_length=1, max_length=8192), AfterValidator(read_url)]
    link_only: bool = False

    @model_validator(mode="after")
    def _tells_no_password(self) -> Self:
        if self.link_only and "@" in urlsplit(self.url).netloc:
            raise ValueError("an address that is kept for everybody has no user and password")
        return self

    @property
    def shown(self) -> str:
        return without_secrets(self.url)


class PathConfig(Config):
    """A file or folder of the server; `name` is what a file is called in the dataset."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    name: Annotated[str, Field(max_length=1024), AfterValidator(lambda name: name and str(safe_relative(name)))] = ""

    @property
    def shown(self) -> str:
        return self.path


class S3Config(Config):
    """A bucket and a key, or a prefix, with keys, or a profile of the operator, or `anonymous`."""

    bucket_name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    object_key: Annotated[str, Field(max_length=1024)]
    access_key_id: Short = ""
    secret_access_key: Annotated[str, Field(max_length=1024, repr=False)] = ""
    session_token: Annotated[str, Field(max_length=8192, repr=False)] = ""
    profile: Annotated[str, Field(max_length=255)] = ""
    anonymous: bool = False
    endpoint_url: Annotated[str, Field(max_length=1024), AfterValidator(read_endpoint)] = ""
    region: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9-]*$")] = ""

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        """What is not asked for is not used: no key in the request does not mean the server's own."""
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("access_key_id and secret_access_key belong together")
        if sum((bool(self.access_key_id), bool(self.profile), self.anonymous)) != 1:
            raise ValueError("give access_key_id and secret_access_key, or profile, or anonymous=true")
        if self.profile and self.endpoint_url:
            raise ValueError("a profile has its own endpoint_url")
        return self

    @property
    def shown(self) -> str:
        return f"s3://{self.bucket_name}/{self.object_key}"


class DriveConfig(Config):
    """A file or folder by id or link, and the service account it is shared with: its key, or the operator's name for
    one.
    """

    file_id: Annotated[str, Field(max_length=2048)] = ""
    folder_link: Annotated[str, Field(max_length=2048)] = ""
    service_account_file: Annotated[str, Field(max_length=65_536, repr=False), BeforeValidator(_as_text)]

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if bool(self.file_id) == bool(self.folder_link):
            raise ValueError("give file_id or folder_link")
        read_link(self.file_id or self.folder_link)
        return self

    @property
    def shown(self) -> str:
        return f"google-drive:{read_link(self.file_id or self.folder_link).id}"

    def to_seal(self) -> dict[str, Any]:
        link = read_link(self.file_id or self.folder_link)
        return {"id": link.id, "resource_key": link.resource_key, "service_account": self.service_account_file}


CONFIGS: Mapping[str, type[Config]] = {
    "url": UrlConfig,
    "path": PathConfig,
    "s3": S3Config,
    "google_drive": DriveConfig,
}


def read_config(kind: str, values: Mapping[str, Any]) -> Config:
    """Raises pydantic's ValidationError, which names each wrong key; KeyError for an unknown kind."""
    return CONFIGS[kind].model_validate(values)
