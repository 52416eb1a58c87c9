"""What operators ask of drivers: to drain, and to go on. It stands beside their heartbeats, and outlives them."""

from __future__ import annotations

from collections.abc import Collection

from pymongo.database import Database

from scray.database import DRIVERS, SAFE, Document, steady

DRAIN = "drain"


class Orders:
    """*An order that was given is obeyed by the driver of that name, also by one that is started later.*"""

    def __init__(self, database: Database[Document]) -> None:
        self._drivers = database[DRIVERS].with_options(write_concern=SAFE)

    @steady
    def drain(self, names: Collection[str]) -> None:
        """These drivers shall give back all they hold and claim nothing more."""
        self._drivers.update_many({"_id": {"$in": list(names)}}, {"$set": {DRAIN: True}})

    @steady
    def resume(self, names: Collection[str]) -> None:
        """These drivers may claim again."""
        self._drivers.update_many({"_id": {"$in": list(names)}}, {"$set": {DRAIN: False}})

    @steady
    def drained(self, name: str) -> bool:
        """Whether this driver is to hold nothing; a driver nobody has heard of may work."""
        return self._drivers.find_one({"_id": name, DRAIN: True}, {"_id": 1}) is not None
