"""Requests made again until they are answered, and many things done a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from scray.client.wire import Patience
from scray.errors import ScrayError

T = TypeVar("T")


async def persist(ask: Callable[[], Awaitable[T]]) -> T:
    """A request that may be made again, until it is answered."""
    patience = Patience()
    while True:
        try:
            return await ask()
        except ScrayError as error:
            await patience.pause(error)


async def each(items: Iterable[T], at_once: int, do: Callable[[T], Awaitable[None]]) -> None:
    """Do something with every item, so many at a time. The first error ends all."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await do(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
