"""The time steps of an IDX dataset, and the lines of the header that name them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scray.errors import BadInput

MAX_STEP = 2**31 - 1


@dataclass(frozen=True)
class TimeRange:
    """Time steps `first`, `first + step`, … up to `last`, both inclusive; `template` prints one as a folder.

    `more` holds further ranges (first, last, step). `open_ended` says that the header does not name its steps
    (`* *`). An empty template stands for no folder, which only a single step or ARCO can do with.
    """

    first: int
    last: int
    step: int = 1
    template: str = ""
    more: tuple[tuple[int, int, int], ...] = ()
    open_ended: bool = False

    @property
    def ranges(self) -> tuple[range, ...]:
        said = ((self.first, self.last, self.step), *self.more)
        return tuple(range(first, last + 1, step) for first, last, step in said)

    def steps(self) -> Iterator[int]:
        """Every time step, range by range."""
        for steps in self.ranges:
            yield from steps

    def __contains__(self, wanted: int) -> bool:
        return any(wanted in steps for steps in self.ranges)

    def __len__(self) -> int:
        return sum(len(steps) for steps in self.ranges)

    def format(self, arco: bool) -> str:
        """The value of `(time)`, "" where the header needs none; BadInput where a template is missing."""
        if not self.template and not arco:
            if len(self) == 1 and self.first == 0:
                return ""
            raise BadInput("time steps need a template for the names of their folders")
        template = self.template or "%d/"
        if self.open_ended:
            return f"* * {template}"
        if self.step == 1 and not self.more:
            return f"{self.first} {self.last} {template}"
        return " ".join([template, *(f"({r.start},{r.stop - 1},{r.step})" for r in self.ranges)])

    @classmethod
    def parse(cls, text: str) -> TimeRange:
        """`from to template`, `* * template`, or `template (from,to,step) …`."""
        words = text.split()
        if len(words) == 3 and words[:2] == ["*", "*"]:
            return cls(0, 0, template=words[2], open_ended=True)
        if len(words) == 3 and not words[1].startswith("("):
            return cls(*_range(words[:2]), template=words[2])
        spans = [word for word in words[1:] if word.startswith("(") and word.endswith(")")]
        if not spans or len(spans) != len(words) - 1:
            raise BadInput(f"the time of the IDX header makes no sense: {text[:80]!r}")
        first, *more = (_range(span[1:-1].split(",")) for span in spans)
        return cls(*first, template=words[0], more=tuple(more))


def _range(words: list[str]) -> tuple[int, int, int]:
    """`from`, `to` (the same where absent) and `step` (1 where absent)."""
    numbers = [_whole(word) for word in words[:4]]
    if len(numbers) == 1:
        numbers *= 2
    first, last, step, *surplus = [*numbers, 1] if len(numbers) == 2 else numbers
    if surplus or step < 1 or last < first:
        raise BadInput(f"the IDX header has impossible time steps: {' '.join(words)[:80]!r}")
    return first, last, step


def _whole(word: str) -> int:
    try:
        number = float(word)
    except ValueError as error:
        raise BadInput(f"the IDX header has {word[:80]!r} where a time step belongs") from error
    if not abs(number) <= MAX_STEP or number != int(number):
        raise BadInput(f"the IDX header has {word[:80]!r} where a time step belongs")
    return int(number)
