"""Who of several processes takes a connection: one that has the fewest requests under way, as far as that is quick.

All listen on the same socket, and the system wakes whom it likes: the first would take all that come in one moment.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from mmap import mmap
from typing import final

from starlette.types import ASGIApp, Receive, Scope, Send

PAUSE = 0.0005
"""Seconds that a worker leaves a connection to others before it looks again."""

PATIENCE = 20
"""How often it does so for one connection, then it takes it: the others may be busy with something else."""

FRESH = 0.2
"""Seconds for which a connection counts that has been taken and has not asked anything yet."""

ABSENT = -1
"""What stands for a worker that takes no connections."""

_FORM = struct.Struct("=q")


@final
class WorkerLoads:
    """Requests under way of each worker, in memory that all share. file: of `size(workers)` bytes, open."""

    def __init__(self, file: int, workers: int) -> None:
        self._memory = mmap(file, self.size(workers))
        self._workers = workers

    @staticmethod
    def size(workers: int) -> int:
        """Bytes of the file."""
        return workers * _FORM.size

    def put(self, number: int, load: int) -> None:
        """Say the load of a worker, the first being 1."""
        _FORM.pack_into(self._memory, (number - 1) * _FORM.size, load)

    def least_but(self, number: int) -> int | None:
        """The smallest load of all others; None where no other takes connections."""
        loads = [_FORM.unpack_from(self._memory, at * _FORM.size)[0] for at in range(self._workers) if at != number - 1]
        return min((load for load in loads if load != ABSENT), default=None)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()


@final
class WorkerTurns:
    """Counts what a worker has under way, and says whether it is its turn to take a connection. For one event loop."""

    def __init__(self, loads: WorkerLoads, number: int) -> None:
        self._loads, self._number = loads, number
        self._under_way = self._passed = 0
        self._taken: deque[float] = deque()
        self._is_away = True

    def counting(self, app: ASGIApp) -> ASGIApp:
        """The application, whose requests are counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            self._under_way += 1
            if self._taken:
                self._taken.popleft()
            self._tell()
            try:
                await app(scope, receive, send)
            finally:
                self._under_way -= 1
                self._tell()

        return counted

    def come(self) -> None:
        """Connections are taken from now on."""
        self._is_away = False
        self._tell()

    def leave(self) -> None:
        """Others need not leave anything to this one."""
        self._is_away = True
        self._tell()

    def is_mine(self) -> bool:
        """Whether to take the next connection; where it is another's turn, after a short wait for that."""
        least = self._loads.least_but(self._number)
        if least is None or self._load() <= least or self._passed >= PATIENCE:
            self._passed = 0
            return True
        self._passed += 1
        time.sleep(PAUSE)  # the event loop would come back at once, as long as nobody took it
        return False

    def taken(self) -> None:
        """A connection was taken."""
        self._taken.append(time.monotonic())
        self._tell()

    def _load(self) -> int:
        while self._taken and self._taken[0] < time.monotonic() - FRESH:
            self._taken.popleft()
        return self._under_way + len(self._taken)

    def _tell(self) -> None:
        self._loads.put(self._number, ABSENT if self._is_away else self._load())


@final
class WorkerListener(socket.socket):
    """The socket that all listen on, in one worker: it gives a connection when it is that one's turn."""

    turns: WorkerTurns | None = None

    def accept(self) -> tuple[socket.socket, object]:
        """Raises BlockingIOError where there is none, or another's turn: the event loop takes both for the same."""
        if self.turns is None:
            return super().accept()
        if not self.turns.is_mine():
            raise BlockingIOError
        connection, address = super().accept()
        self.turns.taken()
        return connection, address
