"""A bad line: a TCP proxy that counts what it carries, and cuts, resets or stalls connections when told to, or at the
n-th question.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

PIECE_BYTES = 1 << 16
NO_LINGER = struct.pack("ii", 1, 0)  # closing sends a reset


class Proxy:
    """Listens on loopback and carries to another port there. `sent_bytes` went towards the service, over all lines."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.sent_bytes = 0
        self.cuts = 0
        self.asked = 0  # pieces towards the service: of short questions, one each
        self.breaks: range = range(0)  # which of them meet a line that breaks
        self.breaks_late = False  # after the service has it, and before it can answer
        self.answers_lost = 0  # so many of the next answers meet a line that breaks
        self.pause_seconds = 0.0  # after each piece of 64 KiB: how slow the line is
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._flows.set()
        self.cut()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self, *, reset: bool = False) -> None:
        """End every connection now; by a reset, what is under way is lost."""
        with self._lock:
            lines, self._open = self._open, set()
            self.cuts += 1
        for line in lines:
            with suppress(OSError):
                if reset:
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                line.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """Nothing moves any more, and nobody is told."""
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    @contextmanager
    def cutting(self, seconds: float, *, reset: bool = False) -> Iterator[None]:
        """Cut every few seconds within the block."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(seconds):
                self.cut(reset=reset)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            ends = threading.Semaphore(1)
            threading.Thread(target=self._carry, args=(near, far, ends, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, ends, False), daemon=True).start()

    def _breaks_now(self) -> bool:
        with self._lock:
            self.asked += 1
            return self.asked in self.breaks

    def _loses_answer(self) -> bool:
        with self._lock:
            lost = self.answers_lost > 0
            self.answers_lost -= lost
            return lost

    def _carry(self, source: socket.socket, target: socket.socket, ends: threading.Semaphore, counted: bool) -> None:
        """One direction; who ends last closes both."""
        with suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                self._flows.wait()
                time.sleep(self.pause_seconds)
                broken = self._breaks_now() if counted else self._loses_answer()
                if not broken or (counted and self.breaks_late):
                    target.sendall(data)
                if broken:
                    self.cut()
                elif counted:
                    with self._lock:
                        self.sent_bytes += len(data)
        for line in (source, target):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        if not ends.acquire(blocking=False):
            with self._lock:
                self._open -= {source, target}
            source.close()
            target.close()
