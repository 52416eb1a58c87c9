"""Requests to one service: its answers as objects, its refusals as the errors they name, and how long to try again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import httpx

from scray.errors import BadParameter, RemoteChanged, ScrayError, ServiceError, Unreachable, every_error
from scray.retry import delay_seconds

CONNECT_SECONDS = 10.0
REPLY_SECONDS = 300.0
PASSING = frozenset({408, 425, 429, 502, 503, 504})
TRIES = 20  # fruitless ones, one after another: about eight minutes, longer than a dead connection holds a place
LONGEST_PAUSE_SECONDS = 30.0


class Wire:
    """Raises the error the service names by its code, ServiceError for other answers, Unreachable for none.

    An error that is worth another try says in `retry_after_seconds` how long the service wants to be left alone.
    """

    def __init__(self, base_url: str, token: str | None, stall_seconds: float) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx.Timeout(REPLY_SECONDS, connect=CONNECT_SECONDS, write=stall_seconds)
        self._stall = httpx.Timeout(stall_seconds, connect=CONNECT_SECONDS)
        limits = httpx.Limits(max_connections=None)
        self._http = httpx.AsyncClient(
            base_url=_address(base_url), headers=headers, timeout=timeout, limits=limits, trust_env=False
        )

    @property
    def base_url(self) -> str:
        return str(self._http.base_url)

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str, **values: Any) -> dict[str, Any]:
        """One request, one object."""
        return _content(await self._send(method, path, **values))

    async def send(self, path: str, body: AsyncIterator[bytes], size_bytes: int, **values: Any) -> dict[str, Any]:
        """PUT so many bytes; a connection on which nothing moves is given up."""
        headers = {"Content-Length": str(size_bytes)}
        reply = await self._send("PUT", path, content=body, headers=headers, timeout=self._stall, **values)
        return _content(reply)

    async def fetch(self, path: str, part: Path, size_bytes: int, on_bytes: Callable[[int], None]) -> None:
        """Add to a file what it lacks of the so many bytes at a path; what came before the line broke stays.

        `on_bytes` hears of every piece, of fewer than nothing when the service begins anew. Raises RemoteChanged when
        there are more or fewer bytes.
        """
        with part.open("ab") as file:
            here = file.tell()
            asked = {"Range": f"bytes={here}-", "Accept-Encoding": "identity"}
            try:
                async with self._http.stream("GET", path, headers=asked, timeout=self._stall) as reply:
                    await _check(reply)
                    if here and reply.status_code != httpx.codes.PARTIAL_CONTENT:
                        file.truncate(0)
                        on_bytes(-here)
                    async for piece in reply.aiter_raw():
                        file.write(piece)
                        on_bytes(len(piece))
                        if file.tell() > size_bytes:
                            break
            except httpx.TransportError as error:
                raise self._lost(error) from error
            if file.tell() != size_bytes:
                raise RemoteChanged(f"{path} has not the {size_bytes} bytes that were promised.")

    async def _send(self, method: str, path: str, **values: Any) -> httpx.Response:
        try:
            reply = await self._http.request(method, path, **values)
        except httpx.TransportError as error:
            raise self._lost(error) from error
        if reply.is_success:
            return reply
        raise _refusal(reply)

    def _lost(self, error: httpx.TransportError) -> Unreachable:
        lost = Unreachable(f"{self.base_url} could not be reached: {str(error) or type(error).__name__}")
        lost.retry_after_seconds = 0.0
        return lost


class Patience:
    """How often something is tried again without any progress."""

    def __init__(self, tries: int = TRIES) -> None:
        self._tries = tries
        self._failed = self._silent = 0
        self._random = Random()

    def renew(self) -> None:
        """Something came through."""
        self._failed = self._silent = 0

    def moved(self) -> None:
        """The service took bytes, whatever becomes of them: it is not far, so the next pause is a short one."""
        self._silent = 0

    async def pause(self, error: ScrayError) -> None:
        """Wait before another try; raises the error when another try is not worth it."""
        self._failed += 1
        self._silent += 1
        if error.retry_after_seconds is None or self._failed >= self._tries:
            raise error
        usual = min(LONGEST_PAUSE_SECONDS, delay_seconds(self._silent, self._random))
        await asyncio.sleep(max(usual, error.retry_after_seconds))


def segment(text: str) -> str:
    """One part of a path."""
    return quote(text, safe="")


def texts(form: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a form, without those that are None."""
    words = {True: "true", False: "false"}
    return {
        name: words[value] if isinstance(value, bool) else str(value)
        for name, value in form.items()
        if value is not None
    }


def _address(text: str) -> httpx.URL:
    with suppress(httpx.InvalidURL):
        url = httpx.URL(text)
        if url.scheme in ("http", "https") and url.host and " " not in url.host and (url.port or 0) < 1 << 16:
            return url
    raise BadParameter(f"{text!r} is not the address of a service: write it like http://127.0.0.1:8000.")


async def _check(reply: httpx.Response) -> None:
    """Raises what an answer whose body is still to come refuses."""
    if reply.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise RemoteChanged(f"{reply.url.path} has become shorter.")
    if not reply.is_success:
        await reply.aread()
        raise _refusal(reply)


def _content(reply: httpx.Response) -> dict[str, Any]:
    try:
        content = reply.json()
    except ValueError as error:
        raise ServiceError(f"{reply.url} did not answer with JSON; is it a scray service?") from error
    if not isinstance(content, dict):
        raise ServiceError(f"{reply.url} did not answer with an object; is it a scray service?")
    return content


def _refusal(reply: httpx.Response) -> ScrayError:
    """The error that the service named, as if it had been raised here."""
    passing = reply.status_code in PASSING
    try:
        content = _content(reply)
    except ServiceError as error:  # perhaps a proxy before the service
        error.retry_after_seconds = _wait(reply) if passing else None
        return error
    code = content.get("code")
    kind = next((error for error in every_error() if error.code == code), ServiceError)
    refusal = kind(str(content.get("detail") or f"{reply.url} answered {reply.status_code}."))
    refusal.retry_after_seconds = _wait(reply) if passing or kind.transient else None
    return refusal


def _wait(reply: httpx.Response) -> float:
    """The seconds of `Retry-After`; a date is not worth reading."""
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0
