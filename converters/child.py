"""The sealed child: it reads one dataset and writes its staging folder, and can reach nothing else.

It is told what to do in JSON, a line a request, and answers in JSON: {"alive": true} while it works, then {"done": …}
or {"error": code, "message": …}. Started as `python -m converters.child` by converters.sandbox, never by hand.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import select
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from converters import confine

HEADROOM_BYTES = 512 << 20  # what libraries map beyond what they hold
ALIVE_SECONDS = 1.0
IDLE_SECONDS = 120.0
Answer = dict[str, Any]


def main(requests: TextIO, answers: TextIO) -> None:
    """Serve requests until there are no more, or none for long; the first one says what may be touched."""
    limits = json.loads(requests.readline())
    read, write = ([Path(p) for p in limits[name]] for name in ("read", "write"))
    force = seal_off(read, write) if limits["sealed"] else preload()
    confine.limit_memory(_mapped_bytes() + HEADROOM_BYTES + limits["memory_bytes"])
    _send(answers, {"force": [*force, "memory"]})
    while line := _next(requests):
        _send(answers, answer(json.loads(line), answers))


def _next(requests: TextIO) -> str:
    """The next request; "" where there are no more, or none for so long that its dataset must be done with."""
    return requests.readline() if select.select([requests], [], [], IDLE_SECONDS)[0] else ""


def seal_off(read: list[Path], write: list[Path]) -> list[str]:
    """Import everything that will be needed, then give up the network and all other files; what is in force."""
    network = confine.leave_network()
    preload()
    reach = confine.restrict([*read, *_system()], write)
    return [name for name, on in (("network", network), ("reach", reach)) if on]


def preload() -> list[str]:
    """The readers and codecs: afterwards nothing outside the limits has to be opened. Limits nothing."""
    import hdf5plugin  # noqa: F401
    import imagecodecs  # noqa: F401
    import netCDF4  # noqa: F401
    import PIL.Image
    import tifffile  # noqa: F401

    import converters.archives
    import converters.prepare
    import converters.run
    import converters.sketch  # noqa: F401

    PIL.Image.init()
    return []


def answer(request: Answer, answers: TextIO) -> Answer:
    """Do one request; every failure becomes an answer."""
    from scray.errors import ScrayError, StorageError, TooLarge

    try:
        return {"done": REQUESTS[request["do"]](request, _Pulse(answers))}
    except ScrayError as error:
        return {"error": error.code, "message": error.message}
    except MemoryError:
        return {"error": TooLarge.code, "message": "Reading the file needs more memory than its contents allow."}
    except FileNotFoundError as error:
        return {"error": "gone", "message": str(error)}
    except OSError as error:
        return {"error": StorageError.code, "message": str(error)}
    except Exception as error:
        return {"error": ScrayError.code, "message": f"{type(error).__name__}: {error}"}


class _Pulse:
    """Says that the work goes on, at most once a second."""

    def __init__(self, answers: TextIO) -> None:
        self.answers, self.last = answers, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self.last > ALIVE_SECONDS:
            self.last = time.monotonic()
            _send(self.answers, {"alive": True})


def _perform(request: Answer, pulse: Callable[[], None]) -> str:
    from converters.run import perform

    return perform(Path(request["staging"]), request["task"], pulse).task


def _sketch(request: Answer, pulse: Callable[[], None]) -> str:
    from converters.sketch import sketch

    pulse()
    return base64.b64encode(sketch(Path(request["staging"])) or b"").decode()


def _prepare(request: Answer, pulse: Callable[[], None]) -> str:
    from converters.prepare import prepare

    job, inputs = pickle.loads(base64.b64decode(request["job"]))  # from our own parent, over our own pipe
    pulse()
    return str(prepare(job, inputs, Path(request["parent"])))


def _unpack(request: Answer, pulse: Callable[[], None]) -> str:
    from converters.archives import unpack_all

    target = Path(request["target"])
    for former in target.iterdir():  # of a child that crashed
        shutil.rmtree(former) if former.is_dir() else former.unlink()
    unpack_all(Path(request["root"]), request["files"], target, pulse)
    return str(target)


REQUESTS: dict[str, Callable[[Answer, Callable[[], None]], str]] = {
    "perform": _perform,
    "sketch": _sketch,
    "prepare": _prepare,
    "unpack": _unpack,
}


def _system() -> list[Path]:
    """What the interpreter and its libraries may still want to load."""
    here = Path(__file__).resolve().parents[1]
    names = {sys.prefix, sys.base_prefix, "/usr/lib", "/usr/share/zoneinfo", "/lib", "/lib64", "/etc/ld.so.cache"}
    devices = {"/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/proc/self", "/sys/devices/system/cpu"}
    return [Path(name) for name in sorted(names | devices)] + [here / "scray", here / "converters"]


def _mapped_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _send(answers: TextIO, message: Answer) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def serve() -> None:
    """Be the child of the process at the other end of stdin and stdout."""
    confine.die_with_parent()
    confine.end_together()
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    main(sys.stdin, pipe)


if __name__ == "__main__":
    serve()
