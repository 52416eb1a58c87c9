"""(a) One process: against OpenVisus write + compress per CPU-second, and against the straight-line loop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from bench import sources
from bench.measure import Cost, keep, python

CASES = {"float32 512x512x512": ((512, 512, 512), "<f4"), "uint16 1024x1024x512": ((512, 1024, 1024), "<u2")}
ROUNDS = 3


def bench(scratch: Path) -> None:
    """Interleaved rounds; the median of each ratio."""
    sources.touch_memory(8 << 30)
    for name, (shape, dtype) in CASES.items():
        source = sources.hdf5(scratch / f"speed-{dtype[1:]}.h5", shape, dtype)
        rounds = [_round(source, scratch / "speed-out") for _ in range(ROUNDS)]
        keep(f"speed-{dtype[1:]}", {"source": name, **_summary(rounds)})


def _round(source: Path, out: Path) -> dict[str, Any]:
    verified, size = _scray(source, out)
    unverified, _ = _scray(source, out, "--no-verify")
    straight = _in(out, "-m", "bench.straight", str(source), str(out))
    stages = json.loads(straight.output)
    rival = _in(out, "-m", "bench.openvisus", str(source), str(out))
    return {
        "verified": verified,
        "unverified": unverified,
        "straight": straight,
        "rival": rival,
        "size_ratio": size / int(rival.output.splitlines()[-1]),
        "stages": json.loads(verified.output)["stages"],
        "straight_stages": stages,
    }


def _scray(source: Path, out: Path, *more: str) -> tuple[Cost, int]:
    shutil.rmtree(out, ignore_errors=True)
    command = ["-m", "cluster.cli", "convert", str(source), "--sensor", "HDF5", "--out", str(out), "--json", *more]
    cost = python(*command)
    return cost, sum(p.stat().st_size for p in out.rglob("*.bin"))


def _in(out: Path, *command: str) -> Cost:
    shutil.rmtree(out, ignore_errors=True)
    return python(*command)


def _summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    def median(pick: Any) -> float:
        return float(sorted(pick(r) for r in rounds)[len(rounds) // 2])

    return {
        "cpu ratio to OpenVisus zip, verified (want >= 4)": median(
            lambda r: r["rival"].cpu_seconds / r["verified"].cpu_seconds
        ),
        "cpu ratio to OpenVisus zip, --no-verify (want >= 6)": median(
            lambda r: r["rival"].cpu_seconds / r["unverified"].cpu_seconds
        ),
        "wall ratio to OpenVisus zip, verified": median(lambda r: r["rival"].seconds / r["verified"].seconds),
        "size against OpenVisus (want <= 1.05)": median(lambda r: r["size_ratio"]),
        "speed against the straight loop, cpu (want >= 0.75)": median(
            lambda r: r["straight"].cpu_seconds / r["verified"].cpu_seconds
        ),
        "speed against the straight loop, wall": median(lambda r: r["straight"].seconds / r["verified"].seconds),
        "stages, seconds": rounds[-1]["stages"],
        "straight loop, seconds": rounds[-1]["straight_stages"],
        "cpu seconds verified / not / straight / OpenVisus": [
            round(median(lambda r, k=k: r[k].cpu_seconds), 2) for k in ("verified", "unverified", "straight", "rival")
        ],
    }
