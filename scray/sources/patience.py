"""Asking again where a line breaks, or a source asks to come back later."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from scray.errors import SourceUnreachable

TRIES = 5
PAUSE_SECONDS = 0.5
T = TypeVar("T")


def patiently(ask: Callable[[], T]) -> T:
    """The answer to a question that does no harm when it is asked again. Raises SourceUnreachable after five tries."""
    for fruitless in range(1, TRIES):
        try:
            return ask()
        except SourceUnreachable as error:
            rest(error, fruitless)
    return ask()


def rest(error: SourceUnreachable, fruitless: int) -> None:
    """Wait as long as the source asks for, and longer each time."""
    time.sleep(max(error.wait_seconds, PAUSE_SECONDS * 2**fruitless))
