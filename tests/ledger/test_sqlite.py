"""The ledger in a file: schemas old and new, bad files, a full disk."""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import LedgerError, OverBudget
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.ledger.rows import Ended
from blackbox_proxy.ledger.sqlite import MIGRATIONS, SqliteDatabase
from blackbox_proxy.ledger.store import Store
from tests.ledger.intents import intent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(open_store(path)) as opened:
        yield opened


def test_the_file_is_in_wal_mode_and_stays_whole(store: Store, path: Path) -> None:
    store.begin(intent())
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert other.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


NEXT = "ALTER TABLE attempts ADD COLUMN colour TEXT; UPDATE attempts SET colour = 'grey'"


def test_an_older_file_is_brought_up_to_date(store: Store, path: Path) -> None:
    store.begin(intent(project="x"))
    with closing(Store(SqliteDatabase(path, migrations=(*MIGRATIONS, NEXT)))) as newer:
        (row,) = newer.rows()
    assert dict(row.tags) == {"project": "x"}
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT colour FROM attempts").fetchall() == [("grey",)]
    with pytest.raises(LedgerError, match=r"newer version .*\(schema 5, and 4 is the newest known here\)"):
        open_store(path)


ROW = (
    "INSERT INTO attempts (run, step, attempt, at, day, provider, model, path, asked, reserved, charge) VALUES "
    "('r', 0, 1, '2026-11-25T12:00:00.000+00:00', '2026-11-25', 'host', 'toy', '/completions', 100, '0.0035', "
    "3500000000)"
)


def written_by(version: int, path: Path) -> None:
    """A file as the program of that schema wrote it, with an attempt under way."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(";".join(MIGRATIONS[:version]))
        connection.execute(ROW)
        connection.execute("INSERT INTO tags (key, value, attempt) VALUES ('project', 'x', 1)")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_a_file_of_any_earlier_schema_is_read_and_written(path: Path, version: int) -> None:
    written_by(version, path)
    with closing(open_store(path)) as store:
        (row,) = store.rows()
        assert (row.outcome, row.local_seconds, row.replayed, dict(row.tags)) == ("open", None, False, {"project": "x"})
        for budget in (
            Budget(max_calls=1),
            Budget(max_calls=1, per="day"),
            Budget(max_cost=Decimal("0.0069"), per="project=x"),
        ):
            with pytest.raises(OverBudget):
                store.begin(intent(project="x"), [budget])
        store.end(row.id, Ended("ok", 200, 0.5, None, lost=False), None)
        store.evaluated(row.id, 1.5)
        store.begin(intent(project="x"), [Budget(max_calls=2, per="project=x")])
        assert [(row.outcome, row.local_seconds) for row in store.rows()] == [("ok", 1.5), ("open", None)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(store: Store, path: Path) -> None:
    store.begin(intent())
    with pytest.raises(LedgerError, match="no such table: gone"):
        SqliteDatabase(path, migrations=(*MIGRATIONS, f"{NEXT}; DROP TABLE gone"))
    with closing(open_store(path)) as again:
        assert len(list(again.rows())) == 1


def test_released_schemas_do_not_change() -> None:
    """A file that is out there was made by this script; a change takes a new one."""
    assert [hash_of(one) for one in MIGRATIONS] == [
        "6818581d77dd5666",
        "26ec79c3f932583c",
        "39b08ac76498314f",
        "cd797ee8906b0bd0",
    ]


def hash_of(text: str) -> str:
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16]


@pytest.mark.parametrize("content", [b"this is no database, but a text that is long enough to be read as one" * 20])
def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"the ledger .*notes\.txt cannot be used: file is not a database"):
        open_store(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be used") as raised:
        open_store(tmp_path / "file" / "ledger.sqlite")
    assert "--no-ledger" in raised.value.hint


def filled(store: Store) -> tuple[int, LedgerError]:
    """How many attempts could be booked, and why no other."""
    for booked in itertools.count():
        try:
            store.begin(intent(project="x"))
        except LedgerError as error:
            return booked, error
    raise AssertionError


def test_a_full_disk_is_an_error_with_a_hint_and_loses_nothing(path: Path) -> None:
    """A file that may grow no further stands for a disk that is full: SQLite says the same of both."""
    database = SqliteDatabase(path)
    with closing(Store(database)) as store:
        database._connection.execute("PRAGMA max_page_count = 30")
        booked, error = filled(store)
        assert "cannot be used: database or disk is full" in error.message
        assert "the space on its disk" in error.hint
        assert len(list(store.rows())) == booked > 10
        database._connection.execute("PRAGMA max_page_count = 1000")
        store.begin(intent(project="x"))


def test_a_request_takes_seven_statements_with_a_budget_and_a_tag(path: Path) -> None:
    """Its budget, its row and its tag in one, and a statement for each thing that is known later."""
    database = SqliteDatabase(path)
    said: list[str] = []
    with closing(Store(database)) as store:
        store.begin(intent(project="x"), [Budget(max_calls=9, per="day")])
        database._connection.set_trace_callback(said.append)
        row = store.begin(intent(project="x"), [Budget(max_calls=9, per="day")])
        assert [statement.split()[0] for statement in said] == ["BEGIN", "SELECT", "INSERT", "INSERT", "COMMIT"]
        store.end(row, Ended("ok", 200, 0.5, None, lost=False), None)
        store.accepted(row, kept=1, wasted=0)
        assert [statement.split()[0] for statement in said[5:]] == ["UPDATE", "UPDATE"]
