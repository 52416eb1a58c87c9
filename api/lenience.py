"""What is meant by requests that say it otherwise, before any route sees them.

Below `/api/upload` an address may end in a slash: a redirection would cost whoever sends a body that body. And tus is
for clients that can only GET and POST, too: the method they mean is in `X-HTTP-Method-Override`, and counts.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.tus import PLACE

UPLOADS = "/api/upload/"
HEADER = "x-http-method-override"
METHODS = frozenset({"HEAD", "PATCH", "DELETE"})


class Lenience:
    """Puts the request as the routes expect it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(UPLOADS):
            scope = {**scope, "path": scope["path"].removesuffix("/"), "method": _meant(scope)}
        await self._app(scope, receive, send)


def _meant(scope: Scope) -> str:
    """Only of a POST, and only to an upload of tus: elsewhere nobody expects another method."""
    meant = Headers(scope=scope).get(HEADER, "").upper()
    overridden = scope["method"] == "POST" and scope["path"].startswith(f"{PLACE}/") and meant in METHODS
    return meant if overridden else str(scope["method"])
