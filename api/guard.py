"""Who may ask: the name the client used, the page it came from, and the token, checked before any route.

A page on another site can make a browser send requests to a loopback address (by its own scripts, or by a name
that it points there), so the `Host` and the `Origin` of a request must be known ones.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem_of
from scray.errors import BadRequest, Forbidden, ScrayError, Unauthorised

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
OPEN_PATHS = frozenset({"/health", "/healthz", "/readyz"})
RESULTS = re.compile(r"/api/v1/datasets/[^/]+/files(/.*)?")  # some are for everybody; their routes look at each


class Guard:
    """Lets a request through, or answers it with a problem."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], origins: Iterable[str], token: str) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in {"http", "websocket"} else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await problem_of(refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ScrayError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host_name(host) not in self._hosts:
            return BadRequest(f"This service is not called {host[:80]!r} (SCRAY_ALLOWED_HOSTS).")
        origin = headers.get("origin")
        if origin is not None and not self._is_known(origin.lower(), host.lower()):
            return Forbidden(f"Pages of {origin[:80]} may not use this service (SCRAY_CORS_ORIGINS).")
        if scope["path"] in OPEN_PATHS or scope.get("method") == "OPTIONS" or self._has_token(headers):
            return None
        if _reads_result(scope) and "authorization" not in headers:
            scope.setdefault("state", {})["stranger"] = True
            return None
        return Unauthorised("A valid token is needed: send 'Authorization: Bearer <SCRAY_API_TOKEN>'.")

    def _is_known(self, origin: str, host: str) -> bool:
        return origin in self._origins or origin in {f"http://{host}", f"https://{host}"}

    def _has_token(self, headers: Headers) -> bool:
        if not self._token:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token)


def is_stranger(request: Request) -> bool:
    """Whether a request that was let through came without the token that is needed elsewhere."""
    return bool(getattr(request.state, "stranger", False))


def _reads_result(scope: Scope) -> bool:
    return scope.get("method") in {"GET", "HEAD"} and RESULTS.fullmatch(scope["path"]) is not None


def host_name(host: str) -> str:
    """The name in a `Host` header, without its port; empty when it is malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
