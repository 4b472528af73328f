"""What steering will take, before it starts: calls, tokens and dollars, one token per call and by drafts.

A draft is kept up to the first token that steering changes; that token takes the place of a drafted one. With an
acceptance of a (each drafted token is kept with that probability, whatever came before) a draft of L tokens gives
(1 - a^L) / (1 - a) tokens. The lengths of drafts follow `drafting.next_length`, as they do in the loop. Expected values
of a model, not bounds: text that is kept longer or shorter than others is not foreseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from blackbox_proxy.core.drafting import next_length
from blackbox_proxy.core.money import Price, cost
from blackbox_proxy.types import Usage

ACCEPTANCE = 0.5
"""What is assumed where nothing is known of the past: half of the drafted tokens are kept."""


@dataclass(frozen=True, slots=True)
class Work:
    """Expected calls, tokens that are billed, and dollars (None where no price is known)."""

    calls: float
    input: float
    output: float
    cost: Decimal | None

    def __add__(self, other: Work) -> Work:
        both = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Work(self.calls + other.calls, self.input + other.input, self.output + other.output, both)


def naive(prompt: int, answer: int, price: Price | None, *, least: int = 1) -> Work:
    """One token per call, which reads the prompt and the answer so far. least: tokens that a call writes at least."""
    calls = [(prompt + at, least) for at in range(answer)]
    return _billed([(1.0, read, written) for read, written in calls], price)


def windowed(prompt: int, answer: int, price: Price | None, *, acceptance: float, draft: int, least: int = 1) -> Work:
    """By drafts of up to `draft` tokens.

    The chance of each pair (tokens so far, length of the next draft) is carried forward, token by token.
    """
    chances: dict[tuple[int, int], float] = {(0, min(2, draft)): 1.0}
    calls: list[tuple[float, int, int]] = []
    while chances:
        at, wanted = min(chances)
        chance = chances.pop((at, wanted))
        length = max(1, min(wanted, answer - at))
        calls.append((chance, prompt + at, max(length, least)))
        for kept in range(length + 1):
            after = at + min(kept + 1, length)
            share = acceptance**kept * (1.0 if kept == length else 1.0 - acceptance)
            if after < answer and share:
                place = (after, next_length(length, kept, limit=draft))
                chances[place] = chances.get(place, 0.0) + chance * share
    return _billed(calls, price)


def acceptance_of(drafts: Iterable[tuple[int, int]]) -> float | None:
    """The share of drafted tokens that was kept, from drafts as (tokens used, tokens not used); None without any.

    The last token used of a draft with a rest took the place of a drafted one. Of a draft without a rest nobody knows
    whether its last token was the drafted one, so that one does not count.

    >>> acceptance_of([(3, 5), (4, 0)])
    0.8333333333333334
    """
    same = changed = 0
    for kept, wasted in drafts:
        same += max(0, kept - 1)
        changed += kept > 0 and wasted > 0
    return same / (same + changed) if same + changed else None


def _billed(calls: list[tuple[float, int, int]], price: Price | None) -> Work:
    """calls: (how probable, input tokens, output tokens). Each is priced by itself, since tiers go by request."""
    spent: Decimal | None = Decimal(0)
    for chance, read, written in calls:
        one = cost(Usage(input=read, output=written), price)
        spent = None if spent is None or one is None else spent + one * Decimal(chance)
    return Work(
        calls=sum(chance for chance, _, _ in calls),
        input=sum(chance * read for chance, read, _ in calls),
        output=sum(chance * written for chance, _, written in calls),
        cost=spent,
    )
