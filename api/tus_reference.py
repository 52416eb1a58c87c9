"""The headers of tus for the OpenAPI document; they are read where they are used."""

from __future__ import annotations

from typing import Any

WHOLE = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "Tus-Resumable": ({"type": "string", "enum": ["1.0.0"]}, "The version of the protocol."),
    "Upload-Length": (WHOLE, "Bytes of the whole file."),
    "Upload-Defer-Length": ({"type": "string", "enum": ["1"]}, "Its length will be told later."),
    "Upload-Offset": (WHOLE, "Where the bytes of this request begin."),
    "Upload-Metadata": (TEXT, "`filename` and the fields of the upload form, each a name and its value in base64."),
    "Upload-Concat": (TEXT, "`partial`, or `final;` and the addresses of partial uploads."),
    "Upload-Checksum": (TEXT, "`sha1` or `sha256`, and the digest of the body in base64."),
}
REQUIRED = frozenset({"Tus-Resumable"})


def asks(*names: str, body: str = "") -> dict[str, Any]:
    """What an operation takes: these headers, the version, and perhaps bytes of the media type `body`."""
    taken: dict[str, Any] = {"parameters": [_parameter(name) for name in ("Tus-Resumable", *names)]}
    if body:
        taken["requestBody"] = {"content": {body: {"schema": {"type": "string", "format": "binary"}}}}
    return taken


def _parameter(name: str) -> dict[str, Any]:
    schema, description = HEADERS[name]
    about = {"name": name, "in": "header", "schema": schema, "description": description}
    return {**about, "required": name in REQUIRED}
