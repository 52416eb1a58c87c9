"""The database as scray asks it: how to connect, what it is to write safely, its clock, a question that is asked twice.

Every question may raise DatabaseError.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection as Rows
from pymongo.database import Database
from pymongo.errors import AutoReconnect, PyMongoError, ServerSelectionTimeoutError

from scray.errors import BadParameter, DatabaseError

DATASETS = "visstoredatas"
UPLOADS = "uploads"
DRIVERS = "drivers"
RUNS = "runs"
COUNTERS = "counters"
SAFE = WriteConcern("majority", j=True)
RECONNECTS = 3

Document = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")


def connect(url: str, database: str) -> Database[Document]:
    """The database at a `mongodb://` URL. Nothing is sent before the first question; times come aware, in UTC.

    Raises BadParameter for what is no such URL.
    """
    try:
        client: MongoClient[Document] = MongoClient(url, tz_aware=True, appname="scray", serverSelectionTimeoutMS=5000)
        return client[database]
    except (PyMongoError, ValueError) as error:
        raise BadParameter(f"MONGO_URL and DB_NAME name no database: {error}.") from error


def steady(ask: Callable[P, R]) -> Callable[P, R]:
    """A question that is asked again when the connection breaks; DatabaseError when that does not help."""

    @functools.wraps(ask)
    def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        for left in range(RECONNECTS, -1, -1):
            try:
                return ask(*args, **kwargs)
            except PyMongoError as error:
                broken = isinstance(error, AutoReconnect) and not isinstance(error, ServerSelectionTimeoutError)
                if not (broken and left):
                    raise DatabaseError(f"The database could not be reached: {_reason(error)}") from error
        raise AssertionError("unreachable")

    return asked


def _reason(error: PyMongoError) -> str:
    """What happened, without how long was waited for what and the state of all servers."""
    return re.sub(r" \(configured timeouts:[^)]*\)", "", str(error).partition(", Timeout: ")[0])


def server_time(database: Database[Document]) -> datetime:
    """The server's clock, aware, UTC, so that several processes agree on it."""
    return aware(database.client.admin.command("hello")["localTime"])


def aware(time: datetime) -> datetime:
    """The same moment in UTC; a time without a zone is taken as UTC, as the database means it."""
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def safe_rows(database: Database[Document], name: str) -> Rows[Document]:
    """A collection whose writes are acknowledged when a majority has them in its journal."""
    return database.get_collection(name, write_concern=SAFE)
