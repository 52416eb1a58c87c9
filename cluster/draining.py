"""Drivers are told, through the database, to give back what they hold, or to go on; nothing here needs Ray."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.environment import settings_at
from scray.catalog import Catalog
from scray.database import connect
from scray.errors import BadParameter, NotFound, TimedOut
from scray.orders import Orders

LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Office:
    """Where drivers are found and told."""

    catalog: Catalog
    orders: Orders

    def drivers(self, name: str = "") -> list[str]:
        """The names of the living drivers, or of the one that is meant; NotFound where there is none."""
        found = self.catalog.drivers()
        names = [one["name"] for one in found if (name in (one["name"], "") and (name or one["alive"]))]
        if not names:
            known = ", ".join(one["name"] for one in found) or "none at all"
            raise NotFound(f"There is no driver {name}; there is {known}." if name else "No driver is alive.")
        return names

    def holding(self, names: Collection[str]) -> list[str]:
        """The UUIDs of what these drivers still hold."""
        found, _ = self.catalog.datasets({"lease.owner": {"$in": list(names)}}, limit=100)
        return [document["uuid"] for document in found]

    def working(self, names: Collection[str]) -> list[str]:
        """Those of the drivers that live and have not said yet that they rest: they may still claim."""
        living = [one for one in self.catalog.drivers() if one["alive"] and one["name"] in names]
        return [one["name"] for one in living if not one.get("resting")]


@contextmanager
def office(data: Path) -> Iterator[Office]:
    """The database of the stack that runs on a data folder, or that of the settings."""
    settings = settings_at(data)
    if not settings.mongo_url:
        raise BadParameter(f"No stack runs on {data}, and MONGO_URL is not set: say where the database is.")
    database = connect(settings.mongo_url, settings.db_name)
    with database.client:
        yield Office(Catalog(database), Orders(database))


def drain(at: Office, names: Collection[str], seconds: float) -> None:
    """Tell drivers to rest and wait until they do and hold nothing. Raises TimedOut, naming what is missing."""
    at.orders.drain(names)
    end = time.monotonic() + seconds
    while held := at.working(names) + at.holding(names):
        if time.monotonic() > end:
            raise TimedOut(
                f"Not at rest after {seconds:g} seconds: {', '.join(held)}. What is held is given back when it can be."
            )
        time.sleep(LOOK_SECONDS)
