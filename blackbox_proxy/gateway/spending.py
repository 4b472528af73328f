"""What was spent today, as a client may see it: by its key, or by all where no key is asked for."""

from __future__ import annotations

from typing import Any

from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.ledger.books import Ledger


def spend_of(ledger: Ledger | None, key: str) -> dict[str, Any]:
    """The reply of `/spend`. key: the name of the client's key, "" where none is asked for.

    Where nothing is booked, nobody knows the figures: they are None. Raises LedgerError.
    """
    spend = None if ledger is None else ledger.spent_today(("key", key) if key else None)
    return {
        "object": "spend",
        "key": key or None,
        "day": None if spend is None else spend.day,
        "requests": None if spend is None else spend.requests,
        "cost_usd": None if spend is None else plain(spend.cost),
        "unpriced": None if spend is None else spend.unpriced,
        "at_risk_usd": None if spend is None else plain(spend.at_risk),
    }
