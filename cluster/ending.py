"""How a command ends: an exit code, and one JSON document on stdout and nothing else there, or a text."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130  # 130: 128 + SIGINT, as shells have it

printed = False  # whether this process has printed its document


def result(document: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print the outcome of a command."""
    global printed
    printed = True
    print(json.dumps(document, default=str) if as_json else text, flush=True)


def failed(code: str, message: str, *, as_json: bool, **more: Any) -> None:
    """Say what went wrong: reason and code. What goes wrong after the one document is said on stderr."""
    if as_json and not printed:
        result({**more, "error": {"code": code, "message": message}}, message, as_json=True)
    else:
        print(f"{message} [{code}]", file=sys.stderr)
