"""Questions for many tokens, cut to what the budgets allow: a request reserves the most that it can cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from blackbox_proxy.api import Endpoint
from blackbox_proxy.types import Ask, Draw, Generate, Purpose, Result


@runtime_checkable
class Budgeted(Protocol):
    """An endpoint whose requests are booked under budgets, as `Api` is where a ledger is given."""

    def affords(self, ask: Ask, purpose: Purpose, /) -> int | None:
        """Most tokens that an ask may write, of all its answers; None where no budget limits it."""


def afforded(asks: Sequence[Ask], api: Endpoint, purpose: Purpose, *, beyond: int) -> Sequence[Ask]:
    """The asks, each no longer than the budgets allow all of them together.

    beyond: tokens up to which an ask is left as it is. Where not one token can be paid for nothing is cut: whoever
    books the request says so.
    """
    longest = max(ask.length for ask in asks)
    if longest <= beyond or not isinstance(api, Budgeted) or (allowed := api.affords(asks[0], purpose)) is None:
        return asks
    most = allowed // sum(ask.count if isinstance(ask, Draw) else 1 for ask in asks)
    if not 0 < most < longest:
        return asks
    return [replace(ask, length=min(ask.length, most)) if isinstance(ask, Generate | Draw) else ask for ask in asks]


def capped(result: Result, cut: int) -> Result:
    """What the result is where its answer was cut after `cut` tokens, since a budget allowed no more."""
    note = f"the answer was cut after {cut} tokens: the budget allows no more, since a request reserves its whole cost"
    return replace(result, finish="budget", notes=(*result.notes, note))
