"""What a driver holds, without the Ray in which it lives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from pymongo.database import Database
from ray.exceptions import GetTimeoutError

from cluster import driver
from cluster.actor import Driver
from scray.catalog import Catalog
from scray.errors import ScrayError
from scray.log import Action
from tests.integration.test_reaping import desk_in


def test_a_run_whose_dataset_the_driver_claims_again_is_told(
    tmp_path: Path, database: Database[dict[str, Any]]
) -> None:
    """As when the database's clock is set forward: the driver takes back its own datasets, and goes on with them."""
    one = object.__new__(Driver)
    one.desk, one.held, one.owner = desk_in(tmp_path, database), {}, "driver"
    one.desk.queue.add({"uuid": "one", "status": "conversion queued"})
    first = one.desk.queue.claim(one.owner)
    assert first is not None
    (second,) = one.desk.queue.adopt(one.owner)
    one._begin(first, time.monotonic(), Action.CLAIMED)
    before = one.held["one"].conversion
    one._begin(second, time.monotonic(), Action.ADOPTED)
    after = one.held["one"].conversion
    for conversion in (before, after):
        conversion.thread.join(30)
    assert before.order == "lost"
    assert after.order is None


class Enough(Exception):
    """The test has seen what it wanted to."""


def test_the_watchdog_does_not_give_up(
    tmp_path: Path, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that is too busy, or has no place just now, is asked again: nobody else would start the driver."""
    answers: Iterator[str | Exception] = iter(
        ["driver", driver.NoPlaceForDriver(), GetTimeoutError("busy"), ScrayError("it does not start"), Enough()]
    )

    def ensure(_name: str) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def gone(*_: object, **__: object) -> None:
        raise ValueError("there is no such actor")

    monkeypatch.setattr(driver, "ensure", ensure)
    monkeypatch.setattr(ray, "get_actor", gone)
    with pytest.raises(Enough):
        driver.watch("driver", Catalog(database), 0.01)
    assert list(answers) == []
