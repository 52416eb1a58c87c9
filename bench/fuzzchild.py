"""The sealed child of the fuzzer: whole conversions of one small input after another, with nothing left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters import child
from converters.archives import archives_in, settle, unpack_all
from converters.prepare import Job, find_files, prepare
from converters.run import Serial, execute
from converters.seal import seal
from converters.verify import verify
from scray.manifest import digest_file


def convert(request: dict[str, Any], pulse: Callable[[], None]) -> str:
    """Unpack, probe, plan, perform, seal and verify; the staging folder, and what verifying said, as JSON."""
    parent = Path(request["parent"])
    root, files = find_files([Path(request["root"])])
    job = Job(root, files, request["sensor"], request["parameters"])
    inputs = tuple(digest_file(root, name) for name in files)
    if archives_in(root, files):
        made, final = parent / "unpacking", parent / "unpacked"
        made.mkdir(parents=True)
        unpack_all(root, files, made, pulse)
        settle(root, files, made, final)
        root, files = find_files([final])
        job = replace(job, root=root, files=files)
    staging = prepare(job, inputs, parent)
    execute(staging, Serial())
    return json.dumps({"staging": str(staging), "problems": verify(seal(staging))})


if __name__ == "__main__":
    child.REQUESTS["convert"] = convert
    child.serve()
