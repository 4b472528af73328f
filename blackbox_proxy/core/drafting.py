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
from typing import Literal, final, get_args

import numpy as np

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

    @property
    def behind(self) -> float:
        """How many tokens of the draft stand behind the text so far in a prompt, on average."""
        return {"window": 0.0, "prefixes": self.length / 2, "echo": float(self.length)}[self.drafter]


LONGEST = 256
PRIOR = {"window": 0.7, "pair": 0.6}
"""How much of a draft is taken to be kept before anything is known; it counts as `DOUBT` tokens."""

DOUBT = 3.0
FAITH = 2.0
"""Rounds that the belief in chances that do not depend on the place counts, beside those that were played."""

MEMORY = 0.995
"""What a token's evidence counts for one token later."""

PACE_MEMORY = 0.8
INPUT = 100.0
"""Tokens of a prompt, until the API has told how many there are."""


@final
class _Played:
    """Every length at once, played in the mind over the tokens that were chosen: what a fixed one would have given.

    source: `window` or `pair`, whose rounds go one token beyond what was drafted. The tokens of one answer are no free
    draws: what is not kept clusters, and forms have their places. So rounds are counted, not computed from a rate.
    """

    def __init__(self, source: str) -> None:
        self._yes, self._all = DOUBT * PRIOR[source], DOUBT
        self._beyond = 0 if source == "window" else 1
        self._lengths = np.arange(1, LONGEST + 1)
        self._count = np.zeros(LONGEST)
        self._sums = np.zeros((3, LONGEST))  # of rounds, of tokens of the answer, of tokens that were drafted

    def saw(self, hit: bool, *, last: bool) -> None:  # noqa: FBT001 (it is what is counted)
        """One more token. hit: a draft would have kept it; last: the answer ended with it."""
        self._yes, self._all = MEMORY * self._yes + hit, MEMORY * self._all + 1.0
        self._count += 1
        over = self._count == self._lengths + self._beyond
        if last or not hit:
            over[:] = True
        # A draft that foresees the end is no longer than the answer.
        drafted = np.minimum(self._count - self._beyond, self._lengths) if last and hit else self._lengths
        self._sums *= MEMORY
        self._sums[:, over] += np.stack([np.ones(LONGEST), self._count, drafted])[:, over]
        self._count[over] = 0

    def means(self, length: int) -> tuple[float, float]:
        """Tokens of the answer, and of the draft, that a round of this length gives on average."""
        rounds, tokens, drafted = self._sums[:, length - 1].tolist()
        believed = _run(self._yes / self._all, length + self._beyond)
        return (tokens + FAITH * believed) / (rounds + FAITH), (drafted + FAITH * length) / (rounds + FAITH)


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
        self._played = {source: _Played(source) for source in PRIOR}
        self._bills = {drafter: _Bill() for drafter in DRAFTERS}
        self._input = INPUT

    def plan(self, can: Collection[Drafter], *, limit: int) -> Plan:
        """The plan that costs least a token, of those that the endpoint can carry out; at most `limit` long."""
        plans = [Plan(drafter, length) for drafter in DRAFTERS if drafter in can for length in range(1, limit + 1)]
        return min(plans, key=self._badness)

    def saw(self, *, drafted: bool, guessed: bool, last: bool) -> None:
        """One more token was chosen, the answer's last one or not.

        drafted: it is what the API would have drafted; guessed: what the pair would.
        """
        self._played["window"].saw(drafted, last=last)
        self._played["pair"].saw(guessed, last=last)

    def paid(self, plan: Plan, usage: Usage, *, seconds: float) -> None:
        """A round was carried out, and took so much."""
        bill = self._bills[plan.drafter]
        if usage.input:
            share = min(usage.cached / usage.input, 1.0)
            bill.cached = share if bill.cached is None else (bill.cached + share) / 2
            self._input = usage.input / plan.prompts - plan.behind
        bill.pace = bill.pace or _Line()
        bill.pace.saw(plan.length, seconds)

    def cost(self, plan: Plan) -> float:
        """What a token of the answer is expected to cost, in the currency of the prices."""
        tokens, drafted = self._means(plan)
        cached = self._cached(plan.drafter)
        each = self._prices.cached * cached + self._prices.input * (1.0 - cached)
        if plan.drafter == "window":
            return (self._input * each + drafted * self._prices.output) / tokens
        if plan.drafter == "prefixes":
            return (drafted + 1.0) * ((self._input + drafted / 2) * each + self._prices.output) / tokens
        return ((self._input + drafted) * each + self._prices.output) / tokens

    def seconds(self, plan: Plan) -> float:
        """How long a token is expected to take; a drafter that was not tried is taken to be as quick as the window."""
        tokens, drafted = self._means(plan)
        pace = self._bills[plan.drafter].pace or self._bills["window"].pace or _Line()
        return pace.at(drafted) / tokens

    def _means(self, plan: Plan) -> tuple[float, float]:
        return self._played["window" if plan.drafter == "window" else "pair"].means(plan.length)

    def _cached(self, drafter: Drafter) -> float:
        """The share of input that comes from a cache. What is echoed is read anew until it is seen that it is not."""
        known = self._bills[drafter].cached
        if known is None and drafter == "prefixes":
            known = self._bills["window"].cached
        return known or 0.0

    def _badness(self, plan: Plan) -> float:
        if self._prefer == "cost":
            return self.cost(plan)
        if self._prefer == "latency":
            return self.seconds(plan)
        return self.cost(plan) * self.seconds(plan)


def _run(share: float, length: int) -> float:
    """Tokens of a round of at most `length` that ends with the first that is not kept (3.3's E(L))."""
    return float(length) if share >= 1.0 else (1.0 - share**length) / (1.0 - share)
