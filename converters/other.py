"""What cannot be converted and need not be: a package of the files as they came, linked, listed and digested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.own import put_aside
from converters.volume import Source
from scray.parameters import given

FORMAT = "other"
KEPT = "kept as is"


def package(files: tuple[str, ...], why: str, parameters: Mapping[str, Any]) -> Source:
    """Every file under its own name; notes say that nothing was converted, and why, and what had no effect."""
    links = tuple((name, put_aside(name)) for name in files)
    names = [name for name in parameters if given(parameters, name) is not None]
    idle = [f"{name} changed nothing: files that are kept as they are have no use for it." for name in names]
    return Source(FORMAT, links=links, metadata={"files": len(files), "why": why}, notes=(f"{KEPT}: {why}", *idle))
