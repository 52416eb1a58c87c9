"""The straight-line loop: the same steps as a conversion, on the same bytes, with nothing around them.

Read, SHA-256, gather a block, encode, SHA-256, write a file; then re-read it, inflate, compare. Prints seconds a stage.
Usage: python -m bench.straight SOURCE.h5 OUT [--no-verify]
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np
from isal import isal_zlib

from scray.stopwatch import Stopwatch

BLOCK = (32, 32, 64)
BLOCKS_A_FILE = 128
SLAB = 128


def main(source: Path, out: Path, verify: bool) -> None:
    watch = Stopwatch()
    _hash(source)
    watch.lap("hash input")
    out.mkdir(parents=True)
    with h5py.File(source) as file:
        data = file["data"]
        for z in range(0, data.shape[0], SLAB):
            slab = data[z : z + SLAB]
            watch.lap("read")
            _slab(slab, out, z, watch, verify)
    print(json.dumps(watch.seconds))


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _slab(slab: np.ndarray, out: Path, z: int, watch: Stopwatch, verify: bool) -> None:
    cut = [range(0, n, b) for n, b in zip(slab.shape, BLOCK, strict=True)]
    corners = [(a, b, c) for a in cut[0] for b in cut[1] for c in cut[2]]
    buffer = np.empty(BLOCK, slab.dtype)
    for first in range(0, len(corners), BLOCKS_A_FILE):
        group = corners[first : first + BLOCKS_A_FILE]
        payloads = []
        for a, b, c in group:
            np.copyto(buffer, slab[a : a + 32, b : b + 32, c : c + 64])
            watch.lap("gather")
            payloads.append(isal_zlib.compress(buffer, 2))
            watch.lap("encode")
        path = out / f"{z}-{first}.bin"
        _write(path, payloads, watch)
        if verify:
            _check(path, payloads, group, slab, watch)


def _write(path: Path, payloads: list[bytes], watch: Stopwatch) -> None:
    digest = hashlib.sha256()
    for payload in payloads:
        digest.update(payload)
    watch.lap("hash output")
    with path.open("wb") as file:
        file.writelines(payloads)
        file.flush()
        os.fsync(file.fileno())
    watch.lap("write")


def _check(
    path: Path, payloads: list[bytes], group: list[tuple[int, int, int]], slab: np.ndarray, watch: Stopwatch
) -> None:
    with path.open("rb") as file:
        for payload, (a, b, c) in zip(payloads, group, strict=True):
            stored = file.read(len(payload))
            watch.lap("re-read")
            samples = np.frombuffer(isal_zlib.decompress(stored), slab.dtype).reshape(BLOCK)
            watch.lap("inflate")
            if not np.array_equal(samples, slab[a : a + 32, b : b + 32, c : c + 64]):
                raise SystemExit(f"{path} differs")
            watch.lap("compare")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--no-verify" not in sys.argv)
