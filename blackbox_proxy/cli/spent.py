"""What requests took, in words and for JSON: the figures of the ledger's rows, for one answer or choice."""

from __future__ import annotations

from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.core.money.spending import known_of, unpriced_of
from blackbox_proxy.types import Choice, Result, Usage


def calls(usage: Usage) -> str:
    """How many requests were sent, and how many of them brought nothing."""
    failed = [f"{count} {what}" for count, what in ((usage.refused, "refused"), (usage.lost, "lost")) if count]
    return f"{usage.requests} calls" + (f" ({', '.join(failed)})" if failed else "")


def bill(found: Result | Choice) -> str:
    """Requests, tokens and cost in one line."""
    usage = found.usage
    return f"{calls(usage)}, {usage.input} tokens in, {usage.output} out; {price(found)}"


def price(found: Result | Choice) -> str:
    """What is known of the cost, as the ledger has it, and of how many replies nothing is."""
    if found.cost is not None:
        return f"cost {plain(found.cost)} USD"
    known, unknown = known_of(found.calls), unpriced_of(found.calls)
    return f"cost {plain(known)} USD and that of {unknown} replies, which is unknown" if known else "cost unknown"


def cost_json(found: Result | Choice) -> dict[str, object]:
    """cost: null where that of a reply is unknown; known_cost: of the others; unpriced: how many there are of those."""
    known = plain(known_of(found.calls))
    cost = None if found.cost is None else plain(found.cost)
    return {"cost": cost, "known_cost": known, "unpriced": unpriced_of(found.calls)}
