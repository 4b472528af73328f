"""What steering will take, before it starts: calls, tokens and dollars, one token per call and by drafts.

A draft is kept up to the first token that steering changes; that token takes the place of a drafted one. With an
acceptance of a (each drafted token is kept with that probability, whatever came before) a draft of L tokens gives
(1 - a^L) / (1 - a) tokens. The lengths of drafts follow `drafting.next_length`, as they do in the loop. Expected values
of a model, not bounds: text that is kept longer or shorter than others is not foreseen.

`one_by_one` looks back instead: what a reply that was paid for would have cost in the loop of one token per call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.drafting import next_length
from blackbox_proxy.core.money.amounts import PER_MILLION, Price, cost
from blackbox_proxy.types import Usage

ACCEPTANCE = 0.5
"""What is assumed where nothing is known of the past: half of the drafted tokens are kept."""

BYTES_PER_TOKEN = 4
"""What is assumed where no tokenizer is known; of English text it is near."""

FRAME_TOKENS = 32
"""What is assumed that a chat template writes around a prompt, a system prompt of its own included."""


def token_count(text: bytes, vocabulary: Vocabulary | None) -> int:
    """Tokens of a text; assumed where no tokenizer is known."""
    return len(vocabulary.spell(text)) if vocabulary else -(-len(text) // BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class EstimatePlan:
    """Expected calls of one answer, tokens of the answer that they read again, and tokens that they write, all summed.

    answer: the tokens that the answer has in the end.
    """

    answer: int
    calls: float
    read: float
    written: float


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


def naive(answer: int, *, least: int = 1) -> EstimatePlan:
    """One token per call, which reads the prompt and the answer so far. least: tokens that a call writes at least."""
    return EstimatePlan(answer, answer, answer * (answer - 1) / 2, answer * least)


def windowed(answer: int, *, acceptance: float, draft: int, least: int = 1) -> EstimatePlan:
    """By drafts of up to `draft` tokens."""
    calls = read = written = 0.0
    for chance, at, length in _questions(answer, min(2, draft), acceptance=acceptance, draft=draft):
        calls, read, written = calls + chance, read + chance * at, written + chance * max(length, least)
    return EstimatePlan(answer, calls, read, written)


@dataclass(frozen=True, slots=True)
class Wording:
    """What asking a chat in words takes. acceptance: as everywhere; ways: requests for each question, 1 to 3."""

    acceptance: float
    ways: float


ASSUMED = Wording(acceptance=0.1, ways=2.2)
"""What is assumed where the ledger tells nothing: as a chat of Qwen2.5-Coder-0.5B was measured with the demo's pair."""
ORDER = 75
"""Tokens that tell a chat to go on from a text, with what a chat's template puts around turns; a mean of the ways."""
SAID_AGAIN = 1.2
"""Tokens that are written for each token of the answer so far where all of it is repeated; room is left for more."""
HELD = 5
"""Tokens of the held-back word that the other ways repeat."""


def worded(answer: int, wording: Wording, *, draft: int, least: int = 1) -> EstimatePlan:
    """By a chat that is asked in words: first for the whole answer, then from each changed token on.

    Each question is asked in several ways, the first of which has all of the answer so far repeated. The adapter
    `chat_continue` and the loop decide this; what it comes to is said here alone.
    """
    calls = read = written = 0.0
    for chance, at, length in _questions(answer, answer, acceptance=wording.acceptance, draft=draft):
        if at == 0:
            calls, written = calls + chance, written + chance * max(length, least)
            continue
        again = max(SAID_AGAIN * at + length, least)
        others = (wording.ways - 1.0) * max(HELD + length, least)
        calls, written = calls + chance * wording.ways, written + chance * (again + others)
        read += chance * wording.ways * (at + ORDER)
    return EstimatePlan(answer, calls, read, written)


def _questions(answer: int, first: int, *, acceptance: float, draft: int) -> Iterator[tuple[float, int, int]]:
    """The drafts of an answer: the chance of each, the tokens before it, and its length. first: of the first one.

    The chance of each pair (tokens so far, length of the next draft) is carried forward, token by token.
    """
    chances: dict[tuple[int, int], float] = {(0, first): 1.0}
    while chances:
        at, draft_length = min(chances)
        chance = chances.pop((at, draft_length))
        length = max(1, min(draft_length, answer - at))
        yield chance, at, length
        for kept in range(length + 1):
            after = at + min(kept + 1, length)
            share = acceptance**kept * (1.0 if kept == length else 1.0 - acceptance)
            if after < answer and share:
                place = (after, next_length(length, kept, limit=draft))
                chances[place] = chances.get(place, 0.0) + chance * share


def wording_of(replies: Iterable[tuple[str, int, int | None, int | None]]) -> Wording | None:
    """What asking in words took, from answered requests as (run, step, kept, wasted); None without any behind a text.

    kept is None for a reply that was of no use, after which the next way was tried. One of which nothing was kept told
    nothing, and the pair alone chose a token.
    """
    later = [(run, step, kept, wasted) for run, step, kept, wasted in replies if step > 0]
    questions = {(run, step) for run, step, _, _ in later}
    used = [(kept, wasted or 0) for _, _, kept, wasted in later if kept is not None]
    share = acceptance_of((kept, wasted) if kept else (1, 1) for kept, wasted in used)
    return Wording(share, len(later) / len(questions)) if questions and share is not None else None


def work(plan: EstimatePlan, prompt: int, price: Price | None) -> Work:
    """What a plan takes for a prompt of so many tokens, none of them cached.

    Of a price with tiers the one that the last call reaches is taken for all of them.
    """
    read, longest = plan.calls * prompt + plan.read, prompt + plan.answer
    if price is None:
        return Work(plan.calls, read, plan.written, None)
    tokens = Decimal(read) * price.input.at(longest) + Decimal(plan.written) * price.output.at(longest)
    return Work(plan.calls, read, plan.written, tokens.scaleb(PER_MILLION) + price.request * Decimal(plan.calls))


def one_by_one(used: Usage, *, kept: int, price: Price) -> Decimal | None:
    """Dollars for the kept tokens of a request if each had been asked for by a call of its own.

    Call j reads what the request read and the j tokens before, and writes one token. What the request read from the
    cache or wrote to it the later calls read from it too. None where the counts contradict each other.
    """
    if not kept:
        return Decimal(0)
    later = used.cached + used.cache_write
    if price.flat:
        read = kept * used.input + kept * (kept - 1) // 2
        all_of_them = replace(used, input=read, cached=used.cached + (kept - 1) * later, output=kept)
        total = cost(all_of_them, price) if used.input >= later else None
        return None if total is None else total + (kept - 1) * price.request
    first = replace(used, output=1)
    rest = (replace(first, input=used.input + j, cached=later, cache_write=0) for j in range(1, kept))
    costs = [cost(call, price) for call in (first, *rest)]
    known = [amount for amount in costs if amount is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None


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
