"""Files with every HDF5 filter, written in a process of its own: plugins of the NetCDF library cannot write some."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

FILTERS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip", "compression_opts": 9},
    "lzf": {"compression": "lzf"},
    "szip": {"compression": "szip"},
    "all": {"shuffle": True, "fletcher32": True, "compression": "gzip"},
    "scaled": {"scaleoffset": True},
    "bitshuffle": hdf5plugin.Bitshuffle(cname="lz4"),
    "bitshuffle-zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "bitshuffle-alone": hdf5plugin.Bitshuffle(cname="none"),
    "blosc": hdf5plugin.Blosc(cname="blosclz"),
    "blosc-zlib": hdf5plugin.Blosc(cname="zlib", shuffle=2),
    "blosc2": hdf5plugin.Blosc2(cname="zstd"),
    "bzip2": hdf5plugin.BZip2(),
    "lz4": hdf5plugin.LZ4(),
    "zstd": hdf5plugin.Zstd(),
}


LOSSY: dict[str, dict[str, Any]] = {
    "zfp-exact": hdf5plugin.Zfp(reversible=True),
    "zfp": hdf5plugin.Zfp(accuracy=0.01),
    "sperr": hdf5plugin.Sperr(rate=8),
    "sz3": hdf5plugin.SZ3(absolute=0.01),
}
FILTERED = np.random.default_rng(0).integers(0, 1024, (9, 10, 11), "<i2")
SMOOTH = np.sin(np.arange(4096.0) / 50).reshape(16, 16, 16)


def write_filtered(folder: Path) -> None:
    """One file a filter and type; of what is lossy, what the library reads, beside it."""
    for name, how in FILTERS.items():
        for kind in ("<i2", ">u4"):
            with h5py.File(folder / f"{name}{kind}.h5", "w") as file:
                file.create_dataset("data", data=FILTERED.astype(kind), chunks=(4, 10, 6), **how)
    for name, how in LOSSY.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset("data", data=SMOOTH, chunks=(8, 16, 16), **how)
            np.save(folder / f"{name}.npy", file["data"][...])


if __name__ == "__main__":
    write_filtered(Path(sys.argv[1]))
