"""The line to the database breaks at the n-th question of an upload, for every n: it has arrived and is right, or it
was refused and has left nothing; the next one arrives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from tests.api_server import Api, serving, until
from tests.proxy import Proxy

CONTENT = b"pixels" * 1000
LEAST, MOST = 8, 200


@pytest.mark.parametrize("late", [False, True], ids=["before it arrives", "before it is answered"])
@pytest.mark.parametrize("length", [1, 4], ids=["once", "again and again"])
def test_whichever_question_breaks_an_upload_has_arrived_or_left_nothing(
    mongo_url: str, database: Database[dict[str, Any]], tmp_path: Path, late: bool, length: int
) -> None:
    host, _, rest = mongo_url.removeprefix("mongodb://").partition("/")
    port = int(host.rpartition(":")[2])
    with Proxy(port) as proxy:
        url = f"mongodb://{proxy.url.removeprefix('http://')}/{rest}&directConnection=true"
        with serving(url, database, tmp_path, SCRAY_LEASE_SECONDS="3") as api:
            proxy.breaks_late = late
            broken, accepted, refused = 0, set[str](), set[str]()
            for number in range(1, MOST, length):
                proxy.asked, proxy.breaks = 0, range(number, number + length)
                reply = api.send(CONTENT, dataset_name=f"d{number}")
                over, proxy.breaks = proxy.asked < number, range(0)
                broken += not over
                if reply.status_code != 200:
                    assert (reply.status_code, reply.json()["code"]) == (503, "database")
                accepted.add(f"d{number}") if reply.status_code == 200 else refused.add(f"d{number}")
                if over:
                    break
            until(lambda: ended(api, refused), what="the end of what was refused")
            files, rows = api.files(), api.rows()
    assert LEAST <= broken * length < MOST - length
    stored = {row["name"]: files.get(f"{row['uuid']}/x.tif") for row in rows}
    assert {name: content for name, content in stored.items() if content} == dict.fromkeys(accepted, CONTENT)
    assert len([name for name in files if not name.startswith(".")]) == len(accepted)


def ended(api: Api, names: set[str]) -> bool:
    """Nothing of them is open any more, by its own server or the lease."""
    rows = [row for row in api.rows() if row["name"] in names]
    return all(row["status"] == "upload error" and not row["open_uploads"] for row in rows)
