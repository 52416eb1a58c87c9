"""The `visstoredatas` document, read as a typed record: every spelling ever written is understood.

Reading changes nothing in the database; fields unknown here stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from scray.status import Status, read_status

HIGH, NORMAL, LOW = 1, 2, 3
OWNERS = ("user", "user_id", "user_email")


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _flag(value: Any) -> bool:
    return value.strip().lower() in {"true", "yes", "on", "1"} if isinstance(value, str) else bool(value)


def _whole(value: Any) -> int:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0


def _seconds(value: Any) -> float:
    try:
        return max(float(value), 0.0)
    except (TypeError, ValueError):
        return 0.0


def read_priority(value: Any) -> int:
    """1 to 3; what says nothing is in the middle."""
    return min(max(_whole(value), HIGH), LOW) if value is not None else NORMAL


def read_moment(value: Any) -> datetime | None:
    """Stored times are UTC, with or without saying so."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def read_owner(document: Mapping[str, Any]) -> str:
    """The first of the spellings that says something."""
    return next((_text(document[key]) for key in OWNERS if document.get(key)), "")


def _words(value: Any) -> tuple[str, ...]:
    """Tags came as "a,b" and as a list; old uploads stored the string letter by letter ("a,b" -> ["a", ",",
    "b"]).
    """
    if isinstance(value, str):
        value = value.split(",")
    elif not isinstance(value, Iterable):
        return ()
    words = [str(word) for word in value]
    if "," in words and all(len(word) <= 1 for word in words):
        words = "".join(words).split(",")
    return tuple(word.strip() for word in words if word.strip())


def _record(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _names(value: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in value) if isinstance(value, list | tuple) else ()


Text = Annotated[str, BeforeValidator(_text)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Whole = Annotated[int, BeforeValidator(_whole)]
Moment = Annotated[datetime | None, BeforeValidator(read_moment)]
Record = Annotated[dict[str, Any], BeforeValidator(_record)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


class Lease(BaseModel):
    """Who works on the dataset, the fence that proves it, and until when, by the database server's clock."""

    model_config = ConfigDict(frozen=True)

    owner: str
    token: str
    expires_at: Annotated[datetime, BeforeValidator(read_moment)]


class Progress(BaseModel):
    """How far the present stage is. `percent` is 0 to 100; `eta_seconds` is None where nobody can tell."""

    model_config = ConfigDict(frozen=True)

    stage: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    percent: float = 0.0
    speed_bytes_per_second: float = 0.0
    eta_seconds: float | None = None
    current_file: str = ""


def _lease(value: Any) -> Any:
    whole = isinstance(value, Mapping) and isinstance(value.get("owner"), str)
    return value if whole and isinstance(value.get("token"), str) and read_moment(value.get("expires_at")) else None


def _progress(value: Any) -> Progress:
    try:
        return Progress.model_validate(value)
    except ValueError:
        return Progress()


class Dataset(BaseModel):
    """One dataset. Times are aware, in UTC; absent values are empty, not None, where a type has an empty
    value.

    `status_text` is the string in the database, `status` what it means. `attempt` counts the claims that
    failed without any progress, `losses` those whose owner vanished. `open_uploads` holds the ids of the
    uploads that have not ended; `settle_seconds` is how long the claim waits after the last of them.
    `advanced` tells whether the present claim has made any progress.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    uuid: Text
    name: Text = ""
    slug: Text = ""
    id: Whole = 0
    user: Text = ""
    sensor: Text = ""
    convert: Flag = True
    is_public: Flag = False
    is_public_downloadable: Flag = False
    folder_uuid: Text = ""
    team_uuid: Text = ""
    tags: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    source_type: Text = ""
    source_path: Text = ""
    total_size_bytes: Whole = 0
    conversion_parameters: Record = {}
    job_id: Text = ""
    created_at: Moment = None
    updated_at: Moment = None
    completed_at: Moment = None

    status_text: Text = ""
    status: Status = Status.SUBMITTED
    priority: Annotated[int, BeforeValidator(read_priority)] = NORMAL
    queued_at: Moment = None
    not_before: Moment = None
    attempt: Whole = 0
    losses: Whole = 0
    lease: Annotated[Lease | None, BeforeValidator(_lease)] = None
    requeue: Flag = False
    cancel: Flag = False
    publishing: Text = ""
    progress: Annotated[Progress, BeforeValidator(_progress)] = Progress()
    error_code: Text = ""
    error_message: Text = ""
    open_uploads: Names = ()
    failed_upload: Record = {}
    needs_check: Flag = False
    settle_seconds: Annotated[float, BeforeValidator(_seconds)] = 0.0
    advanced: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Owner and status have several legacy spellings; the first owner that says something counts."""
        text = values.get("status", "")
        return {**values, "user": read_owner(values), "status_text": text, "status": read_status(text)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """A document as the database returns it."""
        return cls.model_validate(document)

    @property
    def running(self) -> bool:
        """Whether somebody holds it."""
        return self.lease is not None
