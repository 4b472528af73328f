"""The ledger in a file, and the one door to sqlite3.

SQLite in WAL mode: several processes may write at once, and a process that is killed leaves a whole file, with all that
it had written until then. A failure of the power may cost the last rows, never the file (`synchronous=NORMAL`). A
transaction holds the only right to write from its begin, so it needs to know no scope.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast, final

from blackbox_proxy.errors import LedgerError
from blackbox_proxy.ledger.database import LOCK_SECONDS, Scope, Transaction, Values, check_schema, unusable

Done = TypeVar("Done")

MIGRATIONS = (
    """
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL,
        step INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        at TEXT NOT NULL,
        day TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        path TEXT NOT NULL,
        asked INTEGER NOT NULL,
        outcome TEXT NOT NULL DEFAULT 'open',
        status INTEGER,
        seconds REAL,
        usage TEXT,
        input INTEGER,
        cached INTEGER,
        cache_write INTEGER,
        output INTEGER,
        kept INTEGER,
        wasted INTEGER,
        source TEXT CHECK (source IN ('provider', 'estimated')),
        price TEXT,
        reserved TEXT,
        cost TEXT,
        charge INTEGER NOT NULL
    );
    CREATE TABLE tags (
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        attempt INTEGER NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
        PRIMARY KEY (key, value, attempt)
    ) WITHOUT ROWID;
    CREATE INDEX attempts_of_run ON attempts (run, charge);
    CREATE INDEX attempts_of_day ON attempts (day, charge);
    CREATE INDEX tags_of_attempt ON tags (attempt);
    """,
    "ALTER TABLE attempts ADD COLUMN local_seconds REAL",
    "ALTER TABLE attempts ADD COLUMN replayed INTEGER NOT NULL DEFAULT 0",
    """
    CREATE TABLE budgets (
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        day TEXT NOT NULL,
        PRIMARY KEY (key, value)
    ) WITHOUT ROWID
    """,
)
"""What makes version n of the schema of version n - 1; once released, a script never changes."""

HINT = "check the file's permissions, and the space on its disk"


@contextmanager
def writing_to(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction, which holds the only right to write from its begin."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


def until_unlocked(work: Callable[[], object], *, seconds: float) -> None:
    """Do what SQLite refuses at once, without waiting, while another process does it too; for so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            work()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


@final
class SqliteDatabase:
    """The open file; made where it is not there. Close it. Raises LedgerError where it cannot be used."""

    json_object = "json_group_object"

    def __init__(self, path: Path, *, migrations: Sequence[str] = MIGRATIONS) -> None:
        self.place = str(path)
        self._lock = threading.Lock()
        with self._guard():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection = sqlite3.connect(
                path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
        try:
            with self._guard():
                self._prepare(migrations)
        except LedgerError:
            self._connection.close()
            raise

    def read(self, statement: str, values: Values, /) -> Sequence[Sequence[Any]]:
        with self._lock, self._guard():
            return _Statements(self._connection).rows(statement, values)

    def change(self, statement: str, values: Values, /) -> int:
        with self._lock, self._guard():
            return _Statements(self._connection).change(statement, values)

    def transact(self, work: Callable[[Transaction], Done], /, scopes: Sequence[Scope] = ()) -> Done:  # noqa: ARG002
        with self._lock, self._guard(), writing_to(self._connection):
            return work(_Statements(self._connection))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise unusable(self.place, error, hint=HINT) from error

    def _prepare(self, migrations: Sequence[str]) -> None:
        until_unlocked(lambda: self._connection.execute("PRAGMA journal_mode = WAL"), seconds=LOCK_SECONDS)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        if self._version() < len(migrations):
            self._migrate(migrations)
        check_schema(self._version(), len(migrations), place=self.place)

    def _migrate(self, migrations: Sequence[str]) -> None:
        """Bring the schema up to date, all of it or nothing; of several processes one does it."""
        with writing_to(self._connection):
            for version in range(self._version(), len(migrations)):
                for statement in migrations[version].split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {version + 1}")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])


@final
class _Statements:
    """What is said on a connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, values: Values, /) -> Sequence[Sequence[Any]]:
        return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, values: Values, /) -> int:
        return self._connection.execute(statement, values).rowcount

    def change_each(self, statement: str, values: Sequence[Values], /) -> None:
        self._connection.executemany(statement, values)

    def add_attempt(self, values: Values, /) -> int:
        """Without RETURNING, which SQLite has since 3.35 only."""
        names = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)
        added = self._connection.execute(f"INSERT INTO attempts ({names}) VALUES ({places})", values)  # noqa: S608
        return cast(int, added.lastrowid)
