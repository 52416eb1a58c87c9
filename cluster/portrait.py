"""What is known of a dataset, as text for people; `--json` has all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from scray.sizes import size_text

SHOWN_FIELDS = 12
SHOWN_LETTERS = 300
BESIDE = frozenset({"path", "folder", "files", "bytes", "datasets", "notes", "sensor", "format", "verified", "inputs"})


def portrait(found: Mapping[str, Any]) -> str:
    """A result or a source, as `converters.info` and `converters.survey` tell of it."""
    return "\n".join([_heading(found), *(line for one in found["datasets"] for line in _dataset(one)), *_rest(found)])


def _heading(found: Mapping[str, Any]) -> str:
    words = [size_text(found["bytes"])]
    words += [f"sensor {found['sensor']}"] if "sensor" in found else []
    words += [f"{found['files']} files"] if found.get("files", 1) > 1 else []
    words += ["verified" if found["verified"] else "not verified"] if "verified" in found else []
    return f"{found.get('folder') or found['path']}: {', '.join(words)}"


def _dataset(one: Mapping[str, Any]) -> Iterator[str]:
    yield str(one.get("name") or one.get("idx") or "dataset")
    axes = f" ({' '.join(reversed(one['axes']))})" if "axes" in one else ""
    yield _line("dims", " x ".join(map(str, one["dims"])) + axes)
    yield _line("dtype", one["dtype"])
    yield _line("time steps", one["steps"])
    yield _line("levels", one["levels"])
    yield _line("raw", size_text(one["raw_bytes"]))
    if "codec" in one:
        yield _line("codec", one["codec"])
    for field in one["fields"][:SHOWN_FIELDS]:
        yield _line("field", _field(field))
    if len(one["fields"]) > SHOWN_FIELDS:
        yield _line("", f"… and {len(one['fields']) - SHOWN_FIELDS} more fields")


def _field(field: Mapping[str, Any]) -> str:
    words = [field["name"], field["dtype"] + (f"[{field['components']}]" if field["components"] > 1 else "")]
    if field.get("minimum") and field.get("maximum"):
        words.append(f"{_numbers(field['minimum'])} … {_numbers(field['maximum'])}")
    if field.get("attributes"):
        words.append(_cut(field["attributes"]))
    return "  ".join(words)


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _rest(found: Mapping[str, Any]) -> Iterator[str]:
    for file in found.get("inputs", [])[:SHOWN_FIELDS]:
        yield f"input     {file['path']} ({size_text(file['size'])})"
    for name, value in found.items():
        if name not in BESIDE and value not in ({}, [], None):
            yield f"{name:9} {_cut(value)}"
    for note in found.get("notes", []):
        yield f"note      {note}"


def _cut(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]} … (--json has all)"


def _line(name: str, value: object) -> str:
    return f"  {name:11} {value}"
