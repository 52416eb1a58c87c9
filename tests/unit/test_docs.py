"""The tables of the documentation are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.make_tables import pages


@pytest.mark.parametrize(("path", "text"), pages().items(), ids=lambda value: getattr(value, "name", ""))
def test_tables_are_fresh(path: Path, text: str) -> None:
    assert path.read_text() == text, "run `python docs/make_tables.py`"
