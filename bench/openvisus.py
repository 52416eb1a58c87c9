"""The rival: OpenVisus writes the volume and compresses it, as the conversion scripts in use do.

Usage: python -m bench.openvisus SOURCE.h5 OUT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(source: Path, out: Path) -> None:
    out.mkdir(parents=True)
    os.environ["VISUS_HOME"] = str(out / "home")
    os.chdir(out)
    import h5py
    import OpenVisus as ov

    with h5py.File(source) as file:
        data = file["data"][:]
    field = ov.Field("data", str(data.dtype))
    db = ov.CreateIdx(url=str(out / "visus.idx"), dims=list(reversed(data.shape)), fields=[field])
    db.write(data)
    db.compressDataset(["zip"])
    print(sum(p.stat().st_size for p in out.rglob("*.bin")))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute())
