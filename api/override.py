"""tus for clients that can only GET and POST: the method they mean is in `X-HTTP-Method-Override`, and counts."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.tus import PLACE

HEADER = "x-http-method-override"
METHODS = frozenset({"HEAD", "PATCH", "DELETE"})


class Override:
    """Only below the address of tus, and only of a POST: elsewhere nobody expects it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(f"{PLACE}/"):
            meant = Headers(scope=scope).get(HEADER, "").upper()
            scope["method"] = meant if meant in METHODS else "POST"
        await self._app(scope, receive, send)
