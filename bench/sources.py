"""Synthetic sources of the sizes that are measured, made once in a scratch folder; and touched memory."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from converters.volume import grid

GIB = 1 << 30


def touch_memory(size_bytes: int) -> None:
    """Use fresh pages once: the first touch of a page of a virtual machine can cost more than all that is measured."""
    with mmap.mmap(-1, size_bytes) as block:
        for at in range(0, size_bytes, 4096):
            block[at] = 1


def smooth(shape: tuple[int, int, int], z0: int, seed: int = 1) -> NDArray[np.float32]:
    """Smooth waves and a little noise, poorly compressible, as float32."""
    z, y, x = (np.arange(n, dtype=np.float32) for n in shape)
    wave = np.sin((z + z0) / 17)[:, None, None] + np.cos(y / 23)[None, :, None] * np.sin(x / 31)[None, None, :]
    noise = np.random.default_rng(seed + z0).standard_normal(shape, dtype=np.float32)
    return np.asarray(wave + noise * np.float32(1e-3), np.float32)


def scan(shape: tuple[int, int, int], z0: int, seed: int = 2) -> NDArray[np.uint16]:
    """A CT-like slab: a cylinder with rings in it, photon noise around a low background, as uint16."""
    _, ny, nx = shape
    y, x = np.mgrid[0:ny, 0:nx].astype(np.float32)
    radius = np.hypot(y - ny / 2, x - nx / 2) / (min(ny, nx) / 2)
    body = np.where(radius < 0.9, 20_000 + 6_000 * np.sin(radius * 40), 300).astype(np.float32)
    noise = np.random.default_rng(seed + z0).standard_normal(shape, dtype=np.float32)
    noise *= np.where(radius < 0.9, 60, 4).astype(np.float32)
    return np.asarray(np.clip(body + noise, 0, 65_535), np.uint16)


MAKERS: dict[str, Callable[[tuple[int, int, int], int], NDArray[np.generic]]] = {"<f4": smooth, "<u2": scan}


def slabs(shape: tuple[int, int, int], dtype: str, thick: int = 16) -> Iterator[tuple[int, NDArray[np.generic]]]:
    for z in range(0, shape[0], thick):
        n = min(thick, shape[0] - z)
        yield z, MAKERS[dtype]((n, *shape[1:]), z)


def hdf5(
    path: Path, shape: tuple[int, int, int], dtype: str, chunks: tuple[int, int, int] | None = None, gzip: bool = False
) -> Path:
    """A volume as one HDF5 dataset: contiguous, or chunked and perhaps compressed; a few tiles repeated."""
    if path.exists():
        return path
    temporary = path.with_suffix(".part")
    tile = (shape[0], 128, 128) if chunks and chunks[0] == shape[0] else (16, *shape[1:])
    tiles = [MAKERS[dtype](tile, z) for z in range(0, 64, 16)]
    with h5py.File(temporary, "w") as file:
        options = {"chunks": chunks, "compression": "gzip", "compression_opts": 1} if gzip else {"chunks": chunks}
        data = file.create_dataset("data", shape, dtype, **options)
        for number, box in enumerate(grid(shape, tile)):
            size = tuple(b - a for a, b in box)
            data[tuple(slice(a, b) for a, b in box)] = tiles[number % 4][tuple(map(slice, size))]
    return temporary.rename(path)


def tiff(path: Path, shape: tuple[int, int, int], dtype: str) -> Path:
    """A deflate TIFF stack, a page a slice."""
    if path.exists():
        return path
    temporary = path.with_suffix(".part")
    pages = [np.asarray(slab) for _, slab in slabs((32, *shape[1:]), dtype, 8)]
    with tifffile.TiffWriter(temporary, bigtiff=True) as file:
        for z in range(shape[0]):
            page = pages[z // 8 % 4][z % 8]
            file.write(page, compression="zlib", compressionargs={"level": 1}, contiguous=False, rowsperstrip=256)
    return temporary.rename(path)
