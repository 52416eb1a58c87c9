"""Files and folders of Google Drive, shared with a service account (Drive API v3, read only).

Folders are walked, shared drives too; shortcuts are followed; documents of Google are exported, or reported where they
cannot be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import httpx
from google.auth import exceptions, transport
from google.oauth2 import service_account

from scray.errors import (
    RemoteChanged,
    ScrayError,
    SourceDenied,
    SourceNotFound,
    SourceRefused,
    SourceUnreachable,
    UnsafePath,
)
from scray.settings import Settings
from scray.sources import Listing, RemoteFile, Sink, Source, check_size
from scray.sources.address import MAX_REDIRECTS, TIMEOUT, busy, checked_client, run, wait_seconds
from scray.sources.patience import patiently
from scray.spans import Span
from scray.storage import safe_name

SCOPE = "https://www.googleapis.com/auth/drive.readonly"
APPS = "application/vnd.google-apps."
FOLDER, SHORTCUT = f"{APPS}folder", f"{APPS}shortcut"
OFFICE = "application/vnd.openxmlformats-officedocument."
EXPORTS = {
    f"{APPS}document": ("application/pdf", ".pdf"),
    f"{APPS}spreadsheet": (f"{OFFICE}spreadsheetml.sheet", ".xlsx"),
    f"{APPS}presentation": (f"{OFFICE}presentationml.presentation", ".pptx"),
    f"{APPS}drawing": ("application/pdf", ".pdf"),
}
FIELDS = "id,name,mimeType,size,md5Checksum,headRevisionId,shortcutDetails(targetId),capabilities(canDownload)"
ALL_DRIVES = {"supportsAllDrives": "true"}
PAGE = {"pageSize": "1000", "includeItemsFromAllDrives": "true", "fields": f"nextPageToken,files({FIELDS})"}
MOST_FILES = 1_000_000
RATE = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "sharingRateLimitExceeded", "backendError"})
REFUSED = frozenset({"fileNotDownloadable", "exportSizeLimitExceeded", "cannotDownloadAbusiveFile"})
HOST = "Google Drive"
KEYS_FOLDER = "google"
KEY_NAME = re.compile(r"\w[\w.-]{0,199}")

Item = Mapping[str, Any]


class DriveSource(Source):
    """`config` has `id`, `resource_key` and `service_account`, the key as JSON or the name of one of the operator's."""

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        self._settings = settings
        self._id, self._resource_key = config["id"], config["resource_key"]
        self._credentials = credentials(config["service_account"], settings)
        self._notes: list[str] = []

    # --- listing -------------------------------------------------------------------------------------

    def probe(self) -> Listing:
        self._notes = []
        top = self._target(self._item(self._id))
        if top["mimeType"] != FOLDER:
            file = self._file(top, PurePosixPath())
            if file is None:
                raise SourceRefused(self._notes[0])
            return Listing((file,))
        found: dict[str, RemoteFile] = {}
        for file in self._walk(top):
            found[file.path] = file
            if len(found) > MOST_FILES:
                raise SourceRefused(f"The folder holds more than {MOST_FILES:,} files.")
        return Listing(tuple(found.values()), tuple(self._notes))

    def _walk(self, top: Item) -> Iterator[RemoteFile]:
        """The files of a folder and its folders, each folder once; equal names are told apart by a number."""
        waiting, seen = [(top, PurePosixPath())], {top["id"]}
        while waiting:
            folder, place = waiting.pop()
            taken: set[str] = set()
            for item in map(self._target, self._children(folder["id"])):
                name = _free_name(item, taken)
                if item["mimeType"] != FOLDER:
                    file = self._file({**item, "name": name}, place)
                    if file:
                        yield file
                elif item["id"] not in seen:
                    seen.add(item["id"])
                    waiting.append((item, place / name))

    def _item(self, id: str) -> Item:
        return self._ask(f"/files/{id}", {"fields": FIELDS})

    def _children(self, id: str) -> Iterator[Item]:
        token = ""
        while True:
            query = {"q": f"'{id}' in parents and trashed = false", **PAGE} | ({"pageToken": token} if token else {})
            page = self._ask("/files", query)
            yield from page.get("files", ())
            token = page.get("nextPageToken", "")
            if not token:
                return

    def _target(self, item: Item) -> Item:
        """What a shortcut leads to, under the name of the shortcut."""
        if item["mimeType"] != SHORTCUT:
            return item
        return {**self._item(item["shortcutDetails"]["targetId"]), "name": item["name"]}

    def _file(self, item: Item, place: PurePosixPath) -> RemoteFile | None:
        """None, and a note, for what has no content and cannot be exported."""
        name, kind = _name(item), item["mimeType"]
        if kind in EXPORTS:
            ending = EXPORTS[kind][1]
            path = place / (name if name.endswith(ending) else name + ending)
            return RemoteFile(str(path), f"{item['id']}/export?mimeType={EXPORTS[kind][0]}", None)
        if kind.startswith(APPS):
            self._notes.append(f"'{name}' was left out: a {kind.removeprefix(APPS)} of Google cannot be downloaded.")
            return None
        if not item.get("capabilities", {}).get("canDownload", True):
            raise SourceDenied(f"The owner of '{name}' does not allow to download it.")
        size = int(item["size"]) if "size" in item else None
        check_size(size or 0, name, self._settings)
        md5 = item.get("md5Checksum", "")
        version = item.get("headRevisionId") or md5
        checksum = f"md5:{md5}" if md5 else ""
        return RemoteFile(str(place / name), f"{item['id']}?alt=media", size, version, bool(md5 and size), checksum)

    # --- reading -------------------------------------------------------------------------------------

    def read(self, file: RemoteFile, span: Span, sink: Sink) -> None:
        path, _, query = file.key.partition("?")
        headers = {"Range": f"bytes={span.start}-{span.stop - 1}"} if file.ranged else {}
        url = self._url(f"/files/{path}", dict([query.split("=", 1)]))
        self._twice(lambda: run(self._read(url, file, headers, sink), HOST))

    async def _read(self, url: httpx.URL, file: RemoteFile, headers: dict[str, str], sink: Sink) -> int:
        async with self._client() as client, client.stream("GET", url, headers=headers) as answer:
            if answer.status_code not in {200, 206}:
                await answer.aread()
                self._check(answer, file.path)
            elif file.ranged and answer.status_code != 206:
                raise RemoteChanged(f"'{file.path}' was changed while it was fetched.")
            else:
                async for data in answer.aiter_raw():
                    sink(data)
            return answer.status_code

    # --- asking --------------------------------------------------------------------------------------

    def _ask(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        found: list[httpx.Response] = []
        patiently(lambda: self._twice(lambda: self._get(self._url(path, query), found)))
        try:
            values: dict[str, Any] = found[-1].json()
        except ValueError as error:
            raise SourceUnreachable("Google Drive did not answer in JSON.") from error
        return values

    def _get(self, url: httpx.URL, found: list[httpx.Response]) -> int:
        async def ask() -> httpx.Response:
            async with self._client() as client:
                return await client.get(url)

        found.append(run(ask(), HOST))
        self._check(found[-1], self._id)
        return found[-1].status_code

    def _twice(self, ask: Any) -> None:
        """Ask with a token, and with a new one where that has run out."""
        self._refresh(force=False)
        if ask() != httpx.codes.UNAUTHORIZED:
            return
        self._refresh(force=True)
        if ask() == httpx.codes.UNAUTHORIZED:
            raise SourceDenied(f"Google Drive refuses the service account {self._who}.")

    def _refresh(self, *, force: bool) -> None:
        if self._credentials.valid and not force:
            return
        try:
            self._credentials.refresh(_Transport(self._settings))
        except exceptions.RefreshError as error:
            raise SourceDenied(f"Google refuses the key of the service account {self._who}.") from error
        except exceptions.TransportError as error:
            raise SourceUnreachable("Google could not be asked for access.") from error

    @property
    def _who(self) -> str:
        return str(self._credentials.service_account_email)

    def _client(self) -> httpx.AsyncClient:
        client = checked_client(self._settings, follow_redirects=True, max_redirects=MAX_REDIRECTS)
        client.headers["Authorization"] = f"Bearer {self._credentials.token}"
        if self._resource_key:
            client.headers["X-Goog-Drive-Resource-Keys"] = f"{self._id}/{self._resource_key}"
        return client

    def _url(self, path: str, query: Mapping[str, str]) -> httpx.URL:
        return httpx.URL(self._settings.drive_endpoint + path, params={**query, **ALL_DRIVES})

    def _check(self, answer: httpx.Response, name: str) -> None:
        """Raises what an error means; an old token (401) is left to `_twice`."""
        if answer.status_code in {200, 206, httpx.codes.UNAUTHORIZED}:
            return
        raise busy(answer, HOST) or self._meaning(answer, name)

    def _meaning(self, answer: httpx.Response, name: str) -> ScrayError:
        reason = _reason(answer)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return SourceNotFound(f"'{name}' does not exist, or is not shared with {self._who}.")
        if reason in RATE:
            error = SourceUnreachable(f"Google Drive asks to wait: {reason}.")
            error.wait_seconds = wait_seconds(answer.headers.get("retry-after", ""))
            return error
        if reason in REFUSED or answer.status_code != httpx.codes.FORBIDDEN:
            return SourceRefused(f"'{name}' cannot be downloaded from Google Drive: {reason or answer.status_code}.")
        return SourceDenied(f"{self._who} may not read '{name}' ({reason}): share it with this address.")


class _Transport(transport.Request):
    """How google-auth asks: to allowed addresses alone, wherever a key says that tokens are given."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(
        self, url: str, method: str = "GET", body: Any = None, headers: Any = None, timeout: Any = None, **_: Any
    ) -> _Answer:
        async def ask() -> httpx.Response:
            async with checked_client(self._settings) as client:
                return await client.request(method, url, content=body, headers=headers, timeout=timeout or TIMEOUT)

        return _Answer(run(ask(), "The service that gives tokens"))


class _Answer(transport.Response):
    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._answer.headers

    @property
    def data(self) -> bytes:
        return self._answer.content


def credentials(text: str, settings: Settings) -> Any:
    """Of a key as JSON, or of the operator's key of that name. SourceDenied where it is none.

    Of a path, as existing clients send it, only the name counts.
    """
    if not text.lstrip().startswith("{"):
        name = f"{PurePosixPath(text).name.removesuffix('.json')}.json"
        path = settings.storage().auth / KEYS_FOLDER / name
        if not KEY_NAME.fullmatch(name) or not path.is_file():
            raise SourceDenied(f"The operator has no service account {text[:80]!r}.")
        text = path.read_text()
    try:
        make: Any = service_account.Credentials.from_service_account_info
        return make(json.loads(text), scopes=[SCOPE])
    except (ValueError, TypeError, AttributeError, exceptions.GoogleAuthError) as error:
        raise SourceDenied("This is not the key of a service account.") from error


def _name(item: Item) -> str:
    try:
        return safe_name(str(item["name"]).replace("/", "_").replace("\\", "_"))
    except UnsafePath:
        return str(item["id"])


def _free_name(item: Item, taken: set[str]) -> str:
    """The name of an item in its folder, with a number where another has it already."""
    path = PurePosixPath(_name(item))
    name, number = path.name, 1
    while name in taken:
        number += 1
        name = f"{path.stem} ({number}){path.suffix}"
    taken.add(name)
    return name


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["errors"][0]["reason"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
