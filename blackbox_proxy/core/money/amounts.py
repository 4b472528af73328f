"""What tokens cost, the most that a request can cost, and whether a budget allows it.

Money is Decimal, in US dollars; what is not known is None, never 0. Pure: no clock, no price list, no ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import final

from blackbox_proxy.errors import InputError, OverBudget
from blackbox_proxy.types import Usage

PER_MILLION = -6
"""Rates are per 10^6 tokens; shifting the point is exact, a division need not be."""

UNIT = -12
"""Charges against budgets are whole numbers of 10^-12 dollars, so that a database can sum them exactly."""

LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
"""Fields of a request that say how many tokens it asks for at most."""


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars per million tokens. tiers: (start, rate): what holds for a request of more input tokens than `start`.

    A tier holds for all tokens of such a request, not only for those beyond its start.
    """

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, tokens: int) -> Decimal:
        """The rate of a request of so many input tokens."""
        reached = [tier for tier in self.tiers if tokens > tier[0]]
        return max(reached)[1] if reached else self.base

    def most(self, tokens: int) -> Decimal:
        """The highest rate of any request of up to so many input tokens."""
        return max([self.base, *(rate for start, rate in self.tiers if tokens > start)])


@dataclass(frozen=True, slots=True)
class Price:
    """One row of a price list. cached, cache_write: None where such tokens cost what other input does.

    request: dollars for each request besides its tokens. source: which list and which row of it. since: the day
    (ISO 8601) from which the list has this row; "" where it does not say.
    """

    input: Rate
    output: Rate
    cached: Rate | None = None
    cache_write: Rate | None = None
    request: Decimal = Decimal(0)
    source: str = ""
    since: str = ""

    @property
    def flat(self) -> bool:
        """Whether no rate depends on how much a request reads."""
        rates = (self.input, self.output, self.cached, self.cache_write)
        return not any(rate.tiers for rate in rates if rate is not None)


def cost(usage: Usage, price: Price | None) -> Decimal | None:
    """What a request costs in dollars; None where no price is known, or the counts contradict each other.

    `usage.input` includes what was read from the cache and what was written to it.
    """
    plain = usage.input - usage.cached - usage.cache_write
    if price is None or plain < 0:
        return None
    parts = (
        (plain, price.input),
        (usage.cached, price.cached or price.input),
        (usage.cache_write, price.cache_write or price.input),
        (usage.output, price.output),
    )
    tokens = sum((count * rate.at(usage.input) for count, rate in parts), Decimal(0))
    return tokens.scaleb(PER_MILLION) + price.request


def worst(bound: Usage, price: Price | None) -> Decimal | None:
    """The most that a request of up to `bound` tokens can cost, however they are cached; None without a price."""
    if price is None:
        return None
    rates = (price.input, price.cached, price.cache_write)
    read = max(rate.most(bound.input) for rate in rates if rate is not None)
    tokens = bound.input * read + bound.output * price.output.most(bound.input)
    return tokens.scaleb(PER_MILLION) + price.request


def affordable(bound: Usage, price: Price, *, rest: int) -> int | None:
    """Most tokens of output for which a request costs no more than `rest` (10^-12 dollars); None where they are free.

    bound: the most tokens that it can take; its output does not count.
    """
    each, read = price.output.most(bound.input), worst(replace(bound, output=0), price)
    if not each or read is None:
        return None
    return max(0, int((Decimal(rest).scaleb(UNIT) - read).scaleb(-PER_MILLION) // each))


def bound_of(body: Mapping[str, object], size: int, *, length: int) -> Usage:
    """The most tokens that a request can take, whatever the tokenizer. size: bytes of its body as JSON.

    No token stands for less than a byte, and the names and marks of JSON are more than what a chat's template puts
    around a turn. length: tokens that are asked for after each prompt, where the body does not say.
    """
    said = [limit for name in LENGTHS if isinstance(limit := body.get(name), int)]
    copies = body.get("n")
    answers = _prompts(body) * (copies if isinstance(copies, int) else 1)
    return Usage(input=size, output=max(said, default=length) * answers)


def _prompts(body: Mapping[str, object]) -> int:
    """How many prompts a request holds: a list of texts, or of lists of ids, is one of several."""
    prompt = body.get("prompt")
    if isinstance(prompt, str) or not isinstance(prompt, Sequence) or all(isinstance(part, int) for part in prompt):
        return 1
    return len(prompt)


def charge(amount: Decimal | None) -> int:
    """An amount as budgets count it, rounded up to 10^-12 dollars; what is unknown cannot be counted."""
    return 0 if amount is None else int(amount.scaleb(-UNIT).to_integral_value(ROUND_CEILING))


def amount_of(charged: int) -> Decimal:
    """US dollars of a charge.

    >>> amount_of(2_500_000)
    Decimal('0.000002500000')
    """
    return Decimal(charged).scaleb(UNIT)


DIGITS = 4
"""Significant digits of an amount that a person reads."""


def rounded(amount: Decimal) -> Decimal:
    """An amount for reading: four significant digits, and cents at the least.

    >>> rounded(Decimal("0.000123456")), rounded(Decimal("12345.678"))
    (Decimal('0.0001235'), Decimal('12345.68'))
    """
    place = min(amount.adjusted() - DIGITS + 1, -2)
    return amount.quantize(Decimal(1).scaleb(place), ROUND_HALF_EVEN)


def plain(amount: Decimal) -> str:
    """An amount without exponent and without zeros at its end.

    >>> plain(Decimal("1.50E-7")), plain(Decimal(20)), plain(Decimal("0.10"))
    ('0.00000015', '20', '0.1')
    """
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@final
@dataclass(frozen=True, slots=True)
class Budget:
    """A limit: dollars, or requests with those that are tried again, or both.

    Attributes:
        max_cost: US dollars; None for no limit.
        max_calls: Requests; None for no limit.
        per: `run` (one call of `Steerer.complete`, `sample` or `choose`), `day` (UTC), or a tag as `KEY=VALUE`, over
            all runs that carry it.
    """

    max_cost: Decimal | None = None
    max_calls: int | None = None
    per: str = "run"

    def __post_init__(self) -> None:
        if self.max_cost is not None and not (self.max_cost.is_finite() and self.max_cost >= 0):
            raise InputError(f"a budget must be an amount of at least 0 dollars, not {self.max_cost}")
        if self.max_calls is not None and self.max_calls < 0:
            raise InputError(f"a budget must be at least 0 calls, not {self.max_calls}")
        if self.max_cost is None and self.max_calls is None:
            raise InputError("a budget limits nothing", hint="give max_cost, max_calls, or both")
        if self.per not in ("run", "day") and not all(self.per.partition("=")):
            raise InputError(
                f"a budget cannot be per {self.per!r}", hint="it is per run, per day, or per tag, as in project=demo"
            )

    @property
    def tag(self) -> tuple[str, str] | None:
        """Key and value, where the budget is one of a tag."""
        key, equals, value = self.per.partition("=")
        return (key, value) if equals else None


@dataclass(frozen=True, slots=True)
class Spent:
    """What counts against a budget so far: charges in 10^-12 dollars, and requests, those under way included."""

    charge: int = 0
    calls: int = 0


def remaining_charge(max_cost: Decimal, spent: Spent) -> int:
    """What a budget still allows, in 10^-12 dollars; below 0 where it was passed."""
    return int(max_cost.scaleb(-UNIT).to_integral_value(ROUND_FLOOR)) - spent.charge


def check_budget(budget: Budget, spent: Spent, *, reserve: int) -> None:
    """Raises OverBudget where a request that may cost `reserve` (10^-12 dollars) could pass the budget."""
    if budget.max_calls is not None and spent.calls + 1 > budget.max_calls:
        raise OverBudget(
            f"the budget of {budget.max_calls} calls per {budget.per} is used up", hint="raise it, or start a new run"
        )
    if budget.max_cost is None:
        return
    remaining = remaining_charge(budget.max_cost, spent)
    if reserve > remaining:
        raise OverBudget(
            f"the next request may cost {dollars(reserve)}, and of the budget of {plain(budget.max_cost)} USD per "
            f"{budget.per} {dollars(max(0, remaining))} are left",
            hint="raise the budget, or ask for fewer tokens per call (--draft) or with a shorter prompt",
        )


def dollars(charged: int) -> str:
    """A charge for a message."""
    return f"{plain(amount_of(charged))} USD"
