"""Who drafts the next tokens, and how many: from what was kept so far, what tokens cost, and how long calls took.

Three drafters (section 3.3 of docs/method.md). `api`: the API writes on greedily by L tokens, and the pair checks
them. `pair_prefixes`: the pair writes on by m guesses, and the API is asked after each beginning of them at once.
`pair_echo`: the pair writes on, and the API tells its log-probs along all of it in one request. All give the text of
one token a call; they differ in money and time alone. Pure numbers: knows no text, no clock and no price list.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, final, get_args

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Prefer
from blackbox_proxy.types import Floats, Usage

Drafter = Literal["api", "pair_prefixes", "pair_echo"]

DRAFTERS: tuple[Drafter, ...] = get_args(Drafter)


def next_length(length: int, kept: int, *, limit: int) -> int:
    """The length of the next window after one of `length` tokens of which `kept` were kept.

    Twice the last where all was kept, one more than what was kept otherwise; between 1 and `limit`.

    >>> next_length(4, 4, limit=16), next_length(4, 1, limit=16), next_length(4, 0, limit=16)
    (8, 2, 1)
    """
    following = 2 * length if kept >= length else kept + 1
    return max(1, min(following, limit))


@dataclass(frozen=True, slots=True)
class CostRatios:
    """What a token costs, in any one currency.

    Attributes:
        input: A token that is read anew.
        cached: A token that is read from the provider's cache.
        output: A token that is written.
    """

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


TYPICAL = CostRatios(1.0, 0.5, 4.0)
"""The ratio of prices that is assumed where none are known; it orders plans, and is never shown as money."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who drafts, and how much at most: `length` tokens of the API for a window, guesses of the pair otherwise.

    Where a planner made it, the pair drafts no further than it is sure (`SURE`), and the API by `window` tokens from
    there: in the same request behind an echo, in one of its own where the pair is not sure of anything.
    """

    drafter: Drafter
    length: int
    window: int = 1


@dataclass(frozen=True, slots=True)
class Sent:
    """What a round asked for: prompts, tokens in them behind the text so far, and tokens to be written."""

    prompts: int
    behind: int
    written: int

    @property
    def is_window(self) -> bool:
        """Whether the API drafted alone."""
        return self.prompts == 1 and not self.behind


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a token.

    drafted: the API would have drafted it; guessed: the pair would; sure: it was sure of its guess, right or wrong;
    last: the answer ended with it.
    """

    drafted: bool
    guessed: bool
    sure: bool
    last: bool = False


SURE = 0.5
"""How likely the pair finds a guess that it is sure of."""

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Lengths that are planned."""

PRIOR = 0.7
"""How much of a draft is taken to be kept before anything is known; it counts as `PRIOR_TOKENS` tokens."""

PRIOR_TOKENS = 3.0
PRIOR_ROUNDS = 2.0
"""Rounds that the belief in chances that do not depend on the place counts, beside those that were played."""

MEMORY = 0.995
"""What a token's evidence counts for one token later."""

PACE_MEMORY = 0.8
NEARLY = 1.08
"""How many times the least seconds a token are nearly as quick: no pace is known better."""

INPUT = 100.0
"""Tokens of a prompt, until the API has told how many there are."""


@dataclass(frozen=True, slots=True)
class _Means:
    """Of a round of each plan: tokens of the answer that it gives, and what it asks for (as in `Sent`).

    alone: the share of rounds in which the API drafts alone; window: tokens that are written in these.
    """

    tokens: Floats
    prompts: Floats
    behind: Floats
    written: Floats
    alone: Floats
    window: Floats


@final
class _Played:
    """Every plan of a drafter, played in the mind over the tokens that were chosen.

    The tokens of an answer are no free draws: what is not kept clusters, and forms have their places. So rounds are
    counted, not computed from a rate. Arrays have one entry a plan.
    """

    def __init__(self, drafter: Drafter) -> None:
        self._drafter = drafter
        windows = np.array(LENGTHS, dtype=np.float64)
        most, window = (0 * windows, windows) if drafter == "api" else np.meshgrid(windows, windows)
        self._most, self._window = most.ravel(), window.ravel()
        count = len(self._most)
        self._yes, self._all = PRIOR_TOKENS * PRIOR, PRIOR_TOKENS
        self._count, self._guesses = np.zeros(count), np.zeros(count)
        self._api = np.full(count, drafter == "api")
        self._sums = np.zeros((7, count))  # rounds, and the sums of `_Means`
        lengths = self._window if drafter == "api" else self._most
        rows = zip(lengths.tolist(), self._window.tolist(), strict=True)
        self.plans = [Plan(drafter, int(length), int(window)) for length, window in rows]

    def saw(self, seen: Seen) -> None:
        """One more token."""
        kept = seen.drafted if self._drafter == "api" or not seen.sure else seen.guessed
        self._yes, self._all = MEMORY * self._yes + kept, MEMORY * self._all + 1.0
        free = ~self._api & (self._guesses < self._most)
        if not seen.sure:
            # Here the API takes over: from the start, or behind the guesses where one request can hold both.
            self._api |= free & (self._count == 0) if self._drafter == "pair_prefixes" else free
        guessing = free & seen.sure
        self._guesses += guessing & (not seen.last)
        self._count += 1
        window_over = (not seen.drafted) | (self._count >= self._guesses + self._window)
        over = np.where(self._api, window_over, ~guessing | (not seen.guessed)) | seen.last
        self._sums *= MEMORY
        self._sums[:, over] += self._round(seen, missed=guessing & (not seen.guessed))[:, over]
        self._count[over] = self._guesses[over] = 0
        self._api[over] = self._drafter == "api"

    def _round(self, seen: Seen, *, missed: NDArray[np.bool_]) -> Floats:
        """What the rounds that end with this token gave and asked for, shape (7, plans).

        A draft that foresees the end is no longer than the answer; behind a wrong guess there were others.
        """
        guesses = np.where(missed, self._most, self._guesses)
        window = self._count - self._guesses if seen.last and seen.drafted else self._window
        lists = ~self._api & (self._drafter == "pair_prefixes")
        prompts = np.where(lists, guesses + 1.0, 1.0)
        behind = np.where(lists, guesses * (guesses + 1.0) / 2.0, guesses)
        written = np.where(lists, prompts, np.where(self._api, window, 1.0))
        alone = self._api & (guesses == 0)
        return np.stack([np.ones(len(guesses)), self._count, prompts, behind, written, alone, alone * written])

    def means(self) -> _Means:
        """What a round of each plan gives and asks for on average."""
        rounds, *sums = self._sums
        most, lists = self._most, self._drafter == "pair_prefixes"
        alone = self._drafter == "api"
        tokens = _run(self._yes / self._all, self._window if alone else most + 1.0)
        prompts = most + 1.0 if lists else np.ones(len(most))
        behind = most * (most + 1.0) / 2.0 if lists else most
        written = self._window if alone else prompts
        believed = tokens, prompts, behind, written, np.full(len(most), float(alone)), alone * written
        return _Means(*((s + PRIOR_ROUNDS * b) / (rounds + PRIOR_ROUNDS) for s, b in zip(sums, believed, strict=True)))


@dataclass(slots=True)
class _Line:
    """Seconds as a + b x by least squares over recent calls, with a faint belief in 0.3 + 0.03 x; neither below 0."""

    sums: list[float] = field(default_factory=lambda: _sums(((1.0, 0.33), (9.0, 0.57)), weight=0.1))

    def saw(self, x: float, seconds: float) -> None:
        fresh = _sums(((x, seconds),), weight=1.0)
        self.sums = [PACE_MEMORY * old + new for old, new in zip(self.sums, fresh, strict=True)]

    def at(self) -> tuple[float, float]:
        """a and b."""
        n, sx, sy, sxx, sxy = self.sums
        spread = n * sxx - sx * sx
        slope = max((n * sxy - sx * sy) / spread, 0.0) if spread > 0.0 else 0.0
        return max((sy - slope * sx) / n, 0.0), slope


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

    Args:
        prefer: `cost`: money a token; `latency`: seconds a token; `balanced`: the product of both.
        prices: Of the model that is asked; only their ratios count.
    """

    def __init__(self, *, prefer: Prefer = "balanced", prices: CostRatios = TYPICAL) -> None:
        if prefer not in get_args(Prefer):
            raise InputError(
                f"prefer must be cost, latency or balanced, not {prefer!r}", hint="balanced is the default"
            )
        self._prefer, self._prices = prefer, prices
        self._played = {drafter: _Played(drafter) for drafter in DRAFTERS}
        self._bills = {drafter: _Bill() for drafter in DRAFTERS}
        self._input, self._again = INPUT, 0.0

    def plan(self, can: Collection[Drafter], *, limit: int) -> Plan:
        """The plan that is expected to be best, of those that the endpoint can carry out; at most `limit` long.

        For latency, of those by the same drafter that are nearly as quick, the one of fewest calls: each may be slow.
        """
        rated = [one for drafter in DRAFTERS if drafter in can for one in self._rated(drafter, limit)]
        least, _, best = min(rated, key=lambda one: one[0])
        if self._prefer != "latency":
            return best
        near = [one for one in rated if one[0] <= NEARLY * least and one[2].drafter == best.drafter]
        return min(near, key=lambda one: one[1])[2]

    def _rated(self, drafter: Drafter, limit: int) -> Iterator[tuple[float, float, Plan]]:
        """Badness, calls a token, and plan, of all that are not too long."""
        played = self._played[drafter]
        rows = zip(self._badness(drafter).tolist(), (1.0 / played.means().tokens).tolist(), played.plans, strict=True)
        return (row for row in rows if max(row[2].length, row[2].window) <= limit)

    def saw(self, seen: Seen) -> None:
        """One more token was chosen."""
        for played in self._played.values():
            played.saw(seen)

    def paid(self, plan: Plan, sent: Sent, usage: Usage, *, seconds: float) -> None:
        """A round was carried out by a plan: what was asked for, and what it took."""
        bill = self._bills["api" if sent.is_window else plan.drafter]
        if usage.input:
            share = min(usage.cached / usage.input, 1.0)
            bill.cached = share if bill.cached is None else (bill.cached + share) / 2
            self._input = max(usage.input - sent.behind, 0) / sent.prompts
        behind = sent.behind if plan.drafter == "pair_echo" else 0
        again = max(usage.output - sent.written - behind, 0) / sent.prompts
        self._again = (self._again + again) / 2 if self._again else again
        bill.pace = bill.pace or _Line()
        if plan.drafter == "pair_echo" and not sent.is_window:
            # What is written behind an echo takes as long as anywhere; the rest is for what is read.
            each = self._window_pace.at()[1]
            bill.pace.saw(sent.behind, max(seconds - each * sent.written, 0.0))
        else:
            bill.pace.saw(sent.written, seconds)

    def cost(self, drafter: Drafter) -> Floats:
        """What a token of the answer is expected to cost by each plan, in the currency of the prices."""
        means, window, other = self._played[drafter].means(), self._read("api"), self._read(drafter)
        read = self._input * (means.alone * window + (means.prompts - means.alone) * other)
        written, behind = means.written + means.prompts * self._again, other
        if self._again and drafter == "pair_echo":
            behind = self._prices.output  # where the text before is written again, so is a draft
        return np.asarray((read + means.behind * behind + written * self._prices.output) / means.tokens)

    def seconds(self, drafter: Drafter) -> Floats:
        """How long a token is expected to take; a drafter that was not tried is taken to be as quick as the window."""
        means, (start, each) = self._played[drafter].means(), self._window_pace.at()
        other_start, other_each = (self._bills[drafter].pace or self._window_pace).at()
        alone, written = means.alone * start + means.window * each, means.written - means.window
        work = means.behind * other_each + written * each if drafter == "pair_echo" else written * other_each
        return np.asarray((alone + (1.0 - means.alone) * other_start + work) / means.tokens)

    @property
    def _window_pace(self) -> _Line:
        return self._bills["api"].pace or _Line()

    def _read(self, drafter: Drafter) -> float:
        """The price of a token of input, as far as it comes from a cache."""
        cached = self._cached(drafter)
        return self._prices.cached * cached + self._prices.input * (1.0 - cached)

    def _cached(self, drafter: Drafter) -> float:
        """The share of input that comes from a cache. What is echoed is read anew until it is seen that it is not."""
        known = self._bills[drafter].cached
        if known is None and drafter == "pair_prefixes":
            known = self._bills["api"].cached
        return known or 0.0

    def _badness(self, drafter: Drafter) -> Floats:
        if self._prefer == "cost":
            return self.cost(drafter)
        if self._prefer == "latency":
            return self.seconds(drafter)
        return self.cost(drafter) * self.seconds(drafter)


def _run(share: float, length: Floats) -> Floats:
    """Tokens of a round of at most `length` that ends with the first that is not kept (3.3's E(L))."""
    return np.asarray(length if share >= 1.0 else (1.0 - share**length) / (1.0 - share))


ALONE: tuple[Drafter, ...] = ("api",)
"""Who drafts where nobody says: the API."""


@dataclass(frozen=True, slots=True)
class Drafts:
    """Who may draft. planner: chooses among them; without one, the only drafter drafts as much as it may each time.

    worded: the API is only asked in words to go on from a text, so that no more is exact than its first reply: that is
    asked to be the whole answer.
    """

    drafters: Collection[Drafter] = ALONE
    planner: Planner | None = None
    worded: bool = False
