"""What the ledger's rows come to, by model, day, tag, run or outcome: pure figures, each with its definition.

For the terminal, for JSON, and for any page that wants to show them; reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from blackbox_proxy.core.money.estimating import one_by_one
from blackbox_proxy.ledger.rows import LedgerRow, price_of
from blackbox_proxy.types import Usage

By = Literal["model", "day", "tag", "run", "outcome"]

DEFINITIONS = {
    "runs": "calls of steer, sample or choose that sent something",
    "answers": "replies at an answer's start of which a token was kept; a run that steered nothing counts as one",
    "requests": "attempts that were sent, those that were tried again and those that failed included",
    "answered": "attempts that the API answered with a reply",
    "refused": "attempts that the API said no to, or that never reached it; they cost nothing",
    "lost": "attempts without a whole reply, and those that never ended: maybe billed, nobody here knows for what",
    "failed": "attempts without a usable reply: those refused and those lost",
    "calls_per_answer": "requests divided by answers, so that what was tried again counts",
    "input": "tokens of prompts, as billed; those read from a cache and written to one included",
    "cached": "those of the input tokens that were read from the provider's cache",
    "cached_share": "cached tokens divided by input tokens",
    "cache_write": "those of the input tokens that were written to the provider's cache",
    "output": "tokens that the API wrote, as billed",
    "wasted": "drafted tokens that were not kept, because steering chose otherwise before them; part of the output",
    "wasted_share": "wasted tokens divided by output tokens",
    "kept": "tokens that went into answers with the API's help: positions of replies at which one was chosen, those of "
    "drafts that it was sent and told of included",
    "estimated": "answered attempts whose provider gave no counts; theirs are estimated from above",
    "cost": "US dollars of all attempts whose cost is known: tokens times the price row stored with each",
    "unpriced": "answered attempts of unknown cost, because nobody says what the model costs; in no amount here",
    "at_risk": "US dollars that lost attempts cost at most; not part of the cost; unpriced ones are not in it",
    "naive": "US dollars of a loop of one token per call: each kept token is a call that reads the prompt and what "
    "stands before it, at the reply's own price and cached as the reply was; what steered nothing is taken as it is",
    "per_kept": "US dollars per kept token: the cost divided by the kept tokens; none where something is unpriced",
    "replayed": "attempts that were taken from a cassette: nothing was sent, so they are in no other figure",
    "seconds": "seconds of waiting for attempts, added up",
    "local_seconds": "seconds that the machine with the pair computed, as far as answers went on or ended; no amount",
}
"""What each figure means. Of an answer that is still being made, kept and wasted lack the last reply."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one group, in the words of `DEFINITIONS`. name: the model, the day, the tag or the run."""

    name: str
    runs: int
    answers: int
    requests: int
    answered: int
    refused: int
    lost: int
    input: int
    cached: int
    cache_write: int
    output: int
    wasted: int
    kept: int
    estimated: int
    cost: Decimal
    naive: Decimal
    unpriced: int
    at_risk: Decimal
    replayed: int
    seconds: float
    local_seconds: float

    @property
    def failed(self) -> int:
        """Attempts without a usable reply."""
        return self.refused + self.lost

    @property
    def calls_per_answer(self) -> float | None:
        """Requests for each answer; None without answers."""
        return self.requests / self.answers if self.answers else None

    @property
    def cached_share(self) -> float | None:
        """Share of the input tokens, 0 to 1; None without any."""
        return self.cached / self.input if self.input else None

    @property
    def wasted_share(self) -> float | None:
        """Share of the output tokens, 0 to 1; None without any."""
        return self.wasted / self.output if self.output else None

    @property
    def per_kept(self) -> Decimal | None:
        """US dollars per kept token; None where that is unknown."""
        return None if self.unpriced or not self.kept else self.cost / self.kept


def report(rows: Iterable[LedgerRow], *, by: By) -> tuple[Figures, ...]:
    """The figures of each group, the dearest first (days and runs in the order of time).

    By tag a row counts in every group of its tags, so that groups may overlap; `(none)` holds those without.
    Attempts that were replayed make no group.
    """
    groups: dict[str, list[LedgerRow]] = {}
    for row in (row for row in rows if not row.replayed):
        for name in NAMES[by](row):
            groups.setdefault(name, []).append(row)
    totals = [figures(name, group) for name, group in groups.items()]
    if by in ("day", "run"):
        return tuple(totals)
    return tuple(sorted(totals, key=lambda one: (-one.cost, -one.output, one.name)))


def figures(name: str, rows: Iterable[LedgerRow]) -> Figures:
    """The figures of some rows; those of replays are counted and left out."""
    given = list(rows)
    rows = [row for row in given if not row.replayed]
    answered = [row for row in rows if row.outcome == "ok"]
    lost = [row for row in rows if row.outcome != "ok" and row.cost is None]
    return Figures(
        name=name,
        runs=len({row.run for row in rows}),
        answers=_answers(answered),
        requests=len(rows),
        answered=len(answered),
        refused=len(rows) - len(answered) - len(lost),
        lost=len(lost),
        input=_sum(row.input for row in rows),
        cached=_sum(row.cached for row in rows),
        cache_write=_sum(row.cache_write for row in rows),
        output=_sum(row.output for row in rows),
        wasted=_sum(row.wasted for row in rows),
        kept=_sum(row.kept for row in rows),
        estimated=sum(row.source == "estimated" for row in answered),
        cost=sum((row.cost for row in rows if row.cost is not None), Decimal(0)),
        naive=sum((_naive(row) for row in rows if row.cost is not None), Decimal(0)),
        unpriced=sum(row.cost is None for row in answered),
        at_risk=sum((row.reserved for row in lost if row.reserved is not None), Decimal(0)),
        replayed=len(given) - len(rows),
        seconds=sum(row.seconds for row in rows if row.seconds is not None),
        local_seconds=sum(row.local_seconds for row in rows if row.local_seconds is not None),
    )


def _answers(answered: Sequence[LedgerRow]) -> int:
    steered = {row.run for row in answered if row.kept is not None}
    begun = sum(row.step == 0 and bool(row.kept) for row in answered)
    return begun + len({row.run for row in answered} - steered)


def _naive(row: LedgerRow) -> Decimal:
    """What a row of known cost would have cost one token per call; its own cost where it steered nothing."""
    cost = row.cost or Decimal(0)
    if row.kept is None or row.price is None or row.input is None:
        return cost
    cached, cache_write = row.cached or 0, row.cache_write or 0
    read = max(row.input - row.echoed, cached + cache_write)
    used = Usage(input=read, cached=cached, cache_write=cache_write)
    naive = one_by_one(used, kept=row.kept, price=_price(row.price))
    return cost if naive is None else naive


_price = lru_cache(maxsize=64)(price_of)


def _sum(counts: Iterable[int | None]) -> int:
    return sum(count for count in counts if count is not None)


def _tags(row: LedgerRow) -> Iterator[str]:
    yield from (f"{key}={value}" for key, value in row.tags.items()) if row.tags else ("(none)",)


NAMES: Mapping[By, Callable[[LedgerRow], Iterable[str]]] = {
    "model": lambda row: (f"{row.provider} {row.model}",),
    "day": lambda row: (row.day,),
    "tag": _tags,
    "run": lambda row: (row.run,),
    "outcome": lambda row: (row.outcome,),
}
