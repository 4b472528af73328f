"""Budgets of single keys: the ledger's own, over the rows that carry the key's name as their tag `key`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from blackbox_proxy.api import Api
from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.keys import Keys

TAG = "key"
"""The tag that says whose key asked."""


def budgeted(api: Api, budget: Budget | None) -> Api:
    """The same connection, for which a budget holds besides the ledger's."""
    account = api.account
    if account is None or budget is None:
        return api
    ledger = replace(account.ledger, budgets=(*account.ledger.budgets, budget))
    return replace(api, account=replace(account, ledger=ledger))


def check_budgets(apis: Iterable[Api], keys: Keys) -> None:
    """Raises InputError where the budget of a key could not be kept."""
    budgets = [budget for name in keys.entries if (budget := keys.limits(name).budget(name)) is not None]
    for api in apis if budgets else ():
        if api.account is None:
            raise InputError(
                "a key has a budget, and nothing is booked that it could be held by",
                hint="drop `off` of [ledger], or max_cost and max_calls of the key",
            )
        if TAG in api.account.ledger.tags:
            raise InputError(
                f"a key has a budget, which counts rows by the tag {TAG!r}, and [ledger] gives all rows one such tag",
                hint=f"drop {TAG} from the tags of [ledger]",
            )
        for budget in budgets:
            checked = budgeted(api, budget).account
            if checked is not None and checked.price() is None and not checked.replayed:
                checked.check_limits()
