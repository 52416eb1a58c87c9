"""Runs a plan with any executor: each task is a plain function over the staging folder, the same for all of them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from converters import links, maps
from converters.brick import Bench, brick, merge
from converters.mark import Mark, read_mark
from converters.plan import Plan
from converters.scatter import scatter
from converters.task import Task
from scray.errors import Cancelled
from scray.stopwatch import Stopwatch

# --- performing ----------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def load_plan(staging: Path) -> Plan:
    """The plan of a staging folder; a plan never changes, so it is read once."""
    return Plan.load(staging)


def perform(staging: Path, task_id: str, alive: Callable[[], None] = lambda: None) -> Mark:
    """Do one task and write its mark; doing it again gives the same bytes. Raises what reading and writing raise.

    What is finished is not done again: whoever did it may have died before it could tell, or was faster.
    """
    done = read_mark(staging, task_id)
    if done and done.is_true(staging):
        return done
    plan = load_plan(staging)
    task = plan.task(task_id)
    mark = _perform(plan, staging, task, alive)
    mark.write(staging)
    return mark


def _perform(plan: Plan, staging: Path, task: Task, alive: Callable[[], None]) -> Mark:
    match task.kind:
        case "scatter":
            return scatter(plan, staging, task, Stopwatch())
        case "brick":
            return brick(Bench(plan, staging, task, alive=alive))
        case "merge":
            return merge(Bench(plan, staging, task, alive=alive))
        case "link":
            return links.link(plan, staging, task)
        case "check":
            return links.check(plan, staging, task, alive)
        case "map":
            return maps.write_part(plan, staging, task, alive)
        case "place":
            return maps.place(plan, staging, task)


def finished(plan: Plan, staging: Path) -> dict[str, Mark]:
    """The marks that can be believed. A scatter counts as finished when no brick is left that needs its segments."""
    marks = {task.id: read_mark(staging, task.id) for task in plan.tasks}
    done = {k: m for k, m in marks.items() if m and plan.task(k).kind != "scatter" and m.is_true(staging)}
    for task in plan.tasks:
        mark = marks[task.id]
        spent = all(follower.id in done for follower in plan.followers(task.id))
        if task.kind == "scatter" and mark and (spent or mark.is_true(staging)):
            done[task.id] = mark
    return done


# --- executing -----------------------------------------------------------------------------------


class Executor(Protocol):
    """Runs tasks somewhere. At most `window`, as of now, are submitted and not yet returned by `wait`."""

    @property
    def window(self) -> int: ...

    def submit(self, staging: Path, task: Task) -> None: ...

    def wait(self) -> list[tuple[str, Mark | BaseException]]:
        """Block until at least one submitted task has ended, or a moment has passed; those that ended."""

    def close(self) -> None:
        """Stop what still runs."""


class Serial:
    """One task after another, here, by `perform` or what does the same elsewhere (`converters.sandbox.perform`)."""

    window = 1

    def __init__(self, perform: Callable[[Path, str], Mark] = perform) -> None:
        self._perform = perform
        self._waiting: deque[tuple[Path, str]] = deque()

    def submit(self, staging: Path, task: Task) -> None:
        self._waiting.append((staging, task.id))

    def wait(self) -> list[tuple[str, Mark | BaseException]]:
        staging, task_id = self._waiting.popleft()
        try:
            return [(task_id, self._perform(staging, task_id))]
        except Exception as error:
            return [(task_id, error)]

    def close(self) -> None:
        self._waiting.clear()


class Threads:
    """A pool of threads in this process. HDF5 and NetCDF lock themselves to one thread; codecs run side by side."""

    def __init__(self, threads: int) -> None:
        self.window = 2 * threads
        self._pool = ThreadPoolExecutor(threads)
        self._running: dict[Future[Mark], str] = {}

    def submit(self, staging: Path, task: Task) -> None:
        self._running[self._pool.submit(perform, staging, task.id)] = task.id

    def wait(self) -> list[tuple[str, Mark | BaseException]]:
        ended, _ = wait(self._running, return_when=FIRST_COMPLETED)
        return [(self._running.pop(future), future.exception() or future.result()) for future in ended]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class _Queue:
    """The tasks of a plan in the order in which they may run: merges first, for they free disk and end the tree."""

    def __init__(self, plan: Plan, done: set[str]) -> None:
        self.plan = plan
        self.rank = {task.id: (task.kind != "merge", index) for index, task in enumerate(plan.tasks)}
        self.missing = {t.id: {a for a in t.after if a not in done} for t in plan.tasks if t.id not in done}
        self.ready = [(self.rank[name], name) for name, after in self.missing.items() if not after]
        heapq.heapify(self.ready)

    def pop(self) -> Iterator[Task]:
        while self.ready:
            yield self.plan.task(heapq.heappop(self.ready)[1])

    def end(self, name: str) -> None:
        del self.missing[name]
        for follower in self.plan.followers(name):
            after = self.missing.get(follower.id)
            if after is not None and name in after:
                after.remove(name)
                if not after:
                    heapq.heappush(self.ready, (self.rank[follower.id], follower.id))


def execute(
    staging: Path,
    executor: Executor,
    *,
    on_mark: Callable[[Mark], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Perform what has no mark yet, in an order that respects `after`; the first error ends it and is raised.

    `on_mark` sees the marks that were there already, then each new one. Raises Cancelled when `stop()` says so.
    """
    plan = load_plan(staging)
    done = finished(plan, staging)
    for mark in done.values():
        on_mark(mark)
    queue, running = _Queue(plan, set(done)), 0
    ready = queue.pop()
    try:
        while queue.missing:
            while running < executor.window and (task := next(ready, None)):
                executor.submit(staging, task)
                running += 1
            ready = queue.pop()
            if stop():
                raise Cancelled
            for name, result in executor.wait():
                if isinstance(result, BaseException):
                    raise result
                running -= 1
                queue.end(name)
                on_mark(result)
    finally:
        executor.close()
