"""The ledger's file, and the one door to sqlite3: rows go in before a request is sent, and are completed afterwards.

SQLite in WAL mode: several processes may write at once, and a process that is killed leaves a whole file, with all that
it had written until then. A failure of the power may cost the last rows, never the file (`synchronous=NORMAL`). Budgets
are checked and reserved in one transaction, so that runs side by side cannot pass one together.

Knows no price list and no request's meaning. Every method may be called by any thread.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any, cast, final

from blackbox_proxy.core.money.amounts import Budget, Spent, amount_of, charge, check_budget, plain
from blackbox_proxy.errors import LedgerError
from blackbox_proxy.ledger.rows import Counted, DaySpend, Ended, Intent, LedgerRow, price_text

LOCK_SECONDS = 30.0
"""Seconds to wait for another process that is writing."""

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
)
"""What makes version n of the schema of version n - 1; once released, a script never changes."""

_NAMES = tuple(field.name for field in fields(LedgerRow))
_SPENT = {
    "run": "SELECT coalesce(sum(charge), 0), count(*) FROM attempts WHERE run = :run AND NOT replayed",
    "day": "SELECT coalesce(sum(charge), 0), count(*) FROM attempts WHERE day = :day AND NOT replayed",
    "tag": "SELECT coalesce(sum(charge), 0), count(*) FROM tags JOIN attempts ON attempts.id = tags.attempt "
    "WHERE tags.key = :key AND tags.value = :value AND NOT replayed",
}

_DAY = (
    "SELECT count(*), coalesce(sum(CASE WHEN cost IS NOT NULL THEN charge END), 0), "
    "coalesce(sum(outcome = 'ok' AND cost IS NULL), 0), "
    "coalesce(sum(CASE WHEN outcome <> 'ok' AND cost IS NULL THEN charge END), 0) "
    "FROM attempts WHERE day = :day AND NOT replayed "
)
_TAGGED = "AND EXISTS (SELECT 1 FROM tags WHERE attempt = attempts.id AND key = :key AND value = :value)"


@final
class Store:
    """The open file; made where it is not there. Close it. Raises LedgerError where it cannot be used."""

    def __init__(self, path: Path, *, migrations: Sequence[str] = MIGRATIONS) -> None:
        self.path = path
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

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def begin(self, intent: Intent, budgets: Sequence[Budget] = ()) -> int:
        """Book an attempt that is about to be sent, with the most that it can cost; the row's id.

        Raises OverBudget, and books nothing, where a budget could be passed.
        """
        reserve = charge(intent.reserved)
        with self._writing() as write:
            for budget in budgets:
                check_budget(budget, self._spent(budget, intent), reserve=reserve)
            row = write(
                "INSERT INTO attempts (run, step, attempt, at, day, provider, model, path, asked, price, reserved, "
                "charge) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    intent.run,
                    intent.step,
                    intent.attempt,
                    intent.at.isoformat(timespec="milliseconds"),
                    intent.day,
                    intent.provider,
                    intent.model,
                    intent.path,
                    intent.asked,
                    intent.price and price_text(intent.price),
                    _text(intent.reserved),
                    reserve,
                ),
            ).lastrowid
            if intent.replayed:
                write("UPDATE attempts SET replayed = 1 WHERE id = ?", (row,))
            for key, value in intent.tags.items():
                write("INSERT INTO tags (key, value, attempt) VALUES (?, ?, ?)", (key, value, row))
        return cast(int, row)

    def spent(self, budget: Budget, intent: Intent) -> Spent:
        """What counts against a budget before an attempt."""
        with self._lock, self._guard():
            return self._spent(budget, intent)

    def spent_on(self, day: str, tag: tuple[str, str] | None = None) -> DaySpend:
        """What was spent on a day (ISO 8601, UTC), without replays; of a tag, what its rows come to."""
        key, value = tag or ("", "")
        with self._lock, self._guard():
            named = {"day": day, "key": key, "value": value}
            requests, spent, unpriced, at_risk = self._connection.execute(
                _DAY + _TAGGED if tag else _DAY, named
            ).fetchone()
        return DaySpend(day, requests, amount_of(spent), unpriced, amount_of(at_risk))

    def end(self, row: int, ended: Ended, counted: Counted | None) -> None:
        """Complete a row. counted: None where what it took is not known; then its reservation stays in force."""
        with self._writing() as write:
            write(
                "UPDATE attempts SET outcome = ?, status = ?, seconds = ?, usage = ? WHERE id = ?",
                (ended.outcome, ended.status, ended.seconds, ended.usage, row),
            )
            if counted is not None:
                self._count(write, row, counted)

    def count(self, row: int, counted: Counted) -> None:
        """Say what an attempt took, where that became known only when its reply was read."""
        with self._writing() as write:
            self._count(write, row, counted)

    def accepted(self, row: int, *, kept: int, wasted: int) -> None:
        """Say how many of a reply's positions were used, and how many were not."""
        with self._writing() as write:
            write("UPDATE attempts SET kept = ?, wasted = ? WHERE id = ?", (kept, wasted, row))

    def evaluated(self, row: int, seconds: float) -> None:
        """Add seconds in which this machine evaluated the pair."""
        with self._writing() as write:
            write(
                "UPDATE attempts SET local_seconds = coalesce(local_seconds, 0) + ? WHERE id = ?",
                (seconds, row),
            )

    def rows(self, *, since: str = "", until: str = "") -> Iterator[LedgerRow]:
        """The rows of the days from `since` on and before `until` (ISO 8601, UTC), in the order of their ids."""
        columns = ", ".join(name for name in _NAMES if name != "tags")
        statement = (
            f"SELECT {columns}, (SELECT json_group_object(key, value) FROM tags WHERE tags.attempt = attempts.id)"  # noqa: S608 (constants)
            " FROM attempts WHERE day >= ? AND day < ? ORDER BY id"
        )
        with self._lock, self._guard():
            rows = self._connection.execute(statement, (since, until or "9999")).fetchall()
        return (_row(values) for values in rows)

    def prune(self, *, before: str) -> int:
        """Delete the rows of the days before one (ISO 8601, UTC), also from what budgets count; how many there were."""
        with self._writing() as write:
            return write("DELETE FROM attempts WHERE day < ?", (before,)).rowcount

    def _spent(self, budget: Budget, intent: Intent) -> Spent:
        tag = budget.tag
        if tag is not None and intent.tags.get(tag[0]) != tag[1]:
            return Spent()
        key, value = tag or ("", "")
        named = {"run": intent.run, "day": intent.day, "key": key, "value": value}
        totals = self._connection.execute(_SPENT["tag" if tag else budget.per], named).fetchone()
        return Spent(*totals)

    def _count(self, write: Callable[..., sqlite3.Cursor], row: int, counted: Counted) -> None:
        usage = counted.usage
        write(
            "UPDATE attempts SET input = ?, cached = ?, cache_write = ?, output = ?, source = ?, cost = ?, "
            "price = coalesce(?, price), "
            "charge = CASE WHEN ? IS NULL THEN charge ELSE ? END WHERE id = ?",
            (
                usage.input,
                usage.cached,
                usage.cache_write,
                usage.output,
                counted.source,
                _text(counted.cost),
                counted.price and price_text(counted.price),
                _text(counted.cost),
                charge(counted.cost),
                row,
            ),
        )

    @contextmanager
    def _writing(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """One transaction, which holds the only right to write from its begin."""
        with self._lock, self._guard():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"the ledger {self.path} cannot be used: {error}",
                hint="check its permissions and the disk, name another with --ledger, or book nothing: --no-ledger",
            ) from error

    def _prepare(self, migrations: Sequence[str]) -> None:
        self._switch_to_wal()
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        if self._version() < len(migrations):
            self._migrate(migrations)
        if self._version() > len(migrations):
            raise LedgerError(
                f"the ledger {self.path} was written by a newer version of this program (schema {self._version()}, and "
                f"{len(migrations)} is the newest known here)",
                hint="upgrade blackbox-proxy, or name another file with --ledger",
            )

    def _switch_to_wal(self) -> None:
        """Also where several processes do so at once: SQLite says `locked` to all but one, without waiting."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _migrate(self, migrations: Sequence[str]) -> None:
        """Bring the schema up to date, all of it or nothing; of several processes one does it."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for version in range(self._version(), len(migrations)):
                for statement in migrations[version].split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {version + 1}")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)


def _row(values: Sequence[Any]) -> LedgerRow:
    columns: dict[str, Any] = dict(zip(_NAMES, values, strict=True))
    for name in ("reserved", "cost"):
        columns[name] = None if columns[name] is None else Decimal(columns[name])
    columns["tags"] = json.loads(columns["tags"])
    columns["replayed"] = bool(columns["replayed"])
    return LedgerRow(**columns)
