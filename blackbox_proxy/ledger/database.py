"""What the ledger asks of a database, and what every database answers alike: the seam between the rows and the doors.

Statements name their values as `:name`; they are SQL that SQLite and PostgreSQL both speak. Knows no database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from blackbox_proxy.errors import LedgerError

Done = TypeVar("Done")

LOCK_SECONDS = 30.0
"""Seconds to wait for another process that is writing."""

ELSEWHERE = "name another ledger with --ledger, or book nothing: --no-ledger"
"""What remains where a ledger cannot be used."""

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a budget may be for: a run, a day, a tag. alone: a budget of it is checked, so nobody else may add to it."""

    name: str
    alone: bool = False


class Transaction(Protocol):
    """What may be said inside of one transaction."""

    def rows(self, statement: str, values: Values, /) -> Sequence[Sequence[Any]]:
        """What a query gives."""

    def change(self, statement: str, values: Values, /) -> int:
        """How many rows a statement changed."""

    def change_each(self, statement: str, values: Sequence[Values], /) -> None:
        """A statement, once for each of the values."""

    def add_attempt(self, values: Values, /) -> int:
        """The id of a new row of `attempts`."""


class LedgerDatabase(Protocol):
    """An open database with the ledger's tables, of the newest schema. Any thread may call it.

    Every method raises LedgerError where the database cannot be used.
    """

    @property
    def place(self) -> str:
        """Where it is, as it may be shown: without a password."""

    @property
    def json_object(self) -> str:
        """What its function is called that makes a JSON object of names and values."""

    def read(self, statement: str, values: Values, /) -> Sequence[Sequence[Any]]:
        """What a query gives that stands by itself."""

    def change(self, statement: str, values: Values, /) -> int:
        """How many rows a statement changed that is a transaction by itself; it may be said twice to the same end."""

    def transact(self, work: Callable[[Transaction], Done], /, scopes: Sequence[Scope] = ()) -> Done:
        """What `work` gives, in one transaction; nothing of it happened where it raises.

        It may be called again where the connection broke off. scopes: what the rows that it adds count in; whoever has
        one alone waits until those before have ended, and those after wait for it.
        """

    def close(self) -> None:
        """Close it; nothing may be asked of it then."""


def check_schema(version: int, newest: int, *, place: str) -> None:
    """Raises LedgerError where a ledger's schema is newer than this program."""
    if version > newest:
        raise LedgerError(
            f"the ledger {place} was written by a newer version of this program (schema {version}, and {newest} is the "
            "newest known here)",
            hint="upgrade blackbox-proxy, or name another ledger with --ledger",
        )


def unusable(place: str, what: object, *, hint: str) -> LedgerError:
    """The error for a ledger that cannot be used. what: the database's own words."""
    return LedgerError(f"the ledger {place} cannot be used: {what}", hint=f"{hint}; or {ELSEWHERE}")
