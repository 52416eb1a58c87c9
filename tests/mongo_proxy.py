"""A database that fails at the n-th question: a proxy that answers with an error, for the server or after it."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

import bson

HEAD = struct.Struct("<iiii")  # length, number, number of what it answers, kind
MESSAGE = 2013
FAILURE = bson.encode({"ok": 0.0, "code": 8, "codeName": "UnknownError", "errmsg": "the disk of the database failed"})


class FailingDatabase:
    """Listens on loopback before a database. What its client asks for itself, as whether it lives, does not count."""

    def __init__(self, port: int) -> None:
        self.asked = 0
        self.fails: range = range(0)  # which questions are answered with an error
        self.late = False  # after the server has done what was asked
        self._port = port
        self._lock = threading.Lock()
        self._ended = False
        self._lines: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        for line in (self._listener, *self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._ended:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._lines += [near, far]
                Line(self, near, far).start()

    def fails_now(self) -> bool:
        with self._lock:
            self.asked += 1
            return self.asked in self.fails


class Line:
    """One connection: what is asked goes one way, the answers the other."""

    def __init__(self, proxy: FailingDatabase, near: socket.socket, far: socket.socket) -> None:
        self._proxy, self._near, self._far = proxy, near, far
        self._replaced: set[int] = set()

    def start(self) -> None:
        for carry in (self._ask, self._answer):
            threading.Thread(target=self._run, args=(carry,), daemon=True).start()

    def _run(self, carry: object) -> None:
        assert callable(carry)
        with suppress(OSError):
            carry()
        for line in (self._near, self._far):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _ask(self) -> None:
        while message := _message(self._near):
            number = HEAD.unpack_from(message)[1]
            if b"lsid" in message and self._proxy.fails_now():
                if not self._proxy.late:
                    self._near.sendall(_failure(number))
                    continue
                self._replaced.add(number)
            self._far.sendall(message)

    def _answer(self) -> None:
        while message := _message(self._far):
            number = HEAD.unpack_from(message)[2]
            self._near.sendall(_failure(number) if number in self._replaced else message)


def _failure(number: int) -> bytes:
    return HEAD.pack(HEAD.size + 5 + len(FAILURE), 1, number, MESSAGE) + bytes(5) + FAILURE


def _message(line: socket.socket) -> bytes:
    """The next one; empty at the end."""
    head = _exactly(line, HEAD.size)
    return head and head + _exactly(line, HEAD.unpack(head)[0] - HEAD.size)


def _exactly(line: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = line.recv(size - len(found))
        if not piece:
            return b""
        found += piece
    return found
