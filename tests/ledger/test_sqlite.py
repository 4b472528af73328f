"""The ledger in a file: schemas old and new, bad files, a full disk."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from blackbox_proxy.errors import LedgerError
from blackbox_proxy.ledger.opening import open_store
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


def test_a_file_of_the_first_schema_is_read(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as first:
        first.executescript(MIGRATIONS[0])
        first.execute(
            "INSERT INTO attempts (run, step, attempt, at, day, provider, model, path, asked, charge) VALUES "
            "('r', 0, 1, '2026-11-25T12:00:00.000+00:00', '2026-11-25', 'host', 'toy', '/completions', 100, 7)"
        )
        first.execute("PRAGMA user_version = 1")
        first.commit()
    with closing(open_store(path)) as newer:
        (row,) = newer.rows()
        newer.evaluated(row.id, 1.5)
        assert [row.local_seconds, *(row.local_seconds for row in newer.rows())] == [None, 1.5]


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
