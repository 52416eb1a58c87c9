"""What cannot be converted and need not be: a package of the files as they came, linked, listed and digested."""

from __future__ import annotations

from converters.own import put_aside
from converters.volume import Source

FORMAT = "other"
KEPT = "kept as is"


def package(files: tuple[str, ...], why: str) -> Source:
    """Every file under its own name; the note says that nothing was converted, and why."""
    links = tuple((name, put_aside(name)) for name in files)
    return Source(FORMAT, links=links, metadata={"files": len(files), "why": why}, notes=(f"{KEPT}: {why}",))
