"""A row of the ledger: one attempt at one request, before it is sent, and afterwards.

Frozen data; knows no database.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from blackbox_proxy.core.money.amounts import Price, Rate, plain
from blackbox_proxy.core.money.usage import Source
from blackbox_proxy.types import Usage


def day_of(at: dt.datetime) -> str:
    """The day of a time (UTC), as ISO 8601."""
    return at.strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Intent:
    """What is known of an attempt before it is sent.

    at: UTC. asked: tokens of output that it asks for at most. reserved: the most that it can cost, in dollars; None
    where no price is known. replayed: it is taken from a cassette, so nothing is sent and nothing is spent.
    """

    run: str
    step: int
    attempt: int
    at: dt.datetime
    provider: str
    model: str
    path: str
    asked: int
    price: Price | None
    reserved: Decimal | None
    tags: Mapping[str, str] = field(default_factory=dict)
    replayed: bool = False

    @property
    def day(self) -> str:
        """The UTC day, as ISO 8601."""
        return day_of(self.at)


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. usage: the provider's own counts, as JSON, as they came."""

    outcome: str
    status: int | None
    seconds: float
    usage: str | None
    lost: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """What an attempt took, and what that costs in dollars: None where it is unknown.

    source: None where nobody counted, since the request was not taken. price: what it was billed by, where that is
    known by the reply alone (its service tier).
    """

    usage: Usage
    source: Source | None
    cost: Decimal | None
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class DaySpend:
    """What was spent on a day (UTC, ISO 8601): the figures of `ledger.report.DEFINITIONS` by these names.

    cost: to 10^-12 dollars. at_risk: with what requests that are under way reserve.
    """

    day: str
    requests: int
    cost: Decimal
    unpriced: int
    at_risk: Decimal


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One attempt as the ledger has it; `export` writes these fields.

    outcome: `open` until it has ended (and for ever where the process was killed before), then that of
    `types.Attempt`. input to output: tokens, None where they are unknown; `input` includes `cached` and
    `cache_write`. kept, wasted: positions of the reply that were used, and drafted ones that were not; None until the
    answer has gone past them, and where nothing was steered. Used are also those of a draft that the API was sent and
    told of. local_seconds: how long the pair computed between this reply and the next one, or the end; None as long
    as that is not known. price: the row of the price list that was used, in dollars per million tokens, with its
    source and its day. reserved: the most that the attempt could cost, which counts against budgets as long as `cost`
    is unknown. replayed: it was taken from a cassette: nothing was sent, so its cost is 0, no budget counts it and no
    report adds it up.
    """

    id: int
    run: str
    step: int
    attempt: int
    at: str
    provider: str
    model: str
    path: str
    asked: int
    outcome: str
    status: int | None
    seconds: float | None
    usage: str | None
    input: int | None
    cached: int | None
    cache_write: int | None
    output: int | None
    kept: int | None
    wasted: int | None
    local_seconds: float | None
    source: Source | None
    price: str | None
    reserved: Decimal | None
    cost: Decimal | None
    replayed: bool
    tags: Mapping[str, str]

    @property
    def echoed(self) -> int:
        """Kept positions of the draft that the API was sent; the others it wrote itself. 0 where that is unknown."""
        if self.kept is None or self.wasted is None or self.output is None:
            return 0
        return max(0, self.kept + self.wasted - self.output)

    @property
    def day(self) -> str:
        """The UTC day, as ISO 8601."""
        return self.at[:10]


def price_text(price: Price) -> str:
    """A price row as JSON, amounts as text."""
    return json.dumps(
        {
            "input": _rate(price.input),
            "cached": price.cached and _rate(price.cached),
            "cache_write": price.cache_write and _rate(price.cache_write),
            "output": _rate(price.output),
            "request": plain(price.request),
            "source": price.source,
            "since": price.since or None,
        },
        ensure_ascii=False,
    )


def price_of(text: str) -> Price:
    """The price row that `price_text` wrote."""
    values = json.loads(text)
    return Price(
        input=_rate_of(values["input"]),
        output=_rate_of(values["output"]),
        cached=values["cached"] and _rate_of(values["cached"]),
        cache_write=values["cache_write"] and _rate_of(values["cache_write"]),
        request=Decimal(values["request"]),
        source=values["source"],
        since=values["since"] or "",
    )


def _rate_of(rate: str | list[tuple[int, str]]) -> Rate:
    if isinstance(rate, str):
        return Rate(Decimal(rate))
    (_, base), *tiers = rate
    return Rate(Decimal(base), tuple((start, Decimal(amount)) for start, amount in tiers))


def _rate(rate: Rate) -> object:
    """A rate; with tiers as a list of [more than so many input tokens, rate]."""
    tiers = [[start, plain(amount)] for start, amount in rate.tiers]
    return [[0, plain(rate.base)], *tiers] if tiers else plain(rate.base)
