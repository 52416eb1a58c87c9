"""`make demo`: a whole stack on loopback, one real sample of each kind through it, each verified against its source."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from cluster import show
from cluster.commands_datasets import send, show_status
from cluster.stack import StackRuns, running
from cluster.state import Places, is_held
from converters.verify import verify
from scray.client import ScrayClient
from scray.errors import ScrayError
from scray.sizes import size_text
from scray.status import ENDS, Status, read_status

SAMPLES = Path(__file__).resolve().parent.parent / "examples" / "data"
DATA = Path(".scray") / "demo"
POLL_SECONDS = 0.2
SETTLE_SECONDS = "1"
KINDS = (
    ("TIFF", "img3d.tif"),
    ("NETCDF", "uwnd_mean.nc"),
    ("HDF5", "tooth.h5"),
    ("4D_NEXUS", "201805_WSe2_arpes.nxs"),
    ("IDX", "cat_rgb"),
)
COLUMNS = ("dataset", "sensor", "shape", "dtype", "levels", "in", "out", "MB/s", "verified", "result", "link")


@dataclass(frozen=True)
class Sample:
    """One dataset of the demonstration."""

    sensor: str
    path: Path
    uuid: str

    @property
    def name(self) -> str:
        return self.path.stem


def main() -> int:
    if is_held(Places(DATA.resolve())):
        raise StackRuns(f"A demonstration runs already on {DATA}.")
    rmtree(DATA, ignore_errors=True)
    os.environ.setdefault("SCRAY_SETTLE_SECONDS", SETTLE_SECONDS)
    began = time.monotonic()
    print(f"starting database, Ray, API and driver on loopback; data in {DATA}", flush=True)
    with running(DATA) as state:
        print(f"ready after {time.monotonic() - began:.0f} s: {state.api} (dashboard {state.dashboard})", flush=True)
        with ScrayClient(state.api, os.environ.get("SCRAY_API_TOKEN")) as client, show.Progress() as progress:
            samples = [upload(client, sensor, SAMPLES / name, progress) for sensor, name in KINDS]
            wait(client, samples, progress)
            rows = [row(client, sample, state.api, progress) for sample in samples]
    print(f"\n{show.table(COLUMNS, rows, show.terminal_columns())}\n")
    good = all("yes" in cells for cells in rows)
    print(f"{len(rows)} datasets in {time.monotonic() - began:.0f} s; everything is stopped again. The results stay in")
    print(f"{DATA / 'converted'}; `make up DATA={DATA}` serves them.")
    return 0 if good else 1


def upload(client: ScrayClient, sensor: str, path: Path, progress: show.Progress) -> Sample:
    """Send one sample through the HTTP API."""
    fields = {"sensor": sensor, "name": path.stem, "user_email": "demo@localhost"}
    return Sample(sensor, path, send(client, [path], fields, progress))


def wait(client: ScrayClient, samples: list[Sample], progress: show.Progress) -> None:
    """Until every dataset has ended, showing where each one is."""
    waiting = list(samples)
    while waiting:
        for sample in list(waiting):
            found = client.status(sample.uuid)
            show_status(progress, sample.name, found)
            if read_status(found["status"]) in ENDS:
                waiting.remove(sample)
        time.sleep(POLL_SECONDS)


def row(client: ScrayClient, sample: Sample, api: str, progress: show.Progress) -> list[str]:
    """The line of the table for one dataset; verifies it."""
    document = client.dataset(sample.uuid)
    if read_status(document["status"]) is not Status.DONE:
        return [sample.name, sample.sensor, document["status"], *[""] * 5, "no", str(document["error_message"]), ""]
    progress.update(sample.name, "verifying")
    result = DATA / "converted" / sample.uuid
    verified = check(result, sample.path)
    progress.update(sample.name, "verified" if verified == "yes" else "WRONG", 100)
    return [*_facts(sample, document["conversion"]), verified, str(result), f"{api}/api/v1/datasets/{sample.uuid}"]


def check(result: Path, source: Path) -> str:
    """Every block of the result, and every sample against its source."""
    problems = verify(result, source)
    for problem in problems:
        print(problem, file=sys.stderr)
    return "no" if problems else "yes"


def _facts(sample: Sample, result: dict[str, Any]) -> list[str]:
    steps = f"{result['steps']} of " if result["steps"] > 1 else ""
    shape = steps + "x".join(map(str, result["shape"]))
    components = result["fields"][0]["components"]
    dtype = result["dtype"] + (f"[{components}]" if components > 1 else "")
    speed = result["bytes_in"] / 1e6 / max(result["seconds"], 1e-3)
    sizes = [size_text(result["bytes_in"]), size_text(result["bytes_out"]), f"{speed:.2f}"]
    return [sample.name, sample.sensor, shape, dtype, str(result["levels"]), *sizes]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ScrayError as error:
        sys.exit(f"{error.message} [{error.code}]")
    except KeyboardInterrupt:
        sys.exit(130)
