"""Runs a command and says what it cost: seconds, CPU-seconds, and the peak memory of its whole process tree."""

from __future__ import annotations

import json
import operator
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

COMPARED: Mapping[str, Callable[[Any, float], bool]] = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}
WANT = re.compile(r"\(want (<=?|>=) ([0-9.]+)\)")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Cost:
    """Of one finished command: `peak_bytes` counts private and shared memory of every process of its tree, once."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


def run(*command: str, sample_memory: bool = False, env: dict[str, str] | None = None) -> Cost:
    """Run to the end; raises CalledProcessError with what it printed."""
    began = time.perf_counter()
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )
    watch = _Memory(child.pid) if sample_memory else None
    before = os.times()
    out, err = child.communicate()
    after = os.times()
    seconds = time.perf_counter() - began
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    peak = watch.stop() if watch else 0
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command, out, err)
    return Cost(seconds, cpu, peak, out)


def python(*arguments: str, sample_memory: bool = False) -> Cost:
    return run(sys.executable, *arguments, sample_memory=sample_memory)


class _Memory:
    """Samples the proportional set size of a process tree, a few times a second."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._root = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.peak = max(self.peak, tree_bytes(self._root))

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self.peak


def tree_bytes(root: psutil.Process) -> int:
    """Resident memory of a process and all below it, shared pages counted once (PSS); mapped files included."""
    total = 0
    try:
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_full_info().pss
    except psutil.Error:
        return total
    return total


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    names = ("numpy", "isal", "imagecodecs", "h5py", "tifffile", "ray", "OpenVisusNoGui")
    return {
        "cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "processor": _processor(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def keep(name: str, values: dict[str, Any]) -> None:
    """Write one measurement with its machine under bench/results/, and print it."""
    RESULTS.mkdir(exist_ok=True)
    record = {"bench": name, "date": time.strftime("%Y-%m-%d"), "machine": machine(), "values": values}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{name}")
    for key, value in values.items():
        text = f"  {key:48} {value:.3g}" if isinstance(value, float) else f"  {key:48} {value}"
        print(text, verdict(key, value), sep="")


def verdict(key: str, value: Any) -> str:
    """Whether a value is as its name wants it: `… (want >= 0.85)`; of other names nothing is said."""
    found = WANT.search(key)
    return f"  {'met' if COMPARED[found[1]](value, float(found[2])) else 'MISSED'}" if found else ""
