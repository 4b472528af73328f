"""Attempts as they stand before they are sent; light, so that a process of a test starts quickly."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from blackbox_proxy.core.money.amounts import Price, Rate, worst
from blackbox_proxy.ledger.rows import Intent
from blackbox_proxy.types import Usage

NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
PRICE = Price(Rate(Decimal("2.5")), Rate(Decimal(10)), Rate(Decimal("0.25")))


def intent(
    *, run: str = "r", at: dt.datetime = NOON, price: Price | None = PRICE, read: int = 1000, **tags: str
) -> Intent:
    """An attempt that may read `read` tokens and write 100."""
    return Intent(
        run=run,
        step=0,
        attempt=1,
        at=at,
        provider="host",
        model="toy",
        path="/completions",
        asked=100,
        price=price,
        reserved=worst(Usage(input=read, output=100), price),
        tags=tags,
    )
