"""The names that a result writes itself, and where files of the input go that have one of them."""

from __future__ import annotations

METADATA, PREVIEW, MANIFEST, RUN = "metadata.json", "preview.png", "manifest.json", "run.json"
OWN = frozenset({METADATA, PREVIEW, MANIFEST, RUN})
ASIDE = "original"


def put_aside(name: str) -> str:
    """The place of an input file in the result: its own, or below `original/` where the result has such a file."""
    return f"{ASIDE}/{name}" if is_taken(name) else name


def is_taken(name: str) -> bool:
    """Whether a path begins with a name that is the result's own."""
    return name.split("/")[0] in OWN | {ASIDE}
