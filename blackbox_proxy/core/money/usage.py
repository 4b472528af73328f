"""The one reader of a provider's own counts of tokens: the adapters, the books and the doctor all read by it.

It is lenient about how a count is written (a text, a fraction, either set of names), since a reply is booked whether or
not it can be steered with, and strict about what follows from one: counts that are missing, or that no reply can have,
are not believed, and no cost follows from counts that contradict each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from blackbox_proxy.types import Attempt, Usage

Source = Literal["provider", "estimated"]
"""Whose counts of tokens they are."""

READ = ("prompt_tokens", "input_tokens")
WRITTEN = ("completion_tokens", "output_tokens")
READ_DETAILS = ("prompt_tokens_details", "input_tokens_details")
WRITTEN_DETAILS = ("completion_tokens_details", "output_tokens_details")
HITS = ("cached_tokens", "prompt_cache_hit_tokens", "cached_prompt_text_tokens", "cache_read_input_tokens")
"""Tokens from the cache where they stand beside the counts: Moonshot and relays, DeepSeek, xAI, Anthropic's relays."""
WRITES = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
REASONING = "reasoning_tokens"

_NUMBER = re.compile(r"\s*\d{1,15}(\.\d{1,15})?\s*", re.ASCII)
_MOST = 10**15
"""No request takes more tokens; what is larger is no count."""


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """What a `usage` object counts; 0 where it does not say.

    whole: it counts what was read and what was written, and a prompt of no tokens is none. adds_up: no count
    contradicts another; otherwise nobody knows which of them is billed.
    """

    usage: Usage
    whole: bool
    adds_up: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """What a request took, and who counted. adds_up: a cost follows from it."""

    usage: Usage
    source: Source
    adds_up: bool = True


def read_usage(raw: object) -> ReportedUsage:
    """What a `usage` object counts, by the names of chat, completions, Responses, DeepSeek, xAI and relays.

    `input` includes what was read from the cache and what was written to it; `output` what was reasoned, also where the
    provider counts that beside it. Of two names for one count the one that is not 0 holds.

    >>> read_usage({"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": "4"}).usage  # doctest: +ELLIPSIS
    Usage(input=9, cached=4, cache_write=0, output=2, requests=1, ...)
    >>> read_usage({"total_tokens": 11}).whole
    False
    """
    if not isinstance(raw, Mapping):
        return ReportedUsage(Usage(requests=1), whole=False, adds_up=False)
    said, beside = (_tables(raw, names) for names in (READ_DETAILS, WRITTEN_DETAILS))
    read, written = _count([raw], READ), _count([raw], WRITTEN)
    cached = _count([*said, raw], HITS)
    saved = _count([*said, raw], WRITES)
    reasoned = _count([*beside, raw], (REASONING,))
    total, missed = _count([raw], ("total_tokens",)), _count([raw], ("prompt_cache_miss_tokens",)).number
    output, sums = _output(read.number, written.number, reasoned.number, total=total.number)
    fits = cached.number + saved.number <= read.number
    split = fits and (not missed or missed + cached.number == read.number)
    usage = Usage(input=read.number, cached=cached.number, cache_write=saved.number, output=output, requests=1)
    sure = all(one.sure for one in (read, written, cached, saved, reasoned, total))
    return ReportedUsage(usage, whole=read.number > 0 and written.reported, adds_up=sure and sums and split)


def tells_cached(raw: object) -> bool:
    """Whether a `usage` object tells how much of the prompt was cached, be it nothing."""
    return isinstance(raw, Mapping) and _count([*_tables(raw, READ_DETAILS), raw], HITS).reported


def counts_of(raw: object, *, most: Usage, adapter_usage: Usage | None = None, texts: int = 0) -> Counts:
    """What a reply took. raw: its `usage`; most: what is taken where that is not believed.

    adapter_usage: what its adapter counted, where its shape tells that elsewhere. texts: tokens of text that it
    holds, as far as it was read: a count below that is not believed.
    """
    reported = read_usage(raw)
    if reported.whole and reported.usage.output >= texts:
        return Counts(reported.usage, "provider", reported.adds_up)
    if raw is None and adapter_usage is not None and adapter_usage.input and adapter_usage.output >= texts:
        return Counts(adapter_usage, "provider")
    return Counts(Usage(input=most.input, output=most.output, requests=1, estimated=1), "estimated")


def usage_of(attempt: Attempt, *, most: Usage) -> Usage:
    """What an attempt took, before its reply is read. most: what is taken where its counts are not believed."""
    if attempt.outcome == "ok":
        return counts_of(attempt.usage, most=most).usage
    return Usage(requests=1, lost=1) if attempt.lost else Usage(requests=1, refused=1)


@dataclass(frozen=True, slots=True)
class _Count:
    """A count. reported: it is there; sure: it is a whole number, and no other name says another."""

    number: int = 0
    reported: bool = False
    sure: bool = True


def _count(tables: Sequence[Mapping[str, object]], names: Sequence[str]) -> _Count:
    """What the names say: the largest, since zeros beside another number are what a relay fills in."""
    numbers = (_number(table.get(name)) for table in tables for name in names)
    present = [number for number in numbers if number is not None]
    if not present:
        return _Count()
    positive = {number for number in present if number}
    whole = all(number == int(number) for number in present)
    return _Count(math.ceil(max(present)), reported=True, sure=whole and len(positive) <= 1)


def _number(value: object) -> float | int | None:
    """A count that is written as a number or as a text; None for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        return None
    return value


def _tables(raw: Mapping[str, object], names: Sequence[str]) -> list[Mapping[str, object]]:
    """The tables of these names that are there."""
    return [table for name in names if isinstance(table := raw.get(name), Mapping)]


def _output(read: int, written: int, reasoned: int, *, total: int) -> tuple[int, bool]:
    """Tokens that were written, those of reasoning included, and whether that agrees with the sum that was told."""
    both = written + reasoned
    if not total:
        return (both if reasoned > written else written), True
    if reasoned <= written and total == read + written:
        return written, True
    return (both, True) if total == read + both else (both if reasoned > written else written, False)
