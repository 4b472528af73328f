"""The gateway's door to sqlite3: a small file that several processes write at once, beside the ledger's own.

What is lost with the power is lost: these files hold nothing that anybody was billed for.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

from blackbox_proxy.errors import LedgerError
from blackbox_proxy.ledger.sqlite import until_unlocked, writing_to

LOCK_SECONDS = 5.0
"""Seconds to wait for another process that is writing."""

Execute = Callable[..., sqlite3.Cursor]


@final
class SqliteFile:
    """The open file; made where it is not there. Close it. Any thread may use it.

    what: how messages call it. schema: statements that make its tables, harmless where they are there. Raises
    LedgerError where it cannot be used.
    """

    def __init__(self, path: Path, *, what: str, schema: str) -> None:
        self._path, self._what = path, what
        self._lock = threading.Lock()
        with self._guard():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection = sqlite3.connect(
                path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._guard():
                self._prepare(schema)
        except LedgerError:
            self._connection.close()
            raise

    def __repr__(self) -> str:
        return f"SqliteFile({str(self._path)!r})"

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[Execute]:
        """One transaction, which holds the only right to write from its begin."""
        with self._lock, self._guard(), writing_to(self._connection):
            yield self._connection.execute

    def _prepare(self, schema: str) -> None:
        def once() -> None:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.executescript(schema)

        until_unlocked(once, seconds=LOCK_SECONDS)
        self._path.chmod(0o600)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"{self._what} {self._path} cannot be used: {error}", hint="check its permissions and the disk"
            ) from error
