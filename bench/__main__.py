"""`python -m bench [NAME…]`: all measurements, or those named; results go to bench/results/."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

NAMES = (
    "speed",
    "scaling",
    "hashing",
    "latency",
    "growth",
    "many",
    "memory",
    "ingest",
    "sessions",
    "objects",
    "fuzz",
    "task_seconds",
    "plan_scale",
)


def main(names: list[str]) -> None:
    scratch = Path(__file__).parent / "scratch"
    scratch.mkdir(exist_ok=True)
    for name in names or NAMES:
        if name not in NAMES:
            raise SystemExit(f"{name} is not one of {', '.join(NAMES)}")
        import_module(f"bench.{name}").bench(scratch)


if __name__ == "__main__":
    main(sys.argv[1:])
