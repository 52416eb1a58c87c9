"""A double of Google's token service and of the reading half of Drive API v3, as its documentation describes them."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import AbstractContextManager
from hashlib import md5
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt

from tests.loopback import serving

APPS = "application/vnd.google-apps."
SCOPE = "https://www.googleapis.com/auth/drive.readonly"
AUDIENCE = "https://oauth2.googleapis.com/token"  # whatever address the token is asked from
PAGE = 2  # children a page


class Drive:
    """`key` is a service account's; `put` and `folder` make items, shared with it unless `shared` is false."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/drive/v3"
        self.items: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.tokens: dict[str, int] = {}  # token -> requests it is still good for
        self.token_uses = 1000
        self.failures: list[tuple[int, str, dict[str, str]]] = []  # the next answers
        self.cut_after = 0
        self.asked: list[str] = []
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public_key = public
        self.key = {
            "type": "service_account", "client_email": "robot@lab.example.org", "private_key_id": "k1",
            "private_key": pem.decode(), "token_uri": f"http://127.0.0.1:{port}/token",
        }  # fmt: skip

    def put(self, name: str, content: bytes = b"", parent: str = "", kind: str = "image/tiff", **more: Any) -> str:
        id = f"{len(self.items):03}{secrets.token_hex(6)}"
        item = {"id": id, "name": name, "mimeType": kind, "parents": [parent], "shared": True, **more}
        if not kind.startswith(APPS):
            item |= {"size": str(len(content)), "md5Checksum": md5(content).hexdigest(), "headRevisionId": f"r{id}"}
        self.items[id], self.contents[id] = item | more, content
        return id

    def folder(self, name: str, parent: str = "", **more: Any) -> str:
        return self.put(name, parent=parent, kind=f"{APPS}folder", **more)

    def shortcut(self, name: str, target: str, parent: str = "") -> str:
        return self.put(name, parent=parent, kind=f"{APPS}shortcut", shortcutDetails={"targetId": target})

    def grant(self, assertion: str) -> str | None:
        """A token for an assertion that this account's key has signed, for this service and the right to read."""
        try:
            verifier = crypt.RSAVerifier.from_string(self.public_key)  # type: ignore[no-untyped-call]
            header, claims, signed, signature = jwt._unverified_decode(assertion)  # type: ignore[no-untyped-call]
        except ValueError:
            return None
        right = (claims["iss"], claims["aud"], claims["scope"], header["alg"]) == (
            self.key["client_email"], AUDIENCE, SCOPE, "RS256",
        )  # fmt: skip
        if not right or not verifier.verify(signed, signature):
            return None
        token = secrets.token_hex(16)
        self.tokens[token] = self.token_uses
        return token


def serving_drive() -> AbstractContextManager[Drive]:
    return serving(_Handler, Drive)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def drive(self) -> Drive:
        found: Drive = self.server.double  # type: ignore[attr-defined]
        return found

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        token = self.drive.grant(form.get("assertion", [""])[0])
        if token is None:
            self._json({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
        else:
            self._json({"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    def do_GET(self) -> None:
        drive = self.drive
        drive.asked.append(f"{self.path} {self.headers.get('Range', '')}")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if drive.tokens.get(token, 0) < 1:
            self._error(401, "authError")
            return
        drive.tokens[token] -= 1
        if drive.failures:
            status, reason, headers = drive.failures.pop(0)
            self._error(status, reason, headers)
            return
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if query.get("supportsAllDrives") != "true":
            self._error(404, "notFound")
        elif parts.path == "/drive/v3/files":
            self._list(query)
        elif found := re.fullmatch(r"/drive/v3/files/([\w-]+)(/export)?", parts.path):
            self._one(found[1], bool(found[2]), query)
        else:
            self._error(404, "notFound")

    def _list(self, query: dict[str, str]) -> None:
        found = re.fullmatch(r"'([\w-]+)' in parents and trashed = false", query["q"])
        assert found
        assert query["includeItemsFromAllDrives"] == "true"
        children = [item for item in self.drive.items.values() if found[1] in item["parents"]]
        start = int(query.get("pageToken", "0"))
        page: dict[str, Any] = {"files": children[start : start + PAGE]}
        if start + PAGE < len(children):
            page["nextPageToken"] = str(start + PAGE)
        self._json(page)

    def _one(self, id: str, export: bool, query: dict[str, str]) -> None:
        item = self.drive.items.get(id)
        if item is None or not item["shared"]:
            self._error(404, "notFound")
        elif export:
            self._bytes(query["mimeType"].encode())
        elif query.get("alt") != "media":
            self._json(item)
        elif item["mimeType"].startswith(APPS):
            self._error(403, "fileNotDownloadable")
        else:
            self._media(self.drive.contents[id])

    def _media(self, content: bytes) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not found:
            self._bytes(content)
            return
        start, stop = int(found[1]), min(int(found[2]) + 1, len(content))
        self._bytes(content[start:stop], 206, {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})

    def _bytes(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        cut, self.drive.cut_after = self.drive.cut_after, 0
        self.wfile.write(content[: cut or None])
        if cut:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)

    def _json(self, values: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(values).encode()
        self.send_response(status)
        for name, value in {
            **(headers or {}), "Content-Type": "application/json", "Content-Length": str(len(text)),
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def _error(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        errors = [{"domain": "global", "reason": reason, "message": reason}]
        self._json({"error": {"code": status, "message": reason, "errors": errors}}, status, headers)

    def log_message(self, *_: object) -> None:
        """Nothing."""
