"""What requests took, in words and for JSON: the figures of the ledger's rows, for one answer or choice."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.core.money.spending import known_of, unpriced_of
from blackbox_proxy.types import Call, Usage


class Billed(Protocol):
    """What took requests: an answer, a choice, a whole conversation. cost: in US dollars; None where unknown."""

    @property
    def usage(self) -> Usage: ...

    @property
    def cost(self) -> Decimal | None: ...

    @property
    def calls(self) -> Sequence[Call]: ...


def calls(usage: Usage) -> str:
    """How many requests were sent, and how many of them brought nothing."""
    failed = [f"{count} {what}" for count, what in ((usage.refused, "refused"), (usage.lost, "lost")) if count]
    return f"{usage.requests} calls" + (f" ({', '.join(failed)})" if failed else "")


def bill(outcome: Billed) -> str:
    """Requests, tokens and cost in one line."""
    usage = outcome.usage
    return f"{calls(usage)}, {usage.input} tokens in, {usage.output} out; {price(outcome)}"


def price(outcome: Billed) -> str:
    """What is known of the cost, as the ledger has it, and of how many replies nothing is."""
    if outcome.cost is not None:
        return cost_words(outcome.cost)
    known, unknown = known_of(outcome.calls), unpriced_of(outcome.calls)
    return f"cost {plain(known)} USD and that of {unknown} replies, which is unknown" if known else cost_words(None)


def cost_words(cost: Decimal | None) -> str:
    """A cost that is known to the last digit, or not at all."""
    return "cost unknown" if cost is None else f"cost {plain(cost)} USD"


def cost_json(outcome: Billed) -> dict[str, object]:
    """cost: null where that of a reply is unknown; known_cost: of the others; unpriced: how many there are of those."""
    known = plain(known_of(outcome.calls))
    cost = None if outcome.cost is None else plain(outcome.cost)
    return {"cost": cost, "known_cost": known, "unpriced": unpriced_of(outcome.calls)}
