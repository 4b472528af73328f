"""A network between the ledger and its PostgreSQL that breaks off once, before or after the server has heard a word."""

from __future__ import annotations

import contextlib
import selectors
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

SOCKET = ".s.PGSQL.5432"
CHUNK = 65536


@contextmanager
def cutting(server: Path, word: bytes, when: Literal["before", "after"]) -> Iterator[tuple[str, list[bytes]]]:
    """The folder of a socket that passes everything on to that of a server, and what was cut there.

    The first connection whose client says `word` is closed: before the server hears it, or after the server has
    answered it, which the client does not hear.
    """
    cut: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/{SOCKET}")
        listener.listen()
        accepting = threading.Thread(target=_accept, args=(listener, f"{server}/{SOCKET}", word, when, cut))
        accepting.start()
        try:
            yield folder, cut
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # ends the thread's `accept`
            accepting.join(timeout=30)


def _accept(listener: socket.socket, server: str, word: bytes, when: str, cut: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_pass_on, args=(client, server, word, when, cut)).start()


def _pass_on(client: socket.socket, server: str, word: bytes, when: str, cut: list[bytes]) -> None:
    """One connection, until a side closes it or it is cut."""
    with client, socket.socket(socket.AF_UNIX) as wire, selectors.DefaultSelector() as both:
        wire.connect(server)
        both.register(client, selectors.EVENT_READ, wire)
        both.register(wire, selectors.EVENT_READ, client)
        silent = False
        with contextlib.suppress(ConnectionError):
            while True:
                for key, _ in both.select():
                    said = key.fileobj.recv(CHUNK)  # type: ignore[union-attr]  # a socket
                    if not said or silent:
                        return
                    if key.fileobj is client and word in said and not cut:
                        cut.append(said)
                        silent = True
                        if when == "before":
                            return
                    key.data.sendall(said)
