"""(h) Every parser path against damaged files: published as other readers see them, or refused by a code.

`FUZZ_SECONDS` is the time of one target (60), `FUZZ_SEED` the first seed, `FUZZ_TARGETS` a comma list. What must not
happen (an internal error, a result that differs, a process or a file left behind) is kept under bench/scratch/finds.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.judge import SAME, UNJUDGED
from bench.measure import RESULTS, keep
from bench.mutations import mutate
from bench.seeds import TARGETS, Files, Target, packed
from converters.sandbox import Sandbox
from scray.errors import ReaderCrashed, ScrayError, TimedOut

MEMORY_BYTES = 1 << 30
SILENCE_SECONDS = 20.0  # files this small take less than one
CONTAINED = (ReaderCrashed.code, TimedOut.code)
RENEWED = 500  # inputs that one child gets: what a library leaks is not the point


class Converting(Sandbox):
    program = "bench.fuzzchild"


class Judging(Sandbox):
    program = "bench.judge"


@dataclass
class Tally:
    """What became of the inputs of one target."""

    outcomes: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    contained: list[str] = field(default_factory=list)  # crashes and endless loops of libraries, which the seal ends
    finds: list[str] = field(default_factory=list)

    @property
    def runs(self) -> int:
        return sum(self.outcomes.values())


class Range:
    """Where one target is shot at: folders, a child that converts and one that judges."""

    def __init__(self, target: Target, place: Path, finds: Path) -> None:
        self.target, self.finds = target, finds
        self.inputs, self.out = place / "in", place / "out"
        self.inputs.mkdir()
        self.out.mkdir()
        self.contents = [zlib.crc32(content) for content in packed()] if target.sealed_contents else []
        self.tally = Tally()
        self._start()

    def _start(self) -> None:
        home = Path(__file__).parent / "scratch" / "visus"
        home.mkdir(parents=True, exist_ok=True)
        self.converting = Converting([self.inputs], [self.out], MEMORY_BYTES)
        self.judging = Judging([self.inputs, self.out], [home], 2 * MEMORY_BYTES)

    def close(self) -> None:
        self.converting.close()
        self.judging.close()

    def shoot(self, number: int, files: Files) -> None:
        """One input: convert it, judge what was published, keep what must not be."""
        root, parent = self.inputs / str(number), self.out / str(number)
        write(root, files)
        parent.mkdir()
        outcome, find = self._convert(root, parent)
        self.tally.outcomes[outcome] += 1
        if find:
            kept = self.tally.contained if outcome in CONTAINED else self.tally.finds
            kept.append(f"{find} (input {number})")
            write(self.finds / f"{self.target.name.replace(' ', '-')}-{number}", files)
        shutil.rmtree(root)
        shutil.rmtree(parent)
        if number % RENEWED == 0:
            self.converting.close()
            self.judging.close()
            self._start()

    def _convert(self, root: Path, parent: Path) -> tuple[str, str]:
        """The outcome, and what is wrong with it."""
        request = {"do": "convert", "root": str(root), "parent": str(parent), "sensor": self.target.sensor}
        try:
            answer = self.converting.call({**request, "parameters": self.target.parameters}, SILENCE_SECONDS)
        except (ReaderCrashed, TimedOut) as error:
            self.converting._start()
            return error.code, error.message
        except (ScrayError, FileNotFoundError) as error:
            code = error.code if isinstance(error, ScrayError) else "gone"
            wrong = code in ("internal", "gone", "storage")
            return code, f"{code}: {error}" if wrong else ""
        told = json.loads(answer)
        if told["problems"]:
            return "published", f"does not verify: {told['problems'][0]}"
        return "published", self._judge(told["staging"])

    def _judge(self, staging: str) -> str:
        try:
            request = {"do": "judge", "staging": staging, "contents": self.contents}
            verdict = self.judging.call(request, SILENCE_SECONDS)
        except (ReaderCrashed, TimedOut) as error:
            self.judging._start()
            verdict = f"{UNJUDGED}: {error.code}"
        except ScrayError as error:
            verdict = f"{UNJUDGED}: {error.message}"
        self.tally.verdicts[verdict[:100] if verdict.startswith(UNJUDGED) else verdict.split(":")[0]] += 1
        return "" if verdict == SAME or verdict.startswith(UNJUDGED) else verdict


def write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def damaged(target: Target, seeds: list[Files], seed: str) -> Files:
    """One of the honest inputs with one of its files damaged; the same for the same seed."""
    rng = random.Random(seed)
    files = dict(rng.choice(seeds))
    name = rng.choice([name for name in files if name.endswith(target.damaged)])
    files[name] = mutate(rng, files[name])
    if rng.random() < 0.7:
        files[name] = target.repair(files[name])
    return files


def fuzz(target: Target, finds: Path, seconds: float, seed: int) -> Tally:
    """Damage this target's inputs for so long; every honest one has to be published first."""
    with tempfile.TemporaryDirectory(prefix="scray-fuzz-") as folder:
        place = Path(folder)
        (place / "seeds").mkdir()
        seeds = target.make(place / "seeds")
        shooting = Range(target, place, finds)
        try:
            for number, files in enumerate(seeds):
                shooting.shoot(-1 - number, files)
            if shooting.tally.outcomes != {"published": len(seeds)}:
                shooting.tally.finds.append(f"honest inputs: {dict(shooting.tally.outcomes)}")
            end, number = time.monotonic() + seconds, seed
            while time.monotonic() < end:
                shooting.shoot(number, damaged(target, seeds, f"{target.name} {number}"))
                number += 1
        finally:
            shooting.close()
        left = [path.name for path in (*shooting.inputs.iterdir(), *shooting.out.iterdir())]
        shooting.tally.finds += [f"left behind: {left}"] if left else []
    return shooting.tally


def bench(scratch: Path) -> None:
    seconds = float(os.environ.get("FUZZ_SECONDS", "60"))
    seed = int(os.environ.get("FUZZ_SEED", "1"))
    wanted = os.environ.get("FUZZ_TARGETS", "")
    values = _former() if wanted else {}
    finds: list[str] = []
    for target in TARGETS:
        if wanted and target.name not in wanted.split(","):
            continue
        tally = fuzz(target, scratch / "finds", seconds, seed)
        values[target.name] = _line(tally, seconds, seed)
        finds += [f"{target.name}: {find}" for find in tally.finds]
        print(f"{target.name}: {values[target.name]}", *tally.contained, *tally.finds, sep="\n    ", flush=True)
    left = [process.pid for process in psutil.Process().children(recursive=True)]
    if left:
        finds.append(f"processes left behind: {left}")
    keep("fuzz", values)
    if finds:
        raise SystemExit("\n".join(["what must not happen:", *finds]))


def _former() -> dict[str, Any]:
    """What is known of the targets that are not run this time."""
    try:
        values: dict[str, Any] = json.loads((RESULTS / "fuzz.json").read_bytes())["values"]
    except FileNotFoundError:
        return {}
    return {target.name: values[target.name] for target in TARGETS if target.name in values}


def _line(tally: Tally, seconds: float, seed: int) -> str:
    """One target's line of the results."""
    told = f"{len(tally.finds)} finds in {tally.runs} runs, {seconds:g} s from seed {seed}"
    return f"{told}: {_listed(tally.outcomes)}; published: {_listed(tally.verdicts)}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
