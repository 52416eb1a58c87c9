"""What a request says of its source, checked before anything is asked. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from scray.storage import safe_relative

Short = Annotated[str, Field(max_length=1024)]


class Config(BaseModel):
    """A source. `shown` names it without anything secret."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    @property
    def shown(self) -> str:
        raise NotImplementedError


def read_url(text: str) -> str:
    """An http or https address with a host; ValueError for others."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("only http:// and https:// addresses can be used")
    return text


def without_secrets(url: str) -> str:
    """The address without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class UrlConfig(Config):
    """`link_only`: nothing is fetched, the address is kept."""

    url: Annotated[str, Field(min_length=1, max_length=8192), AfterValidator(read_url)]
    link_only: bool = False

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


CONFIGS: Mapping[str, type[Config]] = {"url": UrlConfig, "path": PathConfig}


def read_config(kind: str, values: Mapping[str, Any]) -> Config:
    """Raises pydantic's ValidationError, which names each wrong key; KeyError for an unknown kind."""
    return CONFIGS[kind].model_validate(values)
