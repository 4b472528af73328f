"""The ledger on a server that machines share, and the one door to psycopg: PostgreSQL.

Transactions are READ COMMITTED, where a statement sees what was committed when it began, and each first takes advisory
locks on the scopes that its attempt counts in: alone where a budget of the scope is checked, else with others. So what
a budget counts cannot grow between its sum and the row that relies on it, and only attempts of one budget wait for each
other. Locks are taken in one order, and end with the transaction.

Where the connection breaks off, it is made anew and the transaction is said again; whether it had been committed
already, the attempt's token tells. Nothing is kept in the session, so that a pool of connections may stand between.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar, cast, final
from uuid import uuid4

import psycopg
from psycopg import conninfo, errors

from blackbox_proxy.errors import InputError, LedgerError
from blackbox_proxy.ledger.database import LOCK_SECONDS, Scope, Transaction, Values, check_schema, unusable
from blackbox_proxy.ledger.place import EXAMPLE, LedgerPlace

Connection = psycopg.Connection[tuple[Any, ...]]
Done = TypeVar("Done")

RECONNECT_SECONDS = 60.0
"""Seconds for which a server that went away is waited for: a restart takes less."""

LONGEST_PAUSE = 1.0
"""Most seconds between two attempts to reach it."""

SCHEMA = "blackbox_proxy"
"""The schema that holds the tables, apart from those of other programs in the same database."""

MIGRATIONS = (
    """
    CREATE TABLE blackbox_proxy.attempts (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        token TEXT NOT NULL UNIQUE,
        run TEXT NOT NULL,
        step INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        at TEXT NOT NULL,
        day TEXT COLLATE "C" NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        path TEXT NOT NULL,
        asked BIGINT NOT NULL,
        outcome TEXT NOT NULL DEFAULT 'open',
        status INTEGER,
        seconds DOUBLE PRECISION,
        local_seconds DOUBLE PRECISION,
        usage TEXT,
        input BIGINT,
        cached BIGINT,
        cache_write BIGINT,
        output BIGINT,
        kept BIGINT,
        wasted BIGINT,
        source TEXT CHECK (source IN ('provider', 'estimated')),
        price TEXT,
        reserved TEXT,
        cost TEXT,
        charge BIGINT NOT NULL,
        replayed BOOLEAN NOT NULL DEFAULT FALSE
    );
    CREATE TABLE blackbox_proxy.tags (
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        attempt BIGINT NOT NULL REFERENCES blackbox_proxy.attempts (id) ON DELETE CASCADE,
        PRIMARY KEY (key, value, attempt)
    );
    CREATE TABLE blackbox_proxy.budgets (
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        day TEXT COLLATE "C" NOT NULL,
        PRIMARY KEY (key, value)
    );
    CREATE INDEX attempts_of_run ON blackbox_proxy.attempts (run, charge);
    CREATE INDEX attempts_of_day ON blackbox_proxy.attempts (day, charge);
    CREATE INDEX tags_of_attempt ON blackbox_proxy.tags (attempt);
    """,
)
"""What makes version n of the schema of version n - 1; once released, a script never changes. The first is as SQLite's
fourth; numbers are counted for each database by itself."""

_TABLE = re.compile(r"\b(attempts|budgets|tags)\b")
_VALUE = re.compile(r":(\w+)")
_VERSION = "SELECT version FROM blackbox_proxy.ledger"
_BOOKED = "SELECT 1 FROM blackbox_proxy.attempts WHERE token = %s"
_BEGIN = (
    # A default of the server's may be stricter: then a sum would not see what was committed while a lock was awaited.
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    f"SET LOCAL lock_timeout = '{LOCK_SECONDS:.0f}s'",
    f"SET LOCAL idle_in_transaction_session_timeout = '{2 * LOCK_SECONDS:.0f}s'",
)

AGAIN = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.IdleInTransactionSessionTimeout,
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.UniqueViolation,  # of a token: its commit was still under way when the connection broke off
)
"""What ends a transaction that may succeed when it is said again."""

HINTS: Mapping[type[Exception], str] = {
    errors.DiskFull: "make room on the server's disk; what was booked so far stays",
    errors.LockNotAvailable: "another process has held the same budget for long: look at pg_stat_activity",
    errors.InsufficientPrivilege: "let the role create the schema blackbox_proxy (GRANT CREATE ON DATABASE), or use it "
    "(GRANT USAGE ON SCHEMA; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA)",
    errors.ReadOnlySqlTransaction: "the server only reads: name the one that writes",
    errors.UndefinedTable: "its tables are gone: was the database replaced?",
}
WORDS: Mapping[str, str] = {
    "password": "give the password in ~/.pgpass, in PGPASSWORD, or in the file that ledger_password_file names "
    "(password_file of a gateway)",
    "pg_hba.conf": "let the server take this role from this machine, or check sslmode in the URL",
    "does not exist": "make it on the server (createdb, createuser), or correct the URL",
}
"""What to do, by what the server says to a connection that it refuses: such errors have no code."""

UNREACHABLE = "check that the server runs, and the host and the port in the URL"


@final
class PostgresDatabase:
    """The open database; its tables are made where they are not there. Close it.

    Raises InputError where the URL is none, LedgerError where the database cannot be used. patience: seconds for which
    a server that went away is waited for.
    """

    json_object = "json_object_agg"

    def __init__(
        self, place: LedgerPlace, *, migrations: Sequence[str] = MIGRATIONS, patience: float = RECONNECT_SECONDS
    ) -> None:
        self.place = str(place)
        self._server = _Server(place)
        self._patience = patience
        self._lock = threading.Lock()
        self._ended = False
        self._connection: Connection | None = self._server.opened()
        try:
            _prepare(self._connection, migrations, place=self.place)
        except psycopg.Error as error:
            self._drop()
            raise self._server.error(error) from error
        except LedgerError:
            self._drop()
            raise

    def read(self, statement: str, values: Values, /) -> Sequence[Sequence[Any]]:
        return self._persist(lambda connection: _Statements(connection).rows(statement, values))

    def change(self, statement: str, values: Values, /) -> int:
        return self._persist(lambda connection: _Statements(connection).change(statement, values))

    def transact(self, work: Callable[[Transaction], Done], /, scopes: Sequence[Scope] = ()) -> Done:
        begin = "; ".join((*_BEGIN, *_locks(scopes)))
        token, committing = uuid4().hex, list[Done]()

        def once(connection: Connection) -> Done:
            try:
                connection.execute(begin)
                if committing and connection.execute(_BOOKED, (token,)).fetchone():
                    connection.execute("ROLLBACK")
                    return committing[-1]
                done = work(_Statements(connection, token))
            except BaseException:
                with suppress(psycopg.Error):
                    connection.execute("ROLLBACK")
                raise
            committing.append(done)
            connection.execute("COMMIT")
            return done

        return self._persist(once)

    def close(self) -> None:
        with self._lock:
            self._ended = True
            self._drop()

    def _persist(self, say: Callable[[Connection], Done]) -> Done:
        """What `say` gives; called again where the connection broke off, until the server has stayed away too long."""
        deadline, pause = time.monotonic() + self._patience, 0.05
        with self._lock:
            while True:
                try:
                    return say(self._connected())
                except psycopg.Error as error:
                    if not self._may_say_again(error) or time.monotonic() >= deadline:
                        raise self._server.error(error) from error
                    self._drop()
                time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _may_say_again(self, error: psycopg.Error) -> bool:
        lost = self._connection is None or self._connection.closed
        return isinstance(error, AGAIN) or (lost and isinstance(error, psycopg.OperationalError))

    def _connected(self) -> Connection:
        if self._ended:
            raise LedgerError(f"the ledger {self.place} is closed", hint="open it again")
        if self._connection is None:
            self._connection = self._server.connect()
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def has_ledger(place: LedgerPlace) -> bool:
    """Whether a database holds a ledger. Raises as `PostgresDatabase` does."""
    server = _Server(place)
    with server.opened() as connection:
        try:
            return bool(_version(connection))
        except psycopg.Error as error:
            raise server.error(error) from error


@final
class _Server:
    """Connections to one database, and errors in its words without the password."""

    def __init__(self, place: LedgerPlace) -> None:
        self._place = str(place)
        self._parameters = _parameters(place)

    def connect(self) -> Connection:
        """Without prepared statements: behind a pool, the next one may reach another session."""
        return psycopg.connect(**self._parameters, autocommit=True, prepare_threshold=None)

    def opened(self) -> Connection:
        """The same. Raises LedgerError."""
        try:
            return self.connect()
        except psycopg.Error as error:
            raise self.error(error) from error

    def error(self, error: psycopg.Error) -> LedgerError:
        """The error in one line, and what to do."""
        words = " ".join(str(error).split()) or type(error).__name__
        if password := self._parameters.get("password"):
            words = words.replace(str(password), "***")
        hints = [hint for kind, hint in HINTS.items() if isinstance(error, kind)]
        hints += [hint for word, hint in WORDS.items() if error.sqlstate is None and word in words]
        return unusable(self._place, words, hint=hints[0] if hints else UNREACHABLE)


@final
class _Statements:
    """What is said on a connection. token: of the first attempt that its transaction adds; others get one behind it."""

    def __init__(self, connection: Connection, token: str = "") -> None:
        self._connection = connection
        self._token, self._added = token, 0

    def rows(self, statement: str, values: Values, /) -> Sequence[Sequence[Any]]:
        return self._connection.execute(_spoken(statement), _sent(values)).fetchall()

    def change(self, statement: str, values: Values, /) -> int:
        return self._connection.execute(_spoken(statement), _sent(values)).rowcount

    def change_each(self, statement: str, values: Sequence[Values], /) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_spoken(statement), [_sent(one) for one in values])

    def add_attempt(self, values: Values, /) -> int:
        given = {**values, "token": f"{self._token}.{self._added}" if self._added else self._token}
        self._added += 1
        names, places = ", ".join(given), ", ".join(f":{name}" for name in given)
        ((row,),) = self.rows(f"INSERT INTO attempts ({names}) VALUES ({places}) RETURNING id", given)  # noqa: S608
        return cast(int, row)


def _prepare(connection: Connection, migrations: Sequence[str], *, place: str) -> None:
    """Bring the schema up to date, all of it or nothing; of several processes one does it."""
    if _version(connection) < len(migrations):
        with connection.transaction():
            connection.execute(f"SELECT pg_advisory_xact_lock({_key('schema')})")
            version = _version(connection)
            if not version:
                _make_schema(connection)
            for script in migrations[version:]:
                connection.execute(script.encode())
            connection.execute("UPDATE blackbox_proxy.ledger SET version = greatest(version, %s)", (len(migrations),))
    check_schema(_version(connection), len(migrations), place=place)


def _make_schema(connection: Connection) -> None:
    """The schema, if nobody has made it for this role, and the table that says its version."""
    if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,)).fetchone() is None:
        connection.execute("CREATE SCHEMA blackbox_proxy")
    connection.execute("CREATE TABLE blackbox_proxy.ledger (version INTEGER NOT NULL)")
    connection.execute("INSERT INTO blackbox_proxy.ledger (version) VALUES (0)")


def _version(connection: Connection) -> int:
    """0 where there is no ledger.

    A query of the catalogue: `to_regclass` may still say what it said before a lock was waited for.
    """
    listed = "SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = 'ledger'"
    if connection.execute(listed, (SCHEMA,)).fetchone() is None:
        return 0
    ((version,),) = connection.execute(_VERSION).fetchall()
    return int(version)


def _parameters(place: LedgerPlace) -> dict[str, Any]:
    """What libpq is given. A password that is not here it looks for in PGPASSWORD and ~/.pgpass by itself."""
    given = _read(place)
    password = place.password()
    named = {} if password is None else {"password": password}
    limits = {} if "PGCONNECT_TIMEOUT" in os.environ else {"connect_timeout": 10}
    unseen = {"keepalives_idle": 30, "tcp_user_timeout": int(1000 * LOCK_SECONDS)}
    name = {"fallback_application_name": "blackbox-proxy"}
    return {**name, **limits, **unseen, **given, **named, "client_encoding": "utf8"}


def _read(place: LedgerPlace) -> dict[str, Any]:
    """What a URL says. Raises InputError, without libpq's words, which may hold a part of a password."""
    try:
        given = conninfo.conninfo_to_dict(place.address)
    except psycopg.ProgrammingError:
        given = {"port": "unknown"}
    if all(port.isdecimal() for port in str(given.get("port") or "0").split(",")):
        return given
    raise InputError(
        f"{place} is no URL of PostgreSQL", hint=f"as in {EXAMPLE}; write @ : / ? in a password as %40 %3A %2F %3F"
    )


def _locks(scopes: Sequence[Scope]) -> Sequence[str]:
    """A statement for each lock, in the one order that all processes take them in."""
    keys = sorted((_key(scope.name), "" if scope.alone else "_shared") for scope in scopes)
    return [f"SELECT pg_advisory_xact_lock{kind}({key})" for key, kind in keys]


def _key(name: str) -> int:
    """The number that a lock goes by, the same on every machine; where two names share one they only wait longer."""
    digest = hashlib.sha256(f"blackbox-proxy ledger {_storable(name)}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


@lru_cache(maxsize=64)
def _spoken(statement: str) -> bytes:
    """A statement of ours as psycopg takes it, with the tables of our schema."""
    return _VALUE.sub(r"%(\1)s", _TABLE.sub(rf"{SCHEMA}.\1", statement.replace("%", "%%"))).encode()


def _sent(values: Values) -> Values:
    return {name: _storable(value) if isinstance(value, str) else value for name, value in values.items()}


def _storable(text: str) -> str:
    """A text without NUL, which PostgreSQL cannot hold."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
