"""A file at an http:// or https:// address (RFC 9110: ranges and If-Range; RFC 9530: digests)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from email.message import Message
from typing import Any
from urllib.parse import unquote

import httpx

from scray.errors import EmptyInput, RemoteChanged, SourceDenied, SourceNotFound, SourceRefused, UnsafePath
from scray.settings import Settings
from scray.sources import Listing, RemoteFile, Sink, Source, check_size
from scray.sources.address import MAX_REDIRECTS, busy, check_scheme, checked_client, run
from scray.spans import Span
from scray.storage import safe_name

CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)")
DIGESTS = {"sha-256": ("sha256", 32), "md5": ("md5", 16)}
PACKED = (".gz", ".tgz")


class UrlSource(Source):
    """`config` has `url`. Nothing is sent to an address that is not allowed, whatever names and redirects say."""

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        self._settings = settings
        try:
            self._url = httpx.URL(config["url"])
        except httpx.InvalidURL:  # what it says may be a part of a password
            raise SourceRefused("This is not an address.") from None
        check_scheme(self._url)
        self._host = self._url.host

    def probe(self) -> Listing:
        return Listing((run(self._probe(), self._host),))

    def read(self, file: RemoteFile, span: Span, sink: Sink) -> None:
        run(self._read(file, span, sink), self._host)

    def _client(self) -> httpx.AsyncClient:
        return checked_client(self._settings, follow_redirects=True, max_redirects=MAX_REDIRECTS)

    async def _probe(self) -> RemoteFile:
        """A GET, not a HEAD: signed addresses allow nothing else."""
        wanted = {"Range": "bytes=0-0"}
        async with self._client() as client, client.stream("GET", self._url, headers=wanted) as answer:
            if answer.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                check_answer(answer, self._host)
            return self._file(answer)

    def _file(self, answer: httpx.Response) -> RemoteFile:
        name = file_name(answer)
        check_encoding(answer, name)
        size, version = full_size(answer), validator(answer.headers)
        if size == 0:
            raise EmptyInput(f"The file at {self._host} is empty.")
        check_size(size or 0, name, self._settings)
        ranged = bool(answer.status_code == httpx.codes.PARTIAL_CONTENT and version and size)
        return RemoteFile(name, "", size, version, ranged, checksum(answer.headers))

    async def _read(self, file: RemoteFile, span: Span, sink: Sink) -> None:
        headers = {"Range": f"bytes={span.start}-{span.stop - 1}", "If-Range": file.version} if file.ranged else {}
        async with self._client() as client, client.stream("GET", self._url, headers=headers) as answer:
            check_answer(answer, self._host)
            self._check_same(answer, file, span)
            async for data in answer.aiter_raw():
                sink(data)

    def _check_same(self, answer: httpx.Response, file: RemoteFile, span: Span) -> None:
        """The answer is of the version that was probed, and of the bytes that were asked for."""
        version = validator(answer.headers)
        if (version or file.version) != file.version or (full_size(answer) or file.size) != file.size:
            raise RemoteChanged(f"The file at {self._host} was changed while it was fetched.")
        if not file.ranged:
            return
        if answer.status_code != httpx.codes.PARTIAL_CONTENT:
            raise RemoteChanged(f"{self._host} does not continue where it was asked to: the file was changed.")
        found = CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if not found or (found[1], found[2]) != (str(span.start), str(span.stop - 1)):
            raise SourceRefused(f"{self._host} sends other bytes than it was asked for.")


def check_answer(answer: httpx.Response, host: str) -> None:
    """Raises what an answer without the file means."""
    code = answer.status_code
    if code in {httpx.codes.OK, httpx.codes.PARTIAL_CONTENT}:
        return
    if error := busy(answer, host):
        raise error
    if code in {401, 403, 407}:
        raise SourceDenied(f"{host} refuses access ({code}): the address needs a login, or has expired.")
    if code in {404, 410}:
        raise SourceNotFound(f"{host} has nothing at this address ({code}).")
    raise SourceRefused(f"{host} answered {code} instead of sending the file.")


def check_encoding(answer: httpx.Response, name: str) -> None:
    """Nothing is unpacked on the way, so what comes packed must be a packed file."""
    encoding = answer.headers.get("content-encoding", "identity")
    if encoding != "identity" and not name.lower().endswith(PACKED):
        raise SourceRefused(f"The server sends '{name}' only in the encoding {encoding[:20]}.")


def full_size(answer: httpx.Response) -> int | None:
    """The size of the whole file; None where the server does not say."""
    if answer.status_code == httpx.codes.OK:
        text = answer.headers.get("content-length", "")
        return int(text) if re.fullmatch(r"\d{1,19}", text) else None
    found = CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    return int(found[3]) if found and found[3] != "*" else None


def validator(headers: httpx.Headers) -> str:
    """What If-Range takes: a strong ETag, or a time of change that is older than the answer; else ""."""
    etag: str = headers.get("etag", "")
    if etag.startswith('"'):
        return etag
    changed: str = headers.get("last-modified", "")
    return changed if changed and changed != headers.get("date") else ""


def checksum(headers: httpx.Headers) -> str:
    """A digest of the whole file that the server gives: `Repr-Digest`, `x-goog-hash`; else ""."""
    texts = [*headers.get_list("repr-digest", split_commas=True), *headers.get_list("x-goog-hash", split_commas=True)]
    found = dict(text.partition("=")[::2] for text in texts)
    for name, (algorithm, size) in DIGESTS.items():
        try:
            digest = base64.b64decode(found.get(name, "").strip(":"), validate=True)
        except binascii.Error:
            continue
        if len(digest) == size:
            return f"{algorithm}:{digest.hex()}"
    return ""


def file_name(answer: httpx.Response) -> str:
    """The name the server gives, else the last part of the address, else `download`."""
    for text in (_disposed(answer.headers.get("content-disposition", "")), unquote(_last(answer.url))):
        try:
            return safe_name(text)
        except UnsafePath:
            continue
    return "download"


def _last(url: httpx.URL) -> str:
    return url.raw_path.partition(b"?")[0].rstrip(b"/").rpartition(b"/")[2].decode(errors="replace")


def _disposed(text: str) -> str:
    """`filename` of a Content-Disposition (RFC 6266)."""
    message = Message()
    message["content-disposition"] = text
    return message.get_filename() or ""
