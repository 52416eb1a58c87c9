"""A web server of files for the tests: ranges, validators, cuts, redirects; what it was asked is in `asked`."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.loopback import serving


@dataclass
class Page:
    """What lies at an address, and how badly it is served."""

    content: bytes = b""
    etag: str = '"v1"'
    ranges: bool = True
    length: bool = True
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int = 0  # bytes of one answer after which the line breaks
    cuts: int = 0  # how often it does
    before: Callable[[], object] = lambda: None


class Web:
    """`url(path)` of a page in `pages`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str]] = []

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def put(self, path: str, content: bytes = b"", **how: object) -> Page:
        self.pages[path.partition("?")[0]] = page = Page(content, **how)  # type: ignore[arg-type]
        return page


def serving_files() -> AbstractContextManager[Web]:
    """A server for the length of a block."""
    return serving(_Handler, Web)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        web: Web = self.server.double  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        web.asked.append((path, self.headers.get("Range", "")))
        page = web.pages.get(path)
        if page:
            page.before()
        if page is None or page.status:
            self._refuse(page.status if page else 404, page.headers if page else {})
            return
        span = self._span(page)
        self._head(page, span)
        self._send(page, page.content[slice(*span)] if span else page.content)

    def _refuse(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _span(self, page: Page) -> tuple[int, int] | None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        fits = self.headers.get("If-Range", page.etag) == page.etag
        if not (page.ranges and page.content and found and fits):
            return None
        return int(found[1]), min(int(found[2]) + 1, len(page.content))

    def _head(self, page: Page, span: tuple[int, int] | None) -> None:
        self.send_response(206 if span else 200)
        length = span[1] - span[0] if span else len(page.content)
        headers = {"ETag": page.etag, **page.headers} if page.etag else page.headers
        if span:
            self.send_header("Content-Range", f"bytes {span[0]}-{span[1] - 1}/{len(page.content)}")
        if page.length:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, page: Page, body: bytes) -> None:
        if page.cuts and page.cut_after and len(body) > page.cut_after:
            page.cuts -= 1
            self.wfile.write(body[: page.cut_after])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""
