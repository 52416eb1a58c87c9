"""One whole stack on loopback, and one plain Ray, for all tests of a session that need them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from cluster.stack import running
from cluster.state import State


def until(condition: Callable[[], bool], seconds: float = 60, what: str = "it") -> None:
    """Wait for a state, looking often."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} seconds"
        time.sleep(0.05)


@contextmanager
def stack_in(folder: Path, **settings: str) -> Iterator[State]:
    """A ready stack whose data are in `folder`; `settings` are environment variables of it."""
    with patch.dict(os.environ, settings), running(folder) as state:
        yield state
