"""Which addresses an import may ask: public ones, and those on the operator's list; and a client that keeps to it.

The client connects to the very address that was checked, on every redirect again, and obeys no proxy.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from ssl import SSLContext
from typing import Any, TypeVar

import httpcore
import httpx

from scray.errors import BadParameter, ForbiddenAddress, SourceRefused, SourceUnreachable
from scray.settings import Settings

MAX_REDIRECTS = 5
TIMEOUT = httpx.Timeout(60.0, connect=20.0)
LONGEST_WAIT_SECONDS = 60.0
NAT64 = IPv6Network("64:ff9b::/96")
WHY: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "no address is known for this name (or the name service does not answer)"),
    (httpx.ConnectTimeout, "it does not answer"),
    (httpx.ConnectError, "nothing there takes the connection"),
    (httpx.ReadTimeout, "it has sent nothing for a minute"),
    (httpx.RemoteProtocolError, "it broke the connection off"),
)
Address = IPv4Address | IPv6Address
T = TypeVar("T")


class Allowed:
    """The rule, from SCRAY_ALLOWED_ADDRESSES: addresses, or networks like 10.1.0.0/16. BadParameter for others."""

    def __init__(self, settings: Settings) -> None:
        try:
            self.networks = [ip_network(text, strict=False) for text in settings.allowed_addresses]
        except ValueError as error:
            raise BadParameter(f"SCRAY_ALLOWED_ADDRESSES: {error}.") from error

    def __call__(self, address: Address) -> bool:
        inner = embedded(address)
        return (address.is_global and inner.is_global and not address.is_multicast) or any(
            one in network for one in {address, inner} for network in self.networks
        )


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


@cache
def _context() -> SSLContext:
    return httpx.create_ssl_context()


def checked_addresses(host: str, port: int, allowed: Allowed) -> list[str]:
    """The addresses of a host. Raises ForbiddenAddress where any of them is not allowed; OSError where there is none.

    Nothing is sent to any of them, not even to see whether somebody answers.
    """
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)]
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(f"'{host}' is no name of a host.") from error
    if not all(allowed(ip_address(text)) for text in found):
        raise ForbiddenAddress(
            f"'{host}' is not a public address; the operator may list it in SCRAY_ALLOWED_ADDRESSES."
        )
    return found


class _CheckedNetwork(httpcore.AnyIOBackend):
    """Connects to the very addresses it has checked; certificates are still those of the name."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        *others, last = await asyncio.to_thread(checked_addresses, host, port, self._allowed)
        for address in others:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
        return await super().connect_tcp(last, port, timeout, local_address, socket_options)


def checked_client(settings: Settings, **options: Any) -> httpx.AsyncClient:
    """A client that connects to allowed addresses alone."""
    transport = httpx.AsyncHTTPTransport(verify=_context(), trust_env=False)
    transport._pool = httpcore.AsyncConnectionPool(_context(), network_backend=_CheckedNetwork(Allowed(settings)))
    return httpx.AsyncClient(
        transport=transport, trust_env=False, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}, **options
    )


def run(coroutine: Coroutine[Any, Any, T], host: str) -> T:
    """Carry out a conversation with `host`; what the client raises becomes an error of ours."""
    try:
        return asyncio.run(coroutine)
    except httpx.TooManyRedirects as error:
        raise SourceRefused(f"{host} redirects more than {MAX_REDIRECTS} times.") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise SourceRefused(f"{host} leads to something that is neither http nor https.") from error
    except (httpx.TransportError, httpx.StreamError, OSError) as error:
        why = next((words for kind, words in WHY if isinstance(error, kind)), type(error).__name__)
        raise SourceUnreachable(f"{host} could not be reached: {why}.") from error


def check_scheme(url: httpx.URL) -> None:
    """Raises SourceRefused for anything but http and https."""
    if url.scheme not in {"http", "https"} or not url.host:
        raise SourceRefused("Only http:// and https:// addresses can be imported.")


def busy(answer: httpx.Response, host: str) -> SourceUnreachable | None:
    """The error of an answer that asks to come back later, or of a server that fails."""
    if answer.status_code in {408, 425, 429} or answer.status_code >= 500:
        error = SourceUnreachable(f"{host} answered {answer.status_code}.")
        error.wait_seconds = wait_seconds(answer.headers.get("retry-after", ""))
        return error
    return None


def wait_seconds(text: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float:
    """How long `Retry-After` asks to wait (RFC 9110: seconds or a date), at most a minute; 0 where it says nothing."""
    if re.fullmatch(r"\d{1,9}", text):
        return min(float(text), LONGEST_WAIT_SECONDS)
    try:
        seconds = (parsedate_to_datetime(text) - now()).total_seconds()
    except (TypeError, ValueError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)
