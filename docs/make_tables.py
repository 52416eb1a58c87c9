"""Write the tables of the documentation from the code: `python docs/make_tables.py`."""

from __future__ import annotations

from pathlib import Path

from api import reference
from api.problems import STATUS_OF
from scray import limits, log, metrics, parameters, settings, status
from scray.errors import every_error

HERE = Path(__file__).parent
ROUTES = """A running service shows the same, with every field, at `/docs`. Errors are `application/problem+json` with
`code` and `detail`; the codes are in [errors.md](errors.md). With `SCRAY_API_TOKEN` set, all routes but `/health`,
`/healthz` and `/readyz` need `Authorization: Bearer <token>`. Fields marked * are required.
"""
LIMITS = """How long one task of each kind may run on its worker. One that takes longer is ended with every process that
it started, and its dataset fails with the code `timed-out`. Apart from that, a sealed child that says nothing for a
minute is ended and tried once more, and a worker that stands still for `SCRAY_SILENCE_SECONDS` counts as dead.
`SCRAY_TIME_LIMITS=perform=7200,seal=600` changes single lines.
"""
LOGS = """API, driver and workers write one line of JSON an event to stderr. What happens in one run of a dataset (one
claim of a driver on it) also stands in `logs/<uuid>/<run>.jsonl` beside the data (`SCRAY_LOG_FOLDER`), at most 1 MiB
each, the last 20 runs of each dataset, and for 30 days those of a deleted one: `scray logs UUID`,
`GET /api/v1/datasets/{uuid}/logs`. Users and passwords in
addresses, their queries and bearer tokens are left out.
"""
PARAMETERS = """What a conversion is to do with the data. The same names and values everywhere:

- upload forms: the field `conversion_parameters`, a JSON object as text; JSON bodies: the same, an object;
- the database: the field `conversion_parameters` of the dataset's document;
- the command line: `--param NAME=VALUE`, repeatable, of `scray upload`, `scray convert` and `scray info`, which shows
  what would come out. A value that is JSON is taken as that: `--param dataset='["/a", "/b"]'`;
- Python: `client.upload(…, parameters={…})`.

A dataset that has ended is converted again with others: `scray retry UUID --param …`, `client.convert(uuid, {…})`, or
`POST /api/v1/datasets/{id}/convert` with `{"conversion_parameters": {…}}`.

What is said is done or refused, and no detection overrides it. An unknown name is refused with the list of the known
ones, a value of another kind with an example, and what does not fit the data with the axes of the array: HTTP 422, exit
code 2, or `conversion failed` with the code `bad-parameter`. A parameter that the sensor does not heed changes nothing,
and a note says so. `null` and an empty text are as good as nothing. `manifest.json` keeps what was asked for.

`axes`, `time` and `fill` have [a page of their own](axes.md).
"""
MEASURED = """`GET /metrics` of any API process, in the text format of Prometheus (with `SCRAY_API_TOKEN`, Prometheus
has to send it). Every API process tells the same of queue and drivers, as the database has it, so one of them is enough
for those; what it received is its own. What a driver counts comes with its heartbeats, three times a lease, and begins
anew with its process. Drivers and workers tell the same through Ray's exporter (`ray start --metrics-export-port`),
where each name begins with `ray_`. `cluster/grafana/scray.json` is a dashboard for the former.
"""


def errors() -> str:
    """The table of errors, in Markdown."""
    rows = ["| code | HTTP | tried again | meaning |", "|---|---|---|---|"]
    for kind in (kind for kind in every_error() if kind.__module__.startswith("scray.errors.")):
        meaning, again = " ".join((kind.__doc__ or "").split()), "yes" if kind.transient else "no"
        rows.append(f"| `{kind.code}` | {int(STATUS_OF[kind.code])} | {again} | {meaning} |")
    return "\n".join([*rows, ""])


def pages() -> dict[Path, str]:
    """File -> text of every page that is made."""
    return {
        HERE / "statuses.md": f"# Statuses of a dataset\n\nMade from `scray/status.py`.\n\n{status.table()}",
        HERE / "settings.md": f"# Settings\n\nMade from `scray/settings.py`.\n\n{settings.table()}",
        HERE / "errors.md": f"# Errors\n\nMade from `scray/errors/`.\n\n{errors()}",
        HERE / "limits.md": f"# Time limits\n\nMade from `scray/limits.py`.\n\n{LIMITS}\n{limits.table()}",
        HERE / "logs.md": f"# Logs\n\nMade from `scray/log.py`.\n\n{LOGS}\n{log.table()}",
        HERE / "parameters.md": f"# Conversion parameters\n\nMade from `scray/parameters.py`.\n\n{PARAMETERS}"
        f"\n{parameters.table()}",
        HERE / "metrics.md": f"# Metrics\n\nMade from `scray/metrics.py`.\n\n{MEASURED}\n{metrics.table()}",
        HERE / "routes.md": f"# Routes\n\nMade from `api/`.\n\n{ROUTES}\n{reference.table()}",
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
