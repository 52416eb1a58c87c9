"""Sealed credentials: what a request brings is encrypted before it is stored, and opened only where it is used.

Fernet (AES-128-CBC with HMAC-SHA-256, https://github.com/fernet/spec) under a key that is derived from SECRET_KEY by
HKDF-SHA-256 (RFC 5869). Without SECRET_KEY a random key is made once, in a file that only its owner can read.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from scray.errors import SealBroken
from scray.settings import Settings
from scray.storage import fsync_folder

KEY_FILE = "secret.key"
KEY_BYTES = 32
PURPOSE = b"scray: credentials of imports"


class Sealer:
    """Seals and opens values. Every node that opens needs the same SECRET_KEY, or the same `auth` folder."""

    def __init__(self, settings: Settings) -> None:
        text = settings.secret_key or own_key(settings.storage().auth)
        key = HKDF(SHA256(), KEY_BYTES, salt=None, info=PURPOSE).derive(text.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def seal(self, values: Mapping[str, Any]) -> str:
        """JSON-safe values as a text that tells nothing of them but their length."""
        return self._fernet.encrypt(json.dumps(dict(values)).encode()).decode()

    def open(self, sealed: str) -> dict[str, Any]:
        """Raises SealBroken for what was not sealed with this key."""
        try:
            values: dict[str, Any] = json.loads(self._fernet.decrypt(sealed.encode()))
        except (InvalidToken, ValueError) as error:
            raise SealBroken from error
        return values


def own_key(folder: Path) -> str:
    """The key of this data folder; made, mode 0600, where there is none. Two makers agree on one."""
    path = folder / KEY_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make_key(path)
    return path.read_text().strip()


def _make_key(path: Path) -> None:
    """Whole or not at all: linked into place, so that the first of several makers wins."""
    temporary = path.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_urlsafe(KEY_BYTES))
            file.flush()
            os.fsync(fd)
        path.hardlink_to(temporary)
        fsync_folder(path.parent)
    except FileExistsError:
        pass  # another process was first
    finally:
        temporary.unlink(missing_ok=True)
