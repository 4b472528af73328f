"""Who drafts the next tokens, and how many: from what was kept so far, what tokens cost, and how long calls took.

Three drafters (section 2 of the derivation). `window`: the API writes on greedily by L tokens, and the pair checks
them. `prefixes`: the pair writes on by m guesses, and the API is asked after each beginning of them at once. `echo`:
the pair writes on, and the API tells its log-probs along all of it in one request. All give the text of one token a
call; they differ in money and time alone. Pure numbers: knows no text, no clock and no price list.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Prefer
from blackbox_proxy.types import Usage

Drafter = Literal["window", "prefixes", "echo"]

DRAFTERS: tuple[Drafter, ...] = get_args(Drafter)


def next_length(length: int, kept: int, *, limit: int) -> int:
    """The length of the next window after one of `length` tokens of which `kept` were kept.

    Twice the last where all was kept, one more than what was kept otherwise; between 1 and `limit`.

    >>> next_length(4, 4, limit=16), next_length(4, 1, limit=16), next_length(4, 0, limit=16)
    (8, 2, 1)
    """
    wanted = 2 * length if kept >= length else kept + 1
    return max(1, min(wanted, limit))


@dataclass(frozen=True, slots=True)
class Prices:
    """What a token costs, in any one currency: read anew, read from the provider's cache, written."""

    input: float
    cached: float
    output: float

    def __post_init__(self) -> None:
        if not all(0.0 <= price < math.inf for price in (self.input, self.cached, self.output)):
            raise InputError(f"prices must be finite and not negative, not {self}", hint="give them per token")

    def of(self, usage: Usage) -> float:
        """What the usage costs; tokens that were written into a cache at the price of those read anew."""
        fresh = usage.input - min(usage.cached, usage.input)
        return fresh * self.input + min(usage.cached, usage.input) * self.cached + usage.output * self.output


TYPICAL = Prices(1.0, 0.5, 4.0)
"""The ratio of prices that is assumed where none are known; it orders plans, and is never shown as money."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who drafts, and how much: tokens of the API for a window, guesses of the pair otherwise."""

    drafter: Drafter
    length: int

    @property
    def prompts(self) -> int:
        """How many prompts it sends."""
        return self.length + 1 if self.drafter == "prefixes" else 1


PRIOR = {"window": 0.7, "pair": 0.6}
"""How much of a draft is taken to be kept before anything is known; it counts as `DOUBT` tokens."""

DOUBT = 3.0
MEMORY = 0.98
"""What a token's evidence of acceptance counts for one token later."""

PACE_MEMORY = 0.8
INPUT = 100.0
"""Tokens of a prompt, until the API has told how many there are."""


@dataclass(slots=True)
class _Share:
    """A running share of yes among yes and no."""

    yes: float
    all: float
    memory: float = MEMORY

    def saw(self, yes: bool) -> None:  # noqa: FBT001 (it is what is counted)
        self.yes, self.all = self.memory * self.yes + yes, self.memory * self.all + 1.0

    @property
    def value(self) -> float:
        return self.yes / self.all


@dataclass(slots=True)
class _Line:
    """Seconds as a + b x by least squares over recent calls, with a faint belief in 0.3 + 0.03 x; neither below 0."""

    sums: list[float] = field(default_factory=lambda: _sums(((1.0, 0.33), (9.0, 0.57)), weight=0.1))

    def saw(self, x: float, seconds: float) -> None:
        fresh = _sums(((x, seconds),), weight=1.0)
        self.sums = [PACE_MEMORY * old + new for old, new in zip(self.sums, fresh, strict=True)]

    def at(self, x: float) -> float:
        n, sx, sy, sxx, sxy = self.sums
        spread = n * sxx - sx * sx
        slope = max((n * sxy - sx * sy) / spread, 0.0) if spread > 0.0 else 0.0
        return max((sy - slope * sx) / n, 0.0) + slope * x


def _sums(points: Iterable[tuple[float, float]], *, weight: float) -> list[float]:
    rows = [(1.0, x, y, x * x, x * y) for x, y in points]
    return [weight * sum(column) for column in zip(*rows, strict=True)]


@dataclass(slots=True)
class _Bill:
    """What a drafter's calls took: the share of input that came from a cache, and their pace; None before the first."""

    cached: float | None = None
    pace: _Line | None = None


class Planner:
    """Chooses the drafter and the length of each round. Keeps what it learns, so use one for many answers.

    prices: of the model that is asked; only their ratios count. prefer: `cost`: money a token; `latency`: seconds a
    token; `balanced`: the product of both.
    """

    def __init__(self, *, prefer: Prefer = "balanced", prices: Prices = TYPICAL) -> None:
        if prefer not in get_args(Prefer):
            raise InputError(
                f"prefer must be cost, latency or balanced, not {prefer!r}", hint="balanced is the default"
            )
        self._prefer, self._prices = prefer, prices
        self._kept = {name: _Share(DOUBT * share, DOUBT) for name, share in PRIOR.items()}
        self._bills = {drafter: _Bill() for drafter in DRAFTERS}
        self._input = INPUT

    def plan(self, can: Collection[Drafter], *, limit: int) -> Plan:
        """The plan that costs least a token, of those that the endpoint can carry out; at most `limit` long."""
        plans = [Plan(drafter, length) for drafter in DRAFTERS if drafter in can for length in range(1, limit + 1)]
        return min(plans, key=self._badness)

    def saw(self, *, drafted: bool, guessed: bool) -> None:
        """One more token was chosen. drafted: it is what the API would have drafted; guessed: what the pair would."""
        self._kept["window"].saw(drafted)
        self._kept["pair"].saw(guessed)

    def paid(self, plan: Plan, usage: Usage, *, seconds: float) -> None:
        """A round was carried out, and took so much."""
        bill = self._bills[plan.drafter]
        if usage.input:
            share = min(usage.cached / usage.input, 1.0)
            bill.cached = share if bill.cached is None else (bill.cached + share) / 2
            self._input = usage.input / plan.prompts
        bill.pace = bill.pace or _Line()
        bill.pace.saw(plan.length, seconds)

    def tokens(self, plan: Plan) -> float:
        """How many tokens of the answer a round is expected to give (3.3's E(L))."""
        if plan.drafter == "window":
            return _run(self._kept["window"].value, plan.length)
        return _run(self._kept["pair"].value, plan.length + 1)

    def cost(self, plan: Plan) -> float:
        """What a round is expected to cost, in the currency of the prices."""
        cached = self._cached(plan.drafter)
        each = self._prices.cached * cached + self._prices.input * (1.0 - cached)
        if plan.drafter == "window":
            return self._input * each + plan.length * self._prices.output
        if plan.drafter == "prefixes":
            return plan.prompts * (self._input * each + self._prices.output)
        return (self._input + plan.length) * each + self._prices.output

    def seconds(self, plan: Plan) -> float:
        """How long a round is expected to take; a drafter that was not tried is taken to be as quick as the window."""
        pace = self._bills[plan.drafter].pace or self._bills["window"].pace or _Line()
        return pace.at(plan.length)

    def _cached(self, drafter: Drafter) -> float:
        """The share of input that comes from a cache. What is echoed is read anew until it is seen that it is not."""
        known = self._bills[drafter].cached
        if known is None and drafter == "prefixes":
            known = self._bills["window"].cached
        return known or 0.0

    def _badness(self, plan: Plan) -> float:
        tokens = self.tokens(plan)
        if self._prefer == "cost":
            return self.cost(plan) / tokens
        if self._prefer == "latency":
            return self.seconds(plan) / tokens
        return self.cost(plan) * self.seconds(plan) / tokens**2


def _run(share: float, length: int) -> float:
    """Tokens of a round of at most `length` that ends with the first that is not kept."""
    return float(length) if share >= 1.0 else (1.0 - share**length) / (1.0 - share)
