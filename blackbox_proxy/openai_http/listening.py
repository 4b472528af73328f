"""Sockets and the server's life: listen, say when requests are answered, end. Knows no route."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

import uvicorn

from blackbox_proxy.errors import BlackboxProxyError, InputError

LOOPBACK = "127.0.0.1"


POLL = 0.1
"""Seconds between two looks at whether a signal wants the end at once."""


@final
class ListeningServer(uvicorn.Server):
    """uvicorn that says when it is ready, and when it ends. Both are called in the server's thread.

    on_ready: requests are answered from now on. on_drain: the server ends; it goes on listening until the requests that
    are under way are answered, for the seconds of uvicorn's `timeout_graceful_shutdown` in all. None: it stops
    listening at once.
    """

    def __init__(
        self, config: uvicorn.Config, *, on_ready: Callable[[], object], on_drain: Callable[[], object] | None = None
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_drain = on_drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if not self.should_exit:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._on_drain is not None:
            self._on_drain()
            await self._drained()
        await super().shutdown(sockets=sockets)

    async def _drained(self) -> None:
        """Wait for what is under way now; what comes later is not waited for."""
        until = time.monotonic() + (self.config.timeout_graceful_shutdown or 0)
        under_way = set(self.server_state.tasks)
        while under_way and not self.force_exit and time.monotonic() < until:
            _, under_way = await asyncio.wait(under_way, timeout=POLL)
        self.config.timeout_graceful_shutdown = max(0, round(until - time.monotonic()))


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens. Raises InputError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it every reply waits 40 ms for an ACK.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(1024)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
                hint="choose another port, or port 0 for any free one",
            ) from error
        yield listener


@contextmanager
def in_background(
    config: uvicorn.Config,
    listener: socket.socket,
    *,
    name: str,
    ended: BlackboxProxyError,
    on_drain: Callable[[], object] | None = None,
) -> Iterator[None]:
    """Serve from a thread of this name while the block runs, from when requests are answered on.

    Raises `ended` where the server ends before it is ready. on_drain: see `ListeningServer`.
    """
    ready = threading.Event()
    server = ListeningServer(config, on_ready=ready.set, on_drain=on_drain)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name=name, daemon=True)
    thread.start()
    try:
        while not ready.wait(0.05):
            if not thread.is_alive():
                raise ended
        yield
    finally:
        server.should_exit = True
        thread.join()


def url_of(listener: socket.socket) -> str:
    """The base URL of what is served there; it ends in /v1."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
