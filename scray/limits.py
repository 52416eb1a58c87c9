"""How long each kind of task may take at most: one table, which SCRAY_TIME_LIMITS changes. `docs/limits.md` is made
from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from scray.errors import BadParameter

HOUR: Final = 3600.0
SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "hash": 24 * HOUR,
        "unpack": 24 * HOUR,
        "prepare": HOUR,
        "perform": 4 * HOUR,
        "seal": 4 * HOUR,
        "begin": HOUR,
        "fetch": 24 * HOUR,
        "check": 4 * HOUR,
        "send": 24 * HOUR,
    }
)
MEANINGS: Final[Mapping[str, str]] = {
    "hash": "digests of a part of the inputs, or of one whole file",
    "unpack": "unpacking the archives of a dataset",
    "prepare": "probing and planning, from headers alone",
    "perform": "one task of a plan: bricks, merges, segments",
    "seal": "headers, metadata, preview, manifest",
    "begin": "asking a remote source what there is",
    "fetch": "fetching some portions of a remote source",
    "check": "reading back a part of what was fetched",
    "send": "sending one portion of a result to the bucket",
}


def time_limits(words: Iterable[str]) -> dict[str, float]:
    """The table with changes like "perform=7200". Raises BadParameter for an unknown stage or an impossible time."""
    changed = dict(SECONDS)
    for word in words:
        stage, _, text = (part.strip() for part in word.partition("="))
        if stage not in SECONDS:
            raise BadParameter(f"SCRAY_TIME_LIMITS names {stage!r}; the stages are {', '.join(SECONDS)}.")
        changed[stage] = _seconds(word, text)
    return changed


def _seconds(word: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise BadParameter(f"{word!r} in SCRAY_TIME_LIMITS is not like perform=7200.")
    return seconds


def table() -> str:
    """The table for the documentation, in Markdown."""
    rows = [f"| `{stage}` | {MEANINGS[stage]} | {seconds:.0f} |" for stage, seconds in SECONDS.items()]
    return "\n".join(["| stage | what is done | seconds |", "|---|---|---|", *rows, ""])
