"""Write the tables of the documentation from the code: `python docs/make_tables.py`."""

from __future__ import annotations

from pathlib import Path

from api import reference
from api.problems import STATUS_OF
from scray import settings, status
from scray.errors import every_error

HERE = Path(__file__).parent
ROUTES = """A running service shows the same, with every field, at `/docs`. Errors are `application/problem+json` with
`code` and `detail`; the codes are in [errors.md](errors.md). With `SCRAY_API_TOKEN` set, all routes but `/health`,
`/healthz` and `/readyz` need `Authorization: Bearer <token>`. Fields marked * are required.
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
        HERE / "routes.md": f"# Routes\n\nMade from `api/`.\n\n{ROUTES}\n{reference.table()}",
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
