"""Opens a ledger wherever it is: the file, or the database of PostgreSQL, which is loaded only where one is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blackbox_proxy.errors import LedgerError
from blackbox_proxy.ledger.database import LedgerDatabase
from blackbox_proxy.ledger.place import LedgerPlace
from blackbox_proxy.ledger.sqlite import SqliteDatabase
from blackbox_proxy.ledger.store import Store


def open_store(place: LedgerPlace | Path | str) -> Store:
    """The open ledger at a place; made where there is none. Close it.

    Raises LedgerError where it cannot be used, InputError where the place is none.
    """
    named = as_place(place)
    return Store(_database(named), named)


def existing_store(place: LedgerPlace) -> Store | None:
    """The open ledger at a place; None where there is none, and then none is made."""
    return open_store(place) if _is_there(place) else None


def as_place(place: LedgerPlace | Path | str) -> LedgerPlace:
    """A place as it may be given: a URL is one only as text."""
    return place if isinstance(place, LedgerPlace) else LedgerPlace(str(place))


def _database(place: LedgerPlace) -> LedgerDatabase:
    if (path := place.path) is not None:
        return SqliteDatabase(path)
    with _needing_psycopg(place):
        from blackbox_proxy.ledger.postgres import PostgresDatabase
    return PostgresDatabase(place)


def _is_there(place: LedgerPlace) -> bool:
    if (path := place.path) is not None:
        return path.exists()
    with _needing_psycopg(place):
        from blackbox_proxy.ledger.postgres import has_ledger
    return has_ledger(place)


@contextmanager
def _needing_psycopg(place: LedgerPlace) -> Iterator[None]:
    """Raises LedgerError where psycopg, or the library below it, is not there."""
    try:
        yield
    except ImportError as error:
        raise LedgerError(
            f"the ledger {place} needs psycopg, which cannot be loaded: {error}",
            hint="pip install 'blackbox-proxy[postgres]'",
        ) from error
