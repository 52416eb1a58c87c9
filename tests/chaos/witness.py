"""Looks on while everything is killed, and counts what the kernel and the disk say, not the code under test."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

from converters.verify import verify
from tests.chaos.inotify import Renames

LOOK_SECONDS = 0.02


class Witness:
    """`published`: renames into `converted/`, by dataset. `marked`: when each task's mark came, by dataset and task.

    `broken`: what the reader saw that fails `scray verify`. Both threads end with the block.
    """

    def __init__(self, converted: Path) -> None:
        self.converted = converted
        self.published: Counter[str] = Counter()
        self.marked: defaultdict[tuple[str, str, str], set[int]] = defaultdict(set)
        self.broken: list[str] = []
        self.read_times: Counter[str] = Counter()
        self._marks: set[tuple[str, int]] = set()
        self._over = threading.Event()
        self._renames = Renames()
        self._renames.watch(converted)
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._count, self._read)]

    def __enter__(self) -> Witness:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._renames.close()

    @property
    def redone(self) -> list[tuple[str, str, str]]:
        """The tasks that ran again after their mark was on disk."""
        return [task for task, times in self.marked.items() if len(times) > 1]

    def _count(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with suppress(FileNotFoundError):  # a folder went away while it was listed: the next look is soon
                for folder in self.converted.glob(".staging/*/*/marks"):
                    self._watch(folder)
            for folder, name in self._renames.read():
                if folder == self.converted:
                    self.published[name] += 1
                else:
                    self._note(folder, name)

    def _watch(self, folder: Path) -> None:
        """A new folder of marks: those that came before the watch did are there to be listed."""
        try:
            known = (folder.parents[1].name, folder.stat().st_ino)
            if known in self._marks or not self._renames.watch(folder):
                return
            self._marks.add(known)
            for mark in folder.glob("*.json"):
                self._note(folder, mark.name)
        except FileNotFoundError:
            return

    def _note(self, folder: Path, name: str) -> None:
        """A mark that was written anew has another time; scatters are done again for bricks that need them."""
        if name.startswith(".") or "scatter" in name:
            return
        dataset, plan = folder.parents[1].name, folder.parent.name.partition(".")[0]
        for place in (folder, *self.converted.glob(f".staging/{dataset}/{plan}*/marks")):
            try:
                self.marked[dataset, plan, name].add((place / name).stat().st_mtime_ns)
            except (FileNotFoundError, NotADirectoryError):
                continue
            return

    def _read(self) -> None:
        """Somebody who looks at the results all the time: each at once when it appears, then again in turn."""
        while not self._over.wait(LOOK_SECONDS):
            there = [path for path in self.converted.iterdir() if not path.name.startswith(".")]
            for path in sorted(there, key=lambda path: self.read_times[path.name])[:1]:
                if self.read_times[path.name] < READINGS:
                    self.broken += verify(path)
                    self.read_times[path.name] += 1
                elif not (path / "visus.idx").is_file():
                    self.broken.append(f"{path.name} has lost its header")


READINGS = 2
