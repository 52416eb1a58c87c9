"""A bound for bodies that are read whole, before any route sees them. What is meant to be long is read by `Body`."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1 << 20
DRAINED_BYTES = 16 << 20  # so much of a refused body is still read, for senders that only then look up
STREAMS = "streams"  # in the state of a request: its body is taken piece by piece


class Bound:
    """Answers 413 where more than MOST_BYTES come for a route that holds its whole body in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = _Held(scope, receive) if scope["type"] == "http" else receive
        await self._app(scope, held, send)


class _Held:
    """The body of one request, counted."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._state = scope.setdefault("state", {})
        self._receive = receive
        length = Headers(scope=scope).get("content-length", "")
        self._announced = int(length) if length.isdigit() else 0
        self._size = 0

    async def __call__(self) -> Message:
        if STREAMS in self._state:
            return await self._receive()
        self._check(self._announced)
        message = await self._receive()
        self._size += len(message.get("body", b""))
        self._check(self._size)
        return message

    def _check(self, size_bytes: int) -> None:
        if size_bytes > MOST_BYTES:
            self._state["hang_up"] = lambda: not 0 < self._announced <= DRAINED_BYTES
            # the framework lets no other error through while it reads a body
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {MOST_BYTES} bytes are taken here.")
