"""Rows of a ledger as weeks of work would leave them, from a seed, and the page of them."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from blackbox_proxy.core.money.amounts import Price, Rate, cost
from blackbox_proxy.ledger.report import figures, report
from blackbox_proxy.ledger.rows import LedgerRow, price_text
from blackbox_proxy.pages.costs import Costs
from blackbox_proxy.types import Usage

PRICES = {
    "mistral-small-latest": Price(Rate(Decimal("0.1")), Rate(Decimal("0.3")), source="a test", since="2026-01-01"),
    "gpt-4o-mini": Price(Rate(Decimal("0.15")), Rate(Decimal("0.6")), Rate(Decimal("0.075")), source="a test"),
    "nobody-knows": None,
}
PROVIDERS = {"mistral-small-latest": "mistral", "gpt-4o-mini": "openai", "nobody-knows": "127.0.0.1:8000"}
TAGS: tuple[dict[str, str], ...] = ({"project": "catalogue", "team": "shop"}, {"project": "support"}, {})
START = dt.datetime(2026, 10, 30, 9, tzinfo=dt.UTC)
MADE = dt.datetime(2026, 11, 25, 9, 30, tzinfo=dt.UTC)

ROW = LedgerRow(
    id=1,
    run="r",
    step=0,
    attempt=1,
    at=START.isoformat(),
    provider="mistral",
    model="mistral-small-latest",
    path="/completions",
    asked=8,
    outcome="ok",
    status=200,
    seconds=0.5,
    usage="{}",
    input=100,
    cached=0,
    cache_write=0,
    output=8,
    kept=5,
    wasted=3,
    local_seconds=0.1,
    source="provider",
    price=None,
    reserved=None,
    cost=None,
    replayed=False,
    tags={},
)


def answered(row: LedgerRow, price: Price | None, *, asked: Usage, kept: int, seconds: float) -> LedgerRow:
    """A row whose attempt was answered, at a price."""
    return replace(
        row,
        input=asked.input,
        cached=asked.cached,
        output=asked.output,
        kept=kept,
        wasted=asked.output - kept,
        seconds=seconds,
        local_seconds=seconds / 8,
        price=None if price is None else price_text(price),
        cost=cost(asked, price),
    )


def failed(row: LedgerRow, outcome: str, price: Price | None) -> LedgerRow:
    """A row whose attempt was not: busy costs nothing, a timeout nobody knows what."""
    none = replace(row, outcome=outcome, status=None, usage=None, source=None, kept=None, wasted=None)
    free = outcome == "busy"
    spent = {"input": 0, "cached": 0, "cache_write": 0, "output": 0} if free else dict.fromkeys(("input", "output"))
    known = Decimal(0) if free else None
    return replace(
        none, **spent, cost=known, reserved=None if price is None else Decimal("0.002"), local_seconds=None, seconds=2.0
    )


def weeks(days: int = 27, *, seed: int = 7) -> list[LedgerRow]:
    """Some answers a day, fewer at weekends, several requests each."""
    chance, rows = random.Random(seed), list[LedgerRow]()
    for day in range(days):
        at = START + dt.timedelta(days=day)
        for number in range(0 if at.weekday() > 4 else chance.randrange(3, 14)):
            model = chance.choices(list(PRICES), weights=[6, 4, 1])[0]
            rows += answer(chance, model, at=at, run=f"{day}-{number}", tags=chance.choice(TAGS), first=len(rows) + 1)
    return rows


def answer(
    chance: random.Random, model: str, *, at: dt.datetime, run: str, tags: dict[str, str], first: int
) -> Sequence[LedgerRow]:
    """The rows of one answer, some of them failures."""
    price, prompt, stood, rows = PRICES[model], chance.randrange(200, 6000), 0, list[LedgerRow]()
    while stood < 60:
        row = replace(
            ROW,
            id=first + len(rows),
            run=run,
            step=stood,
            at=at.isoformat(),
            provider=PROVIDERS[model],
            model=model,
            tags=tags,
        )
        if chance.random() < 0.06:
            rows.append(failed(row, chance.choice(("busy", "busy", "timeout", "unreadable")), price))
            continue
        kept = chance.randrange(1, 9)
        used = Usage(input=prompt + stood, cached=prompt // 2 if rows and chance.random() < 0.7 else 0, output=8)
        rows.append(answered(row, price, asked=used, kept=kept, seconds=chance.uniform(0.2, 1.5)))
        stood += kept
    return rows


def costs_of(rows: Sequence[LedgerRow], *, since: str = "") -> Costs:
    """What the page of these rows shows."""
    return Costs(
        total=figures("total", rows),
        days=report(rows, by="day"),
        models=report(rows, by="model"),
        tags=report(rows, by="tag"),
        outcomes=report(rows, by="outcome"),
        since=since,
        written_at=MADE,
        by="blackbox-proxy test",
    )
