"""Where a command books its requests, and which budgets hold: options, settings, and the open ledger.

On by default, in the user's state directory. Imports nothing heavy at its head.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from blackbox_proxy.cli.declaring import BUDGET, option
from blackbox_proxy.cli.endpoint import OFF
from blackbox_proxy.errors import InputError
from blackbox_proxy.ledger.place import LedgerPlace

if TYPE_CHECKING:
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.core.money.amounts import Budget
    from blackbox_proxy.ledger.books import Ledger


def place_given(text: str) -> LedgerPlace:
    """The place that an option names. Raises InputError where it is none."""
    place = LedgerPlace(text)
    if place.has_password:
        from blackbox_proxy.cli import show

        show.warning(f"the password of {place} stands on the command line, where others see it: see docs/cost.md")
    return place


@dataclass(frozen=True, slots=True)
class BudgetOptions:
    """Where requests are booked, and what they may cost."""

    max_cost: tuple[str, ...] = option(
        (),
        "Most US dollars: 0.50 for this run, 5/day, or 20/KEY=VALUE for all runs with that tag.",
        panel=BUDGET,
        unset="no limit",
    )
    max_calls: tuple[str, ...] = option(
        (), "Most requests, as --max-cost: 100, 1000/day, 500/KEY=VALUE.", panel=BUDGET, unset="no limit"
    )
    tag: tuple[str, ...] = option((), "KEY=VALUE for reports and budgets; may be repeated.", panel=BUDGET)
    ledger: LedgerPlace | None = option(
        None,
        "Where requests are booked: a file, or postgresql://USER@HOST/DATABASE.",
        panel=BUDGET,
        unset="ledger.sqlite in the user's state directory",
        read=place_given,
    )
    ledger_password_file: Path | None = option(
        None,
        "What holds the password for a database, and nothing else.",
        panel=BUDGET,
        unset="where libpq looks for it: see docs/cost.md",
    )
    no_ledger: bool = option(
        default=False, help="Book nothing; then no budget can hold.", panel=BUDGET, flag="--no-ledger", unset=OFF
    )

    def place(self, settings: Settings) -> LedgerPlace:
        """Where the ledger is. Raises InputError where what is set is no place."""
        from blackbox_proxy.ledger.books import default_path

        place = self.ledger or LedgerPlace(settings.ledger or str(default_path(os.environ)))
        files = (self.ledger_password_file, place.password_file, settings.ledger_password_file)
        return replace(place, password_file=next(filter(None, files), None))

    @staticmethod
    def standing(settings: Settings) -> tuple[Budget, ...]:
        """The budgets that hold for every run. Raises InputError for one that is none."""
        return budgets_of(_listed(settings.max_cost), _listed(settings.max_calls))

    @contextmanager
    def books(self, settings: Settings) -> Iterator[Ledger | None]:
        """The open ledger, closed at the end; None where nothing is booked. The settings' budgets hold besides.

        Raises InputError for a budget or a tag that is none.
        """
        if self.no_ledger:
            if replace(self, no_ledger=False) != BudgetOptions() or settings.max_cost or settings.max_calls:
                raise InputError("--no-ledger goes with no --ledger, no --tag and no budget", hint="drop one side")
            yield None
            return
        from blackbox_proxy.ledger.books import open_ledger

        budgets = (*budgets_of(self.max_cost, self.max_calls), *self.standing(settings))
        with open_ledger(self.place(settings), budgets=budgets, tags=tags_of(self.tag)) as ledger:
            yield ledger


def budgets_of(costs: Sequence[str], calls: Sequence[str]) -> tuple[Budget, ...]:
    """What `AMOUNT` and `AMOUNT/PER` limit. Raises InputError for anything else."""
    from blackbox_proxy.core.money.amounts import Budget

    budgets = [Budget(max_cost=_amount(text), per=_per(text)) for text in costs]
    for text in calls:
        amount = text.partition("/")[0]
        if not amount.isdecimal():
            raise InputError(f"--max-calls {text!r} does not begin with a whole number", hint="as in 100, or 1000/day")
        budgets.append(Budget(max_calls=int(amount), per=_per(text)))
    return tuple(budgets)


def _amount(text: str) -> Decimal:
    amount = text.partition("/")[0]
    try:
        return Decimal(amount)
    except InvalidOperation:
        raise InputError(
            f"--max-cost {text!r} does not begin with an amount", hint="as in 0.50, 5/day, or 20/project=demo"
        ) from None


def _per(text: str) -> str:
    _, slash, per = text.partition("/")
    return per if slash else "run"


def tags_of(given: Sequence[str]) -> dict[str, str]:
    """Tags as `KEY=VALUE`. Raises InputError for anything else, and for a key that is given twice."""
    tags: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals and value) or key in tags:
            raise InputError(f"--tag {text!r} is not KEY=VALUE, or its key is there twice", hint="as in project=demo")
        tags[key] = value
    return tags


def _listed(setting: str) -> list[str]:
    return [part.strip() for part in setting.split(",") if part.strip()]
