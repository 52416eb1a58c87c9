"""What all errors of scray share: a code, a sentence, and whether another try may help."""

from __future__ import annotations

from typing import ClassVar


class ScrayError(Exception):
    """Something went wrong inside scray."""

    code: ClassVar[str] = "internal"
    transient: ClassVar[bool] = False
    retry_after_seconds: float | None = None  # where a service said so: how long to wait before asking it again

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])
