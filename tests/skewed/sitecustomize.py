"""Gives a Python process a wrong clock: with this folder in PYTHONPATH, SKEW_SECONDS is added to what the system says.

Python imports a module of this name before anything else. Clocks that only measure (`time.monotonic`) stay as they are,
as they do on a machine whose time is set wrong.
"""

from __future__ import annotations

import datetime
import os
import time
from typing import Any, Self

SKEW_SECONDS = int(os.environ["SKEW_SECONDS"])
_time, _time_ns = time.time, time.time_ns


class _Wrong(type):
    """What was made before, or by C, is a datetime too."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _right)


_right = datetime.datetime
_skew = datetime.timedelta(seconds=SKEW_SECONDS)


class _WrongDatetime(_right, metaclass=_Wrong):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Self:
        return super().now(tz) + _skew

    @classmethod
    def utcnow(cls) -> Self:
        return cls.now(datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Self:
        return cls.now()


time.time = lambda: _time() + SKEW_SECONDS
time.time_ns = lambda: _time_ns() + SKEW_SECONDS * 10**9
_WrongDatetime.__name__ = _WrongDatetime.__qualname__ = _WrongDatetime.__module__ = "datetime"
datetime.datetime = _WrongDatetime  # type: ignore[misc]
