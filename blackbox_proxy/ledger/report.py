"""What the ledger's rows come to, by model, day, tag or run: pure figures, each with its definition.

For the terminal, for JSON, and for any page that wants to show them; reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from blackbox_proxy.ledger.rows import Row

By = Literal["model", "day", "tag", "run"]

DEFINITIONS = {
    "runs": "calls of steer, sample or choose that sent something",
    "requests": "attempts that were sent, those that were tried again and those that failed included",
    "answered": "attempts that the API answered with a reply",
    "refused": "attempts that the API said no to, or that never reached it; they cost nothing",
    "lost": "attempts without a whole reply, and those that never ended: maybe billed, nobody here knows for what",
    "input": "tokens of prompts, as billed; those read from a cache and written to one included",
    "cached": "those of the input tokens that were read from the provider's cache",
    "cache_write": "those of the input tokens that were written to the provider's cache",
    "output": "tokens that the API wrote, as billed",
    "wasted": "drafted tokens that were not kept, because steering chose otherwise before them; part of the output",
    "kept": "tokens that went into answers with the API's help: positions of replies at which one was chosen",
    "estimated": "answered attempts whose provider gave no counts; theirs are estimated from above",
    "cost": "US dollars of all attempts whose cost is known: tokens times the price row stored with each",
    "unpriced": "answered attempts of unknown cost, because nobody says what the model costs; in no amount here",
    "at_risk": "US dollars that lost attempts cost at most; not part of the cost; unpriced ones are not in it",
    "per_kept": "US dollars per kept token: the cost divided by the kept tokens; none where something is unpriced",
    "seconds": "seconds of waiting for attempts, added up",
}
"""What each figure means. Of an answer that is still being made, kept and wasted lack the last reply."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one group, in the words of `DEFINITIONS`. name: the model, the day, the tag or the run."""

    name: str
    runs: int
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
    unpriced: int
    at_risk: Decimal
    seconds: float

    @property
    def per_kept(self) -> Decimal | None:
        """US dollars per kept token; None where that is unknown."""
        return None if self.unpriced or not self.kept else self.cost / self.kept


def report(rows: Iterable[Row], *, by: By) -> tuple[Figures, ...]:
    """The figures of each group, the dearest first (days and runs in the order of time).

    By tag a row counts in every group of its tags, so that groups may overlap; `(none)` holds those without.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        for name in NAMES[by](row):
            groups.setdefault(name, []).append(row)
    found = [figures(name, group) for name, group in groups.items()]
    if by in ("day", "run"):
        return tuple(found)
    return tuple(sorted(found, key=lambda one: (-one.cost, -one.output, one.name)))


def figures(name: str, rows: Iterable[Row]) -> Figures:
    """The figures of some rows."""
    rows = list(rows)
    answered = [row for row in rows if row.outcome == "ok"]
    lost = [row for row in rows if row.outcome != "ok" and row.cost is None]
    return Figures(
        name=name,
        runs=len({row.run for row in rows}),
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
        unpriced=sum(row.cost is None for row in answered),
        at_risk=sum((row.reserved for row in lost if row.reserved is not None), Decimal(0)),
        seconds=sum(row.seconds for row in rows if row.seconds is not None),
    )


def _sum(counts: Iterable[int | None]) -> int:
    return sum(count for count in counts if count is not None)


def _tags(row: Row) -> Iterator[str]:
    yield from (f"{key}={value}" for key, value in row.tags.items()) if row.tags else ("(none)",)


NAMES: Mapping[By, Callable[[Row], Iterable[str]]] = {
    "model": lambda row: (f"{row.provider} {row.model}",),
    "day": lambda row: (row.day,),
    "tag": _tags,
    "run": lambda row: (row.run,),
}
WAYS: tuple[By, ...] = get_args(By)
