"""(c) Chunk hashing on Ray against as many plain processes hashing the same file."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

from bench.measure import keep
from scray.spans import chunk_spans, hash_spans

SIZE = 8 << 30
ROUNDS = 3


def bench(scratch: Path) -> None:
    from cluster.local_ray import connected

    path = _file(scratch / "hashing.bin")
    workers = os.cpu_count() or 1
    rows = []
    with connected(cpus=workers), multiprocessing.get_context("spawn").Pool(workers) as pool:
        from cluster.hashing import digest_inputs  # Ray reads its environment when it is imported

        digest_inputs(scratch, [path.name], on_bytes=lambda _: None, stop=lambda: None)
        for _ in range(ROUNDS):
            plain = _plain(pool, path)
            began = time.perf_counter()
            digest_inputs(scratch, [path.name], on_bytes=lambda _: None, stop=lambda: None)
            rows.append((plain, time.perf_counter() - began))
    ratio = sorted(plain / ray for plain, ray in rows)[ROUNDS // 2]
    keep("hashing", {f"Ray / {workers} plain processes (want >= 0.9)": ratio, "GB/s on Ray": SIZE / rows[-1][1] / 1e9})
    path.unlink()


def _plain(pool: multiprocessing.pool.Pool, path: Path) -> float:
    began = time.perf_counter()
    pool.map(_hash, [(path, span) for span in chunk_spans(path.stat().st_size)], chunksize=1)
    return time.perf_counter() - began


def _hash(work: tuple[Path, object]) -> tuple[str, ...]:
    path, span = work
    return hash_spans(path, [span])  # type: ignore[list-item]


def _file(path: Path) -> Path:
    block = os.urandom(64 << 20)
    with path.open("wb") as file:
        for _ in range(SIZE // len(block)):
            file.write(block)
    return path
