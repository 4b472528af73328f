"""The ledger's rows in a database: they go in before a request is sent, and are completed afterwards.

Budgets are checked and reserved in one transaction, so that runs side by side cannot pass one together. What is said
here both databases understand; where they differ, `database` asks and `sqlite` and `postgres` answer. Knows no price
list and no request's meaning. Every method may be called by any thread.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, final

from blackbox_proxy.core.money.amounts import Budget, Spent, amount_of, charge, check_budget, plain
from blackbox_proxy.ledger.database import LedgerDatabase, Scope, Transaction, Values
from blackbox_proxy.ledger.place import LedgerPlace
from blackbox_proxy.ledger.rows import Counted, DaySpend, Ended, Intent, LedgerRow, price_text

_NAMES = tuple(field.name for field in fields(LedgerRow))
_SPENT = {
    "run": "SELECT coalesce(sum(charge), 0), count(*) FROM attempts WHERE run = :run AND NOT replayed",
    "day": "SELECT coalesce(sum(charge), 0), count(*) FROM attempts WHERE day = :day AND NOT replayed",
    "tag": "SELECT coalesce(sum(charge), 0), count(*) FROM tags JOIN attempts ON attempts.id = tags.attempt "
    "WHERE tags.key = :key AND tags.value = :value AND NOT replayed",
}
_TAG = "INSERT INTO tags (key, value, attempt) VALUES (:key, :value, :attempt)"
_HOLD = (
    "INSERT INTO budgets (key, value, day) VALUES (:key, :value, :day) "
    "ON CONFLICT (key, value) DO UPDATE SET day = excluded.day WHERE budgets.day < excluded.day"
)
_ENDED = "outcome = :outcome, status = :status, seconds = :seconds, usage = :usage"
_COUNTED = (
    "input = :input, cached = :cached, cache_write = :cache_write, output = :output, source = :source, cost = :cost, "
    "price = coalesce(:price, price), charge = coalesce(:charge, charge)"
)
_ACCEPTED = "kept = :kept, wasted = :wasted"
_EVALUATED = "local_seconds = :local_seconds"
_PRUNE = (
    "DELETE FROM attempts WHERE day < :before AND run NOT IN (SELECT run FROM attempts WHERE day >= :before) "
    "AND (:counted OR NOT EXISTS (SELECT 1 FROM tags JOIN budgets ON budgets.key = tags.key "
    "AND budgets.value = tags.value WHERE tags.attempt = attempts.id AND budgets.day >= :before))"
)
_STAYING = "SELECT count(*) FROM attempts WHERE day < :before"
_HELD_BY = (
    "SELECT DISTINCT budgets.key, budgets.value FROM budgets JOIN tags ON budgets.key = tags.key AND budgets.value = "
    "tags.value JOIN attempts ON attempts.id = tags.attempt WHERE budgets.day >= :before AND attempts.day < :before"
)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted, and what stays of those days: rows of runs that go on, or that budgets of `tags` count."""

    deleted: int
    staying: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Copied:
    """How many rows were copied, and of how many the run was there already."""

    copied: int
    present: int


_DAY = (
    "SELECT count(*), coalesce(sum(CASE WHEN cost IS NOT NULL THEN charge END), 0), "
    "count(CASE WHEN outcome = 'ok' AND cost IS NULL THEN 1 END), "
    "coalesce(sum(CASE WHEN outcome <> 'ok' AND cost IS NULL THEN charge END), 0) "
    "FROM attempts WHERE day = :day AND NOT replayed "
)
_TAGGED = "AND EXISTS (SELECT 1 FROM tags WHERE attempt = attempts.id AND key = :key AND value = :value)"


@final
class Store:
    """The rows of an open database. Close it. Every method raises LedgerError where the database cannot be used.

    address: where another process finds it; None where it is not known.
    """

    def __init__(self, database: LedgerDatabase, address: LedgerPlace | None = None) -> None:
        self.address = address
        self._database = database
        self._held: set[tuple[str, str, str]] = set()

    def __repr__(self) -> str:
        return f"Store({self.place!r})"

    @property
    def place(self) -> str:
        """Where the rows are, as it may be shown."""
        return self._database.place

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def begin(self, intent: Intent, budgets: Sequence[Budget] = ()) -> int:
        """Book an attempt that is about to be sent, with the most that it can cost; the row's id.

        Raises OverBudget, and books nothing, where a budget could be passed.
        """
        values, reserve = _intent_values(intent), charge(intent.reserved)
        held = {(*tag, intent.day) for tag in _tags_of(budgets, intent)} - self._held

        def book(transaction: Transaction) -> int:
            for budget in budgets:
                check_budget(budget, _spent(transaction.rows, budget, intent), reserve=reserve)
            row = _add(transaction, values, intent.tags)
            for key, value, day in sorted(held):
                transaction.change(_HOLD, {"key": key, "value": value, "day": day})
            return row

        row = self._database.transact(book, _scopes(intent, budgets))
        self._held |= held
        return row

    def spent(self, budget: Budget, intent: Intent) -> Spent:
        """What counts against a budget before an attempt."""
        return _spent(self._database.read, budget, intent)

    def spent_on(self, day: str, tag: tuple[str, str] | None = None) -> DaySpend:
        """What was spent on a day (ISO 8601, UTC), without replays; of a tag, what its rows come to."""
        key, value = tag or ("", "")
        values: Values = {"day": day, **({"key": key, "value": value} if tag else {})}
        ((requests, spent, unpriced, at_risk),) = self._database.read(_DAY + _TAGGED if tag else _DAY, values)
        return DaySpend(day, requests, amount_of(int(spent)), unpriced, amount_of(int(at_risk)))

    def end(self, row: int, ended: Ended, counted: Counted | None) -> None:
        """Complete a row. counted: None where what it took is not known; then its reservation stays in force."""
        values: Values = {
            "outcome": ended.outcome,
            "status": ended.status,
            "seconds": ended.seconds,
            "usage": ended.usage,
        }
        if counted is None:
            self._set(row, _ENDED, values)
        else:
            self._set(row, f"{_ENDED}, {_COUNTED}", {**values, **_counted_values(counted)})

    def count(self, row: int, counted: Counted) -> None:
        """Say what an attempt took, where that became known only when its reply was read."""
        self._set(row, _COUNTED, _counted_values(counted))

    def accepted(self, row: int, *, kept: int, wasted: int) -> None:
        """Say how many of a reply's positions were used, and how many were not."""
        self._set(row, _ACCEPTED, {"kept": kept, "wasted": wasted})

    def evaluated(self, row: int, seconds: float) -> None:
        """Say for how many seconds in all this machine evaluated the pair: a total, since it may be said twice."""
        self._set(row, _EVALUATED, {"local_seconds": seconds})

    def rows(self, *, since: str = "", until: str = "") -> Iterator[LedgerRow]:
        """The rows of the days from `since` on and before `until` (ISO 8601, UTC), in the order of their ids."""
        columns = ", ".join(name for name in _NAMES if name != "tags")
        tags = f"SELECT {self._database.json_object}(key, value) FROM tags WHERE tags.attempt = attempts.id"  # noqa: S608
        statement = (
            f"SELECT {columns}, coalesce(CAST(({tags}) AS TEXT), '{{}}') FROM attempts "  # noqa: S608 (constants)
            "WHERE day >= :since AND day < :until ORDER BY id"
        )
        return map(_row, self._database.read(statement, {"since": since, "until": until or "9999"}))

    def prune(self, *, before: str, budgets: Sequence[Budget] = (), today: str = "", counted: bool = False) -> Pruned:
        """Delete the rows of the days before one (ISO 8601, UTC), as far as no open budget counts them.

        Rows of a run that went on at that day or later stay, and those of a tag for which a budget held then.

        Args:
            before: The first day whose rows stay.
            budgets: What holds at `today` besides what the ledger knows.
            today: The UTC day.
            counted: Delete also what budgets of tags count; they then allow as much again.
        """
        named = [budget.tag for budget in budgets if budget.tag is not None]

        def forget(transaction: Transaction) -> Pruned:
            for key, value in named:
                transaction.change(_HOLD, {"key": key, "value": value, "day": today})
            deleted = transaction.change(_PRUNE, {"before": before, "counted": counted})
            ((staying,),) = transaction.rows(_STAYING, {"before": before})
            tags = transaction.rows(_HELD_BY, {"before": before})
            return Pruned(deleted, staying, tuple(sorted(f"{key}={value}" for key, value in tags)))

        return self._database.transact(forget)

    def copy_to(self, target: Store) -> Copied:
        """Write all rows into another ledger too, and which tags have budgets: all of it or nothing.

        Rows of a run that the other ledger has are taken to be there. Nobody may book meanwhile.
        """
        rows = list(self.rows())
        held = self._database.read("SELECT key, value, day FROM budgets", {})

        def write(transaction: Transaction) -> Copied:
            present = {run for (run,) in transaction.rows("SELECT DISTINCT run FROM attempts", {})}
            fresh = [row for row in rows if row.run not in present]
            for row in fresh:
                _add(transaction, _row_values(row), row.tags)
            for key, value, day in held:
                transaction.change(_HOLD, {"key": key, "value": value, "day": day})
            return Copied(len(fresh), len(rows) - len(fresh))

        return target._database.transact(write)

    def _set(self, row: int, columns: str, values: Values) -> None:
        self._database.change(f"UPDATE attempts SET {columns} WHERE id = :id", {**values, "id": row})  # noqa: S608


def _add(transaction: Transaction, values: Values, tags: Mapping[str, str]) -> int:
    """The id of a new row, with its tags."""
    row = transaction.add_attempt(values)
    if tags:
        transaction.change_each(_TAG, [{"key": key, "value": value, "attempt": row} for key, value in tags.items()])
    return row


def _spent(rows: Any, budget: Budget, intent: Intent) -> Spent:  # noqa: ANN401 (a query, as both have it)
    tag = budget.tag
    if tag is not None and intent.tags.get(tag[0]) != tag[1]:
        return Spent()
    if tag is not None:
        ((total, calls),) = rows(_SPENT["tag"], {"key": tag[0], "value": tag[1]})
    else:
        ((total, calls),) = rows(_SPENT[budget.per], {budget.per: getattr(intent, budget.per)})
    return Spent(int(total), calls)


def _tags_of(budgets: Collection[Budget], intent: Intent) -> Iterator[tuple[str, str]]:
    """The tags of an attempt for which a budget holds."""
    for budget in budgets:
        if budget.tag is not None and budget.tag in intent.tags.items():
            yield budget.tag


def _scopes(intent: Intent, budgets: Collection[Budget]) -> Sequence[Scope]:
    """What an attempt counts in; those alone for which there is a budget. None of a replay, which counts in none."""
    if intent.replayed:
        return ()
    checked = {"run", "day"} & {budget.per for budget in budgets}
    tags = set(_tags_of(budgets, intent))
    return (
        Scope(f"run {intent.run}", "run" in checked),
        Scope(f"day {intent.day}", "day" in checked),
        *(Scope(f"tag {key}={value}", (key, value) in tags) for key, value in intent.tags.items()),
    )


def _intent_values(intent: Intent) -> Mapping[str, object]:
    return {
        "run": intent.run,
        "step": intent.step,
        "attempt": intent.attempt,
        "at": intent.at.isoformat(timespec="milliseconds"),
        "day": intent.day,
        "provider": intent.provider,
        "model": intent.model,
        "path": intent.path,
        "asked": intent.asked,
        "price": intent.price and price_text(intent.price),
        "reserved": _text(intent.reserved),
        "replayed": intent.replayed,
        "charge": charge(intent.reserved),
    }


def _counted_values(counted: Counted) -> Mapping[str, object]:
    usage = counted.usage
    return {
        "input": usage.input,
        "cached": usage.cached,
        "cache_write": usage.cache_write,
        "output": usage.output,
        "source": counted.source,
        "cost": _text(counted.cost),
        "price": counted.price and price_text(counted.price),
        "charge": None if counted.cost is None else charge(counted.cost),
    }


def _row_values(row: LedgerRow) -> Mapping[str, object]:
    """A row as it is written elsewhere; it counts there with what it cost, or with what was reserved."""
    columns = {name: getattr(row, name) for name in _NAMES if name not in ("id", "tags")}
    amounts = {"reserved": _text(row.reserved), "cost": _text(row.cost)}
    counts = row.reserved if row.cost is None else row.cost
    return {**columns, **amounts, "day": row.day, "charge": charge(counts)}


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)


def _row(values: Sequence[Any]) -> LedgerRow:
    columns: dict[str, Any] = dict(zip(_NAMES, values, strict=True))
    for name in ("reserved", "cost"):
        columns[name] = None if columns[name] is None else Decimal(columns[name])
    columns["tags"] = dict(sorted(json.loads(columns["tags"]).items()))
    columns["replayed"] = bool(columns["replayed"])
    return LedgerRow(**columns)
