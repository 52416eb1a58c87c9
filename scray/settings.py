"""All configuration: from the environment, then from the file SCRAY_ENV_FILE, then the defaults here.

`docs/settings.md` is made from it.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from scray.errors import BadParameter
from scray.limits import time_limits
from scray.sizes import UNITS, read_size
from scray.storage import Storage

log = logging.getLogger(__name__)

ENV_FILE: Final = "SCRAY_ENV_FILE"
# set by the local stack for its own processes
INTERNAL: Final = frozenset({ENV_FILE, "SCRAY_STACK_ID", "SCRAY_API_PORT_FILE", "SCRAY_FAULTS"})


def _size(value: object) -> int:
    try:
        return read_size(value)
    except BadParameter as error:
        raise ValueError(error.message) from error


def _list(value: object) -> object:
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_list)]
Folder = Annotated[Path | None, BeforeValidator(lambda value: value or None)]


def _setting(name: str, default: Any, doc: str, **more: Any) -> Any:
    return Field(default, validation_alias=name, description=doc, **more)


class Settings(BaseSettings):
    """What an operator can choose. Sizes are read like 64MiB, lists are separated by commas."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    mongo_url: str = _setting(
        "MONGO_URL", "", "URL of MongoDB; empty: the local stack starts its own database", repr=False
    )
    db_name: str = _setting("DB_NAME", "scientistcloud", "name of the database", min_length=1)
    visus_datasets: Path = _setting(
        "VISUS_DATASETS", Path("/mnt/visus_datasets"), "folder of all data, the same path on every node"
    )
    upload_folder: Folder = _setting(
        "JOB_IN_DATA_DIR", None, "folder of the uploads; empty: `upload` in VISUS_DATASETS"
    )
    converted_folder: Folder = _setting(
        "JOB_OUT_DATA_DIR", None, "folder of the results and their staging; empty: `converted` in VISUS_DATASETS"
    )
    sync_folder: Folder = _setting(
        "JOB_SYNC_DATA_DIR", None, "folder of remote sources; empty: `sync` in VISUS_DATASETS"
    )
    auth_folder: Folder = _setting(
        "JOB_AUTH_DATA_DIR", None, "folder of sealed credentials; empty: `auth` in VISUS_DATASETS"
    )
    memmap_folder: Folder = _setting(
        "MEMMAP_CACHE_DIR", None, "folder of the memory maps of 4-D dashboards; empty: beside each file in its upload"
    )
    temp_folder: Folder = _setting("VISUS_TEMP", None, "folder of temporary files; empty: `tmp` in VISUS_DATASETS")
    log_folder: Folder = _setting(
        "SCRAY_LOG_FOLDER", None, "folder of the logs of runs; empty: `logs` in VISUS_DATASETS"
    )
    secret_key: str = _setting("SECRET_KEY", "", "key that seals stored credentials", repr=False)
    deploy_server: str = _setting("DEPLOY_SERVER", "", "address under which users reach the service")

    lease_seconds: float = _setting(
        "SCRAY_LEASE_SECONDS", 60.0, "how long a silent driver keeps its datasets", ge=1, le=86_400
    )
    settle_seconds: float = _setting(
        "SCRAY_SETTLE_SECONDS", 10.0, "wait for further files of a dataset before converting it", ge=0, le=86_400
    )
    poll_seconds: float = _setting(
        "SCRAY_POLL_SECONDS", 0.5, "how often the driver looks into the queue", gt=0, le=3600
    )
    grace_seconds: float = _setting("SCRAY_GRACE_SECONDS", 600.0, "how long replaced data stay for their readers", ge=0)
    task_memory_bytes: Size = _setting("SCRAY_TASK_MEMORY", 2**30, "memory of one task, as a size", ge=2**25)
    workers: int = _setting("SCRAY_WORKERS", 0, "tasks at a time; 0: one for every CPU", ge=0)
    time_limits: Words = _setting(
        "SCRAY_TIME_LIMITS", (), "changes to the [time limits](limits.md) of tasks, like perform=7200,seal=600"
    )
    silence_seconds: float = _setting(
        "SCRAY_SILENCE_SECONDS",
        120.0,
        "how long the worker of a task may give no sign of life until another one does it",
        ge=1,
    )
    profile: Literal["local", "cloud"] = _setting(
        "SCRAY_PROFILE", "local", "layout of results: `local` (block files) or `cloud` (one object a block)"
    )
    codec: Literal["zip", "small", "fast", "raw"] = _setting("SCRAY_CODEC", "zip", "compression of new datasets")
    sandbox: Literal["auto", "required", "off"] = _setting(
        "SCRAY_SANDBOX",
        "auto",
        "how processes that read uploads are sealed off: `auto` as far as the kernel can, `required` refuses to work "
        "where it cannot, `off` bounds their memory alone",
    )
    max_bytes: Size = _setting("SCRAY_MAX_BYTES", 10 * 2**40, "largest file that is accepted, as a size", ge=1)
    whole_hash_max_bytes: Size = _setting(
        "SCRAY_WHOLE_HASH_MAX", 2**40, "largest file whose own SHA-256 is checked besides its chunks', as a size"
    )
    session_seconds: float = _setting(
        "SCRAY_SESSION_SECONDS", 604_800.0, "how long an unfinished upload is kept without a byte", ge=1
    )
    quota_bytes: Size = _setting("SCRAY_QUOTA_BYTES", 0, "how much a user may store, as a size; 0: no limit")
    quota_uploads: int = _setting(
        "SCRAY_QUOTA_UPLOADS", 0, "how many files a user may send at a time; 0: no limit", ge=0
    )

    api_host: str = _setting("SCRAY_API_HOST", "127.0.0.1", "address the API listens on")
    api_port: int = _setting("SCRAY_API_PORT", 8000, "port the API listens on; 0: any free one", ge=0, le=65_535)
    api_token: str = _setting(
        "SCRAY_API_TOKEN", "", "bearer token of the API, needed where it listens beyond loopback", repr=False
    )
    allowed_hosts: Words = _setting("SCRAY_ALLOWED_HOSTS", (), "further names this service may be called by")
    cors_origins: Words = _setting("SCRAY_CORS_ORIGINS", (), "web pages of other origins that may use the API")

    import_roots: Words = _setting(
        "SCRAY_IMPORT_ROOTS", (), "folders of this system that may be imported from; empty: none"
    )
    allowed_addresses: Words = _setting(
        "SCRAY_ALLOWED_ADDRESSES", (), "addresses and networks that imports may ask although they are not public"
    )
    import_seconds: float = _setting("SCRAY_IMPORT_SECONDS", 604_800.0, "longest time that one import may take", ge=1)
    s3_endpoint: str = _setting("SCRAY_S3_ENDPOINT", "", "S3 service of requests that name none; empty: Amazon's")
    s3_profiles: Folder = _setting(
        "SCRAY_S3_PROFILES", None, "file of named S3 profiles (as of `aws configure`); empty: none"
    )
    publish_url: str = _setting(
        "SCRAY_PUBLISH_URL", "", "bucket that results are copied to, like s3://bucket/prefix; empty: none"
    )
    publish_profile: str = _setting("SCRAY_PUBLISH_PROFILE", "publish", "S3 profile with which results are copied")
    drive_endpoint: str = _setting(
        "SCRAY_DRIVE_ENDPOINT", "https://www.googleapis.com/drive/v3", "address of the Google Drive API"
    )

    def storage(self) -> Storage:
        """The folders; they are made by `Storage.create`."""
        root = self.visus_datasets
        return Storage(
            upload=self.upload_folder or root / "upload",
            converted=self.converted_folder or root / "converted",
            sync=self.sync_folder or root / "sync",
            auth=self.auth_folder or root / "auth",
            tmp=self.temp_folder or root / "tmp",
            logs=self.log_folder or root / "logs",
        )


def load_settings() -> Settings:
    """The settings of this process. Raises BadParameter naming the variable; warns of unknown SCRAY_* names."""
    file = os.environ.get(ENV_FILE) or None
    if file and not Path(file).is_file():
        raise BadParameter(f"{ENV_FILE} names {file}, which is not there.")
    _warn_unknown([*os.environ, *(_names_in(Path(file)) if file else ())])
    try:
        found = Settings(_env_file=file)  # type: ignore[call-arg]
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, one['loc']))}: {_reason(one['msg'])}" for one in error.errors())
        raise BadParameter(f"A setting has an impossible value: {reasons}.") from error
    time_limits(found.time_limits)
    return found


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ").rstrip(".")


def describe() -> list[tuple[str, str, str, str]]:
    """(name of the variable, kind, default, what it is) of every setting."""
    return [
        (str(field.validation_alias), _kind(field), _shown(field), str(field.description))
        for field in Settings.model_fields.values()
    ]


def table() -> str:
    """The table of settings for the documentation, in Markdown."""
    rows = [f"| `{name}` | {kind} | {default} | {doc} |" for name, kind, default, doc in describe()]
    return "\n".join(["| variable | kind | default | what it is |", "|---|---|---|---|", *rows, ""])


def _kind(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return " or ".join(f"`{word}`" for word in get_args(field.annotation))
    if any(getattr(mark, "func", None) is _size for mark in field.metadata):
        return "size"
    names: dict[Any, str] = {str: "text", int: "whole number", float: "number", tuple[str, ...]: "list"}
    return names.get(field.annotation, "folder")


def _shown(field: FieldInfo) -> str:
    if _kind(field) == "size":
        unit = next(unit for unit in ("TiB", "GiB", "MiB", "B") if field.default % UNITS[unit.upper()] == 0)
        return f"`{field.default // UNITS[unit.upper()]}{unit}`"
    return "" if field.default in (None, "", ()) else f"`{field.default}`"


def _names_in(file: Path) -> list[str]:
    return re.findall(r"(?m)^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=", file.read_text())


def _warn_unknown(names: Iterable[str]) -> None:
    known = {name for name, *_ in describe()} | INTERNAL
    for name in sorted({name for name in names if name.startswith("SCRAY_")} - known):
        near = difflib.get_close_matches(name, known, 1)
        log.warning("%s is not a setting of scray%s", name, f"; is {near[0]} meant?" if near else "")
