"""Coroutines for programs without asyncio: each call is run on a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import functools
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

END_SECONDS = 5.0

P = ParamSpec("P")
T = TypeVar("T")


class Closing(Protocol):
    async def close(self) -> None: ...


Inner = TypeVar("Inner", bound=Closing)


class Loop:
    """An event loop in a thread. A call that is interrupted (Ctrl-C) ends what it was waiting for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="scray-client", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Until `close`; a callback of the caller's that exits ends only the call it belongs to."""
        while True:
            try:
                return self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                continue

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, or its error."""
        over = threading.Event()
        future = asyncio.run_coroutine_threadsafe(_until_over(work, over), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            over.wait(END_SECONDS)
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@functools.cache
def shared_loop() -> Loop:
    """The one of this process, begun when it is first needed, ended with the process."""
    loop = Loop()
    atexit.register(loop.close)
    return loop


class Face(Generic[Inner]):
    """The face of an asynchronous client, a context manager: the same calls, arguments and errors."""

    def __init__(self, inner: Inner) -> None:
        self.inner = inner

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        shared_loop().run(self.inner.close())


def blocking(
    call: Callable[Concatenate[Inner, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Face[Inner], P], T]:
    """A method of a face that waits for this method of the client behind it."""

    @functools.wraps(call)
    def wait(self: Face[Inner], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return shared_loop().run(call(self.inner, *args, **kwargs))

    return wait


async def _until_over(work: Coroutine[Any, Any, T], over: threading.Event) -> T:
    try:
        return await work
    finally:
        over.set()
