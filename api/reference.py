"""The table of routes for the documentation, made from the application."""

from __future__ import annotations

from typing import Any

from api.app import create_app
from scray.settings import Settings

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")


def table() -> str:
    """Every route by path, in Markdown; required fields carry an asterisk."""
    paths: dict[str, dict[str, Any]] = create_app(Settings.model_construct()).openapi()["paths"]
    rows = [
        _row(method, path, operations[method])
        for path, operations in sorted(paths.items())
        for method in METHODS
        if method in operations
    ]
    return "\n".join(["| route | what it does | query | form |", "|---|---|---|---|", *rows, ""])


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    doc = " ".join(operation.get("description", "").split())
    query = [_named(one["name"], one["required"]) for one in operation.get("parameters", []) if one["in"] == "query"]
    body = _fields(operation.get("requestBody", {}).get("content", {}))
    return f"| `{method.upper()} {path}` | {doc} | {', '.join(query)} | {', '.join(body)} |"


def _fields(content: dict[str, Any]) -> list[str]:
    """The fields of a form; required ones are marked."""
    return [
        _named(name, name in one["schema"].get("required", ()))
        for one in content.values()
        for name in one["schema"].get("properties", {})
    ]


def _named(name: str, required: bool) -> str:
    return f"`{name}`{'*' if required else ''}"
