"""Where a command books its requests, and which budgets hold: options, settings, and the open ledger.

On by default, in the user's state directory. Imports nothing heavy at its head.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli.options import COSTS, OFF
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.core.money.amounts import Budget
    from blackbox_proxy.ledger.books import Ledger

LedgerFile = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        help="Where requests are booked.",
        rich_help_panel=COSTS,
        show_default="ledger.sqlite in the user's state directory",
    ),
]
NoLedger = Annotated[
    bool,
    typer.Option("--no-ledger", help="Book nothing; then no budget can hold.", rich_help_panel=COSTS, show_default=OFF),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        help="KEY=VALUE for reports and budgets; may be repeated.",
        rich_help_panel=COSTS,
        show_default="none",
    ),
]
MaxCost = Annotated[
    list[str] | None,
    typer.Option(
        help="Most US dollars: 0.50 for this run, 5/day, or 20/KEY=VALUE for all runs with that tag.",
        rich_help_panel=COSTS,
        show_default="no limit",
    ),
]
MaxCalls = Annotated[
    list[str] | None,
    typer.Option(
        help="Most requests, as --max-cost: 100, 1000/day, 500/KEY=VALUE.",
        rich_help_panel=COSTS,
        show_default="no limit",
    ),
]


@contextmanager
def books(
    settings: Settings,
    *,
    file: Path | None,
    off: bool,
    tags: Sequence[str] | None = None,
    max_cost: Sequence[str] | None = None,
    max_calls: Sequence[str] | None = None,
) -> Iterator[Ledger | None]:
    """The open ledger, closed at the end; None where nothing is booked. The settings' budgets hold besides."""
    if off:
        if file or tags or max_cost or max_calls or settings.max_cost or settings.max_calls:
            raise InputError("--no-ledger goes with no --ledger, no --tag and no budget", hint="drop one side")
        yield None
        return
    from blackbox_proxy.ledger.books import open_ledger

    costs, calls = _listed(settings.max_cost), _listed(settings.max_calls)
    budgets = budgets_of((*(max_cost or ()), *costs), (*(max_calls or ()), *calls))
    with open_ledger(ledger_file(file, settings), budgets=budgets, tags=tags_of(tags or ())) as ledger:
        yield ledger


def ledger_file(given: Path | None, settings: Settings) -> Path:
    """Where the ledger is."""
    from blackbox_proxy.ledger.books import default_path

    return (given or settings.ledger or default_path(os.environ)).expanduser()


def budgets_of(costs: Sequence[str], calls: Sequence[str]) -> tuple[Budget, ...]:
    """What `AMOUNT` and `AMOUNT/PER` limit. Raises InputError for anything else."""
    from blackbox_proxy.core.money.amounts import Budget

    found = [Budget(max_cost=_amount(text), per=_per(text)) for text in costs]
    for text in calls:
        amount = text.partition("/")[0]
        if not amount.isdecimal():
            raise InputError(f"--max-calls {text!r} does not begin with a whole number", hint="as in 100, or 1000/day")
        found.append(Budget(max_calls=int(amount), per=_per(text)))
    return tuple(found)


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
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals and value) or key in found:
            raise InputError(f"--tag {text!r} is not KEY=VALUE, or its key is there twice", hint="as in project=demo")
        found[key] = value
    return found


def _listed(setting: str) -> list[str]:
    return [part.strip() for part in setting.split(",") if part.strip()]
