"""The straight-line loop: the same steps as a conversion, on the same blocks, with nothing around them.

Read, SHA-256, gather a block, encode, SHA-256, write a file; then re-read it, inflate, compare. The whole volume is
held in memory, and where its blocks lie is worked out before the clock runs. Prints seconds by stage.
Usage: python -m bench.straight SOURCE.h5 OUT
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from scray.idx.geometry import choose
from scray.stopwatch import Stopwatch

Cut = tuple[slice, ...]


def main(source: Path, out: Path) -> None:
    with h5py.File(source) as file:
        data = file["data"]
        cuts = _cuts(data.shape, data.dtype.itemsize)
        watch = Stopwatch()
        _hash(source)
        watch.lap("hash input")
        volume = data[:]
        watch.lap("read")
    out.mkdir(parents=True)
    for number, group in enumerate(cuts):
        _file(out / f"{number}.bin", volume, group, watch)
    print(json.dumps(watch.seconds))


def _cuts(shape: tuple[int, ...], itemsize: int) -> list[list[Cut]]:
    """The blocks of each file as slices of the volume; its sizes are powers of two, so every block is full."""
    geometry = choose(shape, itemsize, file_bytes=32 << 20, block_bits=16)
    files = [geometry.stored_blocks(f) for f in (0, *geometry.files(1))]
    blocks = [[geometry.block(b) for b in blocks] for blocks in files]
    return [
        [tuple(slice(a, a + n * s, s) for a, n, s in zip(b.start, b.shape, b.stride, strict=True)) for b in group]
        for group in blocks
    ]


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _file(path: Path, volume: NDArray[Any], group: list[Cut], watch: Stopwatch) -> None:
    payloads = []
    buffer = np.empty(1 << 16, volume.dtype)
    for cut in group:
        part = volume[cut]
        np.copyto(buffer.reshape(part.shape), part)
        watch.lap("gather")
        payloads.append(isal_zlib.compress(buffer, 2))
        watch.lap("encode")
    _write(path, payloads, watch)
    _check(path, payloads, group, volume, watch)


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


def _check(path: Path, payloads: list[bytes], group: list[Cut], volume: NDArray[Any], watch: Stopwatch) -> None:
    with path.open("rb") as file:
        for payload, cut in zip(payloads, group, strict=True):
            stored = file.read(len(payload))
            watch.lap("re-read")
            part = volume[cut]
            samples = np.frombuffer(isal_zlib.decompress(stored), volume.dtype).reshape(part.shape)
            watch.lap("inflate")
            if not np.array_equal(samples, part):
                raise SystemExit(f"{path} differs")
            watch.lap("compare")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
