"""What a driver holds, without the Ray in which it lives."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pymongo.database import Database

from cluster.actor import Driver
from scray.log import Action
from tests.integration.test_reaping import desk_in


def test_a_run_whose_dataset_the_driver_claims_again_is_told(
    tmp_path: Path, database: Database[dict[str, Any]]
) -> None:
    """As when the database's clock is set forward: the driver takes back its own datasets, and goes on with them."""
    driver = object.__new__(Driver)
    driver.desk, driver.held, driver.owner = desk_in(tmp_path, database), {}, "driver"
    driver.desk.queue.add({"uuid": "one", "status": "conversion queued"})
    first = driver.desk.queue.claim(driver.owner)
    assert first is not None
    driver._begin(first, time.monotonic(), Action.CLAIMED)
    before = driver.held["one"].conversion
    for again in driver.desk.queue.adopt(driver.owner):
        driver._begin(again, time.monotonic(), Action.ADOPTED)
    after = driver.held["one"].conversion
    for conversion in (before, after):
        conversion.thread.join(30)
    assert before.order == "lost"
    assert after.order is None
