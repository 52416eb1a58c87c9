"""Clients for S3 and what speaks like it: with the given keys or none, to allowed addresses, never through a proxy.

Nothing of the machine is used: neither its environment, nor files of the user, nor the credentials of an instance.
"""

from __future__ import annotations

import configparser
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ParamValidationError

from scray.errors import (
    RemoteChanged,
    ScrayError,
    SourceDenied,
    SourceNotFound,
    SourceRefused,
    SourceUnreachable,
)
from scray.settings import Settings
from scray.sources.address import Allowed, checked_addresses

CONNECT_SECONDS, READ_SECONDS = 20, 60
CONNECTIONS = 32
REGION = "us-east-1"
NOWHERE = "/dev/null"
# name -> (name in config files, variable of the environment, default, conversion): no variable is obeyed
ALONE = {
    "profile": (None, None, None, None),
    "config_file": (None, None, NOWHERE, None),
    "credentials_file": (None, None, NOWHERE, None),
}
MISSING = frozenset({"404", "NoSuchKey", "NoSuchBucket"})
BUSY = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "429"})


@dataclass(frozen=True)
class Keys:
    """Credentials; without them, requests are anonymous."""

    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    endpoint_url: str = ""
    region: str = ""


def profile(name: str, settings: Settings) -> Keys:
    """The operator's profile of this name; SourceDenied where there is none."""
    parser = configparser.ConfigParser(interpolation=None)
    if settings.s3_profiles:
        parser.read(settings.s3_profiles)
    section = next((one for one in (name, f"profile {name}") if parser.has_section(one)), None)
    if section is None:
        raise SourceDenied(f"There is no S3 profile {name!r}; the operator defines them in SCRAY_S3_PROFILES.")
    found = dict(parser[section])
    return Keys(
        found.get("aws_access_key_id", ""),
        found.get("aws_secret_access_key", ""),
        found.get("aws_session_token", ""),
        found.get("endpoint_url", ""),
        found.get("region", ""),
    )


def s3_client(keys: Keys, settings: Settings, *, trusted: bool = False, summed: bool = False) -> Any:
    """A boto3 client; it tries nothing twice, the retries are ours. `trusted`: the operator chose where it asks.

    `summed`: every body is sent with its MD5, which is signed; a second checksum for the signature is left out.
    """
    endpoint = keys.endpoint_url or settings.s3_endpoint or None
    options: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "proxies": {},
        "max_pool_connections": CONNECTIONS,
        "ignore_configured_endpoint_urls": True,
        "request_checksum_calculation": "when_required",
        "s3": {"addressing_style": "path" if endpoint else "auto", "payload_signing_enabled": not summed},
    }
    if not keys.access_key_id:
        options["signature_version"] = UNSIGNED
    try:
        client: Any = boto3.Session(botocore_session=botocore.session.Session(ALONE)).client(
            "s3",
            endpoint_url=endpoint,
            region_name=keys.region or REGION,
            aws_access_key_id=keys.access_key_id or None,
            aws_secret_access_key=keys.secret_access_key or None,
            aws_session_token=keys.session_token or None,
            config=Config(**options),
        )
    except (BotoCoreError, ValueError) as error:
        raise SourceRefused(f"S3 cannot be asked like this: {error}.") from error
    if not trusted and endpoint != settings.s3_endpoint:  # what the operator has named needs no check
        client._endpoint.http_session._manager.pool_classes_by_scheme = checked_pools(Allowed(settings))
    return client


def checked_pools(allowed: Allowed) -> dict[str, type]:
    """Connection pools that connect to the address they have checked."""

    class Checked:
        _dns_host: str
        port: int

        def _new_conn(self) -> socket.socket:
            name, self._dns_host = self._dns_host, checked_addresses(self._dns_host, self.port, allowed)[0]
            try:
                connection: socket.socket = super()._new_conn()  # type: ignore[misc]
            finally:
                self._dns_host = name  # which the certificate is of
            return connection

    plain = type("CheckedConnection", (Checked, AWSHTTPConnection), {})
    sealed = type("CheckedSealedConnection", (Checked, AWSHTTPSConnection), {})
    return {
        "http": type("CheckedPool", (AWSHTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("CheckedSealedPool", (AWSHTTPSConnectionPool,), {"ConnectionCls": sealed}),
    }


@contextmanager
def translated(what: str) -> Iterator[None]:
    """What boto3 raises about `what` becomes an error of ours."""
    try:
        yield
    except ClientError as error:
        raise meaning(error, what) from error
    except ParamValidationError as error:
        raise SourceRefused(f"{what} cannot be a bucket or an object.") from error
    except HTTPClientError as error:
        inner = error.kwargs.get("error")
        if isinstance(inner, ScrayError):
            raise inner from error
        raise SourceUnreachable(f"{what} could not be reached: {type(error).__name__}.") from error
    except BotoCoreError as error:
        raise SourceUnreachable(f"{what} could not be reached: {type(error).__name__}.") from error


def meaning(error: ClientError, what: str) -> ScrayError:
    """Which of our errors an answer of S3 is."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchUpload":
        return RemoteChanged(f"The upload to {what} was ended by somebody else.")
    if code in MISSING or status == 404:
        return SourceNotFound(f"There is no {what}.")
    if status == 412:
        return RemoteChanged(f"{what} was changed meanwhile.")
    if code == "InvalidObjectState":
        return SourceRefused(f"{what} is archived; restore it first.")
    if code in BUSY or status == 429 or status >= 500:
        return SourceUnreachable(f"{what} could not be read now: {code}.")
    if status in {401, 403}:
        return SourceDenied(f"Access to {what} is refused ({code}): the key is wrong, or has no right to read it.")
    return SourceRefused(f"{what} cannot be read: {code}.")
