"""How the command line speaks while it works: progress on stderr, as bars on a terminal and plain lines elsewhere."""

from __future__ import annotations

import functools
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Annotated, Any, ParamSpec, Self

import typer

from cluster import ending
from scray.errors import BadParameter, BadRequest, InvalidField, ScrayError
from scray.retry import explain

P = ParamSpec("P")
USAGE_ERRORS = (BadParameter, BadRequest, InvalidField)
LINE_SECONDS = 5.0
GAP = "  "  # between the columns of a table

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]


def command(body: Callable[P, None]) -> Callable[P, None]:
    """A command: an error of ours or the system becomes a sentence with its code; exit code 1, or 2 for wrong usage."""

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        ending.printed = False
        try:
            body(*args, **kwargs)
        except ScrayError as error:
            ending.failed(error.code, error.message, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(ending.EXIT_USAGE if isinstance(error, USAGE_ERRORS) else ending.EXIT_FAILED) from error
        except BrokenPipeError:
            raise  # nobody listens any more
        except OSError as error:
            ending.failed(*explain(error), as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(ending.EXIT_FAILED) from error

    return run


def terminal_columns() -> int:
    """How many characters a line on stdout has; 0, for as many as there are, where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def table(header: Sequence[str], rows: Sequence[Sequence[str]], columns: int = 0) -> str:
    """Columns of equal width, as plain text; a row that is wider than `columns` (if any) goes on below, indented."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    parts = list(_folded(widths, columns))
    lines = [_cells(row[part], widths[part], part) for row in [header, *rows] for part in parts]
    return "\n".join(lines)


def _folded(widths: Sequence[int], columns: int) -> Iterator[slice]:
    """Which cells of a row stand in one line."""
    first, used = 0, 0
    for i, width in enumerate(widths):
        if columns and i > first and used + width > columns:
            yield slice(first, i)
            first, used = i, len(GAP)
        used += width + len(GAP)
    yield slice(first, len(widths))


def _cells(cells: Sequence[str], widths: Sequence[int], part: slice) -> str:
    indent = GAP if part.start else ""
    return (indent + GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))).rstrip()


class Progress:
    """Steps under way, by name, with percent and a note. A context manager; silent in JSON mode off a terminal."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.silent = as_json and not sys.stderr.isatty()
        self.bars: Any = _bars() if sys.stderr.isatty() else None
        self.tasks: dict[str, Any] = {}
        self.said: dict[str, tuple[float, str]] = {}

    def __enter__(self) -> Self:
        if self.bars:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars:
            self.bars.stop()

    def update(self, name: str, stage: str, percent: float | None = None, note: str = "") -> None:
        """One step has come this far; the same name again moves the same bar. None: nobody knows how far."""
        if self.silent:
            return
        if self.bars:
            if name not in self.tasks:
                self.tasks[name] = self.bars.add_task(name, total=100, note="")
            total = 100 if percent is not None else None
            self.bars.update(
                self.tasks[name], description=f"{name}: {stage}", completed=percent or 0, total=total, note=note
            )
        else:
            self._line(name, stage, percent, note)

    def detail(self, name: str, stage: str, percent: float, note: str = "") -> None:
        """A part of a step: a bar of its own until it is whole, and nothing where there are no bars."""
        if self.bars:
            self.update(name, stage, percent, note)
            if percent >= 100:
                self.bars.remove_task(self.tasks.pop(name))

    def _line(self, name: str, stage: str, percent: float | None, note: str) -> None:
        """A line when the stage changes, and then every few seconds."""
        at, before = self.said.get(name, (0.0, ""))
        now = time.monotonic()
        if stage != before or now - at >= LINE_SECONDS:
            share = f"{percent:.0f} %" if percent is not None else ""
            print(" ".join(filter(None, [f"{name}: {stage}", share, note])), file=sys.stderr, flush=True)
            self.said[name] = (now, stage)


def _bars() -> Any:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.percentage:>3.0f} %"),
        progress.TextColumn("{task.fields[note]}"),
    )
    return progress.Progress(*columns, console=Console(stderr=True))
