"""What happens, as one line of JSON an event, with a closed set of names and fields.

`event` tells of something, anywhere; only the programs (`python -m api`, the driver, its workers) say with `configure`
where it goes: to stderr. What a library logs by its own means becomes a `note`. `docs/logs.md` is made from here.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypedDict, Unpack

MESSAGE_LIMIT, TRACE_LIMIT = 2000, 8000
OURS: Final = ("scray", "cluster", "api", "converters")
CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
QUERY = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s?#'\"]*)\?[^\s'\"]*")
BEARER = re.compile(r"(?i)\b(bearer\s+)\S+")
log = logging.getLogger(__name__)


class Action(StrEnum):
    """Everything that is ever told of."""

    API_STARTED = "api-started"
    UPLOAD_STORED = "upload-stored"
    UPLOAD_FAILED = "upload-failed"
    REQUEST_FAILED = "request-failed"
    DRIVER_STARTED = "driver-started"
    DRIVER_REPLACED = "driver-replaced"
    DRIVER_RESTARTED = "driver-restarted"
    DRIVER_RESTED = "driver-rested"
    DRIVER_RESUMED = "driver-resumed"
    DATABASE_AWAY = "database-away"
    CLAIMED = "claimed"
    ADOPTED = "adopted"
    STAGE_BEGUN = "stage-begun"
    TASK_DONE = "task-done"
    TASK_DIED = "task-died"
    CONVERTED = "converted"
    IMPORTED = "imported"
    CHECKED = "checked"
    RETRIED = "retried"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GIVEN_BACK = "given-back"
    LOST = "lost"
    EXPIRED = "expired"
    REAPED = "reaped"
    NOTE = "note"


MEANINGS: Final[Mapping[Action, str]] = {
    Action.API_STARTED: "an API process serves",
    Action.UPLOAD_STORED: "a file has arrived and has its place",
    Action.UPLOAD_FAILED: "an upload ended without a file",
    Action.REQUEST_FAILED: "a request could not be served for a reason of ours",
    Action.DRIVER_STARTED: "a driver begins to work",
    Action.DRIVER_REPLACED: "a driver of other code is replaced",
    Action.DRIVER_RESTARTED: "a driver without a heartbeat is started anew",
    Action.DRIVER_RESTED: "a driver was told to drain",
    Action.DRIVER_RESUMED: "a drained driver may work again",
    Action.DATABASE_AWAY: "the database did not answer; what needs it waits",
    Action.CLAIMED: "a driver took a dataset from the queue",
    Action.ADOPTED: "a restarted driver goes on with what it held",
    Action.STAGE_BEGUN: "a run comes to another stage",
    Action.TASK_DONE: "one task of a run is done",
    Action.TASK_DIED: "a task lost its worker, its reader or its node for the `count`-th time, and is tried again",
    Action.CONVERTED: "the result is published",
    Action.IMPORTED: "the files of a remote source have come",
    Action.CHECKED: "files that came in chunks were read back",
    Action.RETRIED: "a run failed, and the dataset waits for another one",
    Action.FAILED: "a run failed, for good",
    Action.CANCELLED: "a run was stopped by its user",
    Action.GIVEN_BACK: "a run was stopped by a drain; nothing is held against the dataset",
    Action.LOST: "a run was stopped because its lease was over",
    Action.EXPIRED: "a dataset was taken back from a driver that was silent",
    Action.REAPED: "data that a newer result had replaced were removed",
    Action.NOTE: "anything else that is worth a line",
}


class Facts(TypedDict, total=False):
    """What an event may carry. `seconds` and `bytes` are those of what is told of, `code` is an error's."""

    dataset: str
    run: str
    stage: str
    task: str
    driver: str
    attempt: int
    seconds: float
    bytes: int
    count: int
    code: str


FIELDS: Final[Mapping[str, str]] = {
    "time": "when, ISO 8601 in UTC",
    "level": "`info`, `warning` or `error`",
    "action": "what, one of the names above",
    "message": "a sentence for people; may be missing",
    "dataset": "UUID of the dataset",
    "run": "one claim of a driver on it",
    "stage": "where in a run",
    "task": "which task of a plan",
    "driver": "name of the driver",
    "attempt": "claims before this one that ended without progress",
    "seconds": "how long it took",
    "bytes": "how much was read or received",
    "count": "how many",
    "code": "code of the error ([errors](errors.md))",
    "logger": "of a note: the part of the program",
    "trace": "where an unforeseen error came from",
}


def event(action: Action, message: str = "", *, level: int = logging.INFO, **facts: Unpack[Facts]) -> None:
    """Tell that something happened."""
    log.log(level, message, extra={"scray_action": action, "scray_facts": facts})


def line(action: Action, message: str = "", *, level: int = logging.INFO, at: float | None = None, **facts: Any) -> str:
    """One event as JSON, without a line end; what looks like a secret is left out. `at` is in seconds of the epoch."""
    moment = datetime.fromtimestamp(at, UTC) if at is not None else datetime.now(UTC)
    head = {
        "time": moment.isoformat(timespec="milliseconds"),
        "level": logging.getLevelName(level).lower(),
        "action": action.value,
    }
    said = {"message": without_secrets(message)[:MESSAGE_LIMIT]} if message else {}
    rest = {name: without_secrets(value) if isinstance(value, str) else value for name, value in facts.items()}
    return json.dumps({**head, **said, **rest}, allow_nan=False, default=str)


def without_secrets(text: str) -> str:
    """A text without the users and passwords, queries and tokens of the addresses in it."""
    return BEARER.sub(r"\1***", QUERY.sub(r"\1?***", CREDENTIALS.sub("***@", text)))


class Lines(logging.Formatter):
    """Every record of Python's logging as such a line."""

    def format(self, record: logging.LogRecord) -> str:
        action = getattr(record, "scray_action", Action.NOTE)
        facts: dict[str, Any] = dict(getattr(record, "scray_facts", {}))
        if action is Action.NOTE:
            facts["logger"] = record.name
        if record.exc_info:
            facts["trace"] = self.formatException(record.exc_info)[-TRACE_LIMIT:]
        return line(action, record.getMessage(), level=record.levelno, at=record.created, **facts)


def configure() -> None:
    """For programs: events to stderr from here on; of other people's libraries only what is wrong. Again, harmless."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)


def table() -> str:
    """The tables of actions and fields for the documentation, in Markdown."""
    actions = [f"| `{action.value}` | {MEANINGS[action]} |" for action in Action]
    fields = [f"| `{name}` | {meaning} |" for name, meaning in FIELDS.items()]
    return "\n".join(["| action | what happened |", "|---|---|", *actions, "", "| field | |", "|---|---|", *fields, ""])
