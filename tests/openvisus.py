"""OpenVisus, the judge of what we read and write, in a child process: importing it changes the one that does."""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Box = tuple[tuple[int, int], ...]  # [start, stop) an axis, z y x


class OpenVisus:
    """One child for all questions; `create` and `read` run there."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory()
        environment = {**os.environ, "VISUS_HOME": self._home.name}
        self._child = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), self._home.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._home.name,
            env=environment,
        )

    def create(
        self,
        idx: Path,
        shape: tuple[int, ...],
        fields: list[tuple[str, str, str]],
        writes: list[tuple[int | None, str, Array]],
        compression: str = "",
        **options: Any,
    ) -> None:
        """Write a dataset: fields are (name, dtype word, layout), writes (time step, field, array)."""
        self._ask("create", str(idx), shape, fields, writes, compression, options)

    def read(
        self, idx: Path | str, field: str, step: int | None = None, box: Box | None = None, level: int | None = None
    ) -> Array | None:
        """The samples of a box at a level, z y x and components; None where it refuses a box that is too thin.

        `idx` may be an address.
        """
        answer = self._ask("read", str(idx), field, step, box, level)
        assert answer is None or isinstance(answer, np.ndarray)
        return answer

    def describe(self, idx: Path | str) -> dict[str, Any]:
        """What it makes of a header: box, levels, fields, time steps."""
        answer = self._ask("describe", str(idx))
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait(30)
        self._home.cleanup()

    def _ask(self, *question: Any) -> Any:
        assert self._child.stdin
        assert self._child.stdout
        pickle.dump(question, self._child.stdin)
        self._child.stdin.flush()
        kind, answer = pickle.load(self._child.stdout)
        if kind == "error":
            raise RuntimeError(answer)
        return answer


_running: list[OpenVisus] = []


def openvisus() -> OpenVisus:
    """The child of this test run, started when first asked for."""
    if not _running:
        _running.append(OpenVisus())
        atexit.register(_running[0].close)
    return _running[0]


# --- the child -----------------------------------------------------------------------------------


def _create(idx: str, shape: Any, fields: Any, writes: Any, compression: str, options: dict[str, Any]) -> None:
    import OpenVisus as ov

    Path(idx).parent.mkdir(parents=True, exist_ok=True)
    made = [ov.Field(name, dtype, layout) for name, dtype, layout in fields]
    for field in made:
        field.default_compression = compression
    db = ov.CreateIdx(url=idx, dims=[int(n) for n in reversed(shape)], fields=made, **options)
    for step, field, array in writes:
        access = db.createAccessForBlockQuery()
        access.disableWriteLocks()
        db.write(array, field=field, access=access, **({} if step is None else {"time": step}))


def _read(idx: str, field: str, step: int | None, box: Box | None, level: int | None) -> Array | None:
    import OpenVisus as ov

    db = ov.LoadDataset(idx)
    chosen: dict[str, Any] = {"field": field}
    if step is not None:
        chosen["time"] = step
    if level is not None:
        chosen["max_resolution"] = level
    if box is not None:
        low = [a for a, _ in reversed(box)]
        chosen["logic_box"] = (low, [b for _, b in reversed(box)])
    try:
        return np.array(db.read(**chosen))
    except Exception as error:
        if "begin query failed" in str(error):
            return None
        raise


def _describe(idx: str) -> dict[str, Any]:
    import OpenVisus as ov

    db = ov.LoadDataset(idx)
    low, high = db.getLogicBox()
    return {
        "box": [list(map(int, low)), list(map(int, high))],
        "levels": db.getMaxResolution(),
        "fields": list(db.getFields()),
        "steps": list(db.getTimesteps()),
    }


def _serve(home: str) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # it prints
    os.environ["VISUS_HOME"] = home
    ask = {"create": _create, "read": _read, "describe": _describe}
    while True:
        try:
            name, *question = pickle.load(sys.stdin.buffer)
        except EOFError:
            os._exit(0)  # its threads do not end on their own
        try:
            answer: tuple[str, Any] = ("ok", ask[name](*question))  # type: ignore[operator]
        except BaseException as error:
            answer = ("error", f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
