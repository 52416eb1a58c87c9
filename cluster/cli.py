"""The process of a command, from its first line to its exit code, also where Ctrl-C comes at any moment between.

It imports next to nothing itself: what is interrupted while the rest is imported ends in order, too.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from cluster import ending


def main() -> None:
    """Run the command of this process: 0 done, 1 failed, 2 wrong usage, 130 interrupted; with --json one document."""
    signal.signal(signal.SIGINT, _interrupt)
    as_json = "--json" in sys.argv
    try:
        code = _run(as_json)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # or it would end the interpreter while that clears up
    except KeyboardInterrupt:
        code = ending.EXIT_INTERRUPTED
    if code == ending.EXIT_INTERRUPTED and not (as_json and ending.printed):
        ending.failed("interrupted", "Interrupted.", as_json=as_json)
    sys.exit(code)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Once: what is cleared up afterwards is not interrupted again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(as_json: bool) -> int:
    """The exit code; wrong usage is told in the form that is asked for."""
    from typer.exceptions import TyperException

    from cluster.commands import app

    try:
        return app(standalone_mode=not as_json) or 0
    except TyperException as error:
        ending.failed("usage", error.format_message(), as_json=as_json)
        return error.exit_code
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


if __name__ == "__main__":
    main()
