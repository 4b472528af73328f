"""What the demo counts: per load, how often each party is right, and what the steering took. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from blackbox_proxy.demo.facts import (
    TOPICS,
    Question,
    exact,
    in_format,
    states_fact,
)
from blackbox_proxy.types import Result

PARTIES: Final = ("api", "untuned", "expert", "steered")
Z95: Final = 1.959964


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """One question with the four answers, and the steered one's whole result.

    in_place: what the closed model itself says where the form has the fact (`run.in_place`). shown: whether it shows
    the right fact there (`run.shows_fact`).
    """

    question: Question
    api: str
    untuned: str
    expert: str
    result: Result
    in_place: str = ""
    shown: bool = False

    @property
    def steered(self) -> str:
        """The text of the steered answer."""
        return self.result.text


def interval(hits: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    >>> interval(5, 10)
    (0.237, 0.763)
    """
    if not of:
        return 0.0, 1.0
    share, spread = hits / of, Z95**2 / of
    middle = share + spread / 2
    half = math.sqrt(spread * (share * (1 - share) + spread / 4))
    return round((middle - half) / (1 + spread), 3), round((middle + half) / (1 + spread), 3)


def _shares(answered: Sequence[DemoAnswer]) -> dict[str, int]:
    """How many answers pass each test, by party and test."""
    tests: dict[str, Callable[[str, Question], bool]] = {
        "fact": states_fact,
        "format": lambda answer, _: in_format(answer),
        "exact": exact,
    }
    hits = {
        f"{party}_{name}": sum(test(getattr(a, party), a.question) for a in answered)
        for party in PARTIES
        for name, test in tests.items()
    }
    hits["api_fact_in_place"] = sum(states_fact(a.in_place, a.question) for a in answered)
    hits["api_shows_fact"] = sum(a.shown for a in answered)
    hits["same_as_expert"] = sum(a.steered.strip() == a.expert.strip() for a in answered)
    return hits


def _kind(answered: Sequence[DemoAnswer]) -> dict[str, float]:
    """Shares of one kind of question."""
    count = max(len(answered), 1)
    hits = _shares(answered)
    wanted = ("api_fact", "api_fact_in_place", "api_shows_fact", "expert_exact")
    own = ("steered_fact", "steered_format", "steered_exact")
    return {"questions": len(answered), **{name: round(hits[name] / count, 3) for name in (*wanted, *own)}}


def summary(answered: Sequence[DemoAnswer]) -> dict[str, object]:
    """The figures of one load, ready for JSON. Shares are of questions, `outside_top_k` and `changed` of tokens."""
    count = len(answered)
    hits = _shares(answered)
    results = [a.result for a in answered]
    tokens = sum(len(r.steps) for r in results)
    per_token = max(tokens, 1)
    return {
        "questions": count,
        **{name: round(n / max(count, 1), 3) for name, n in hits.items()},
        "intervals_95": {name: interval(n, count) for name, n in hits.items()},
        "kinds": {topic: _kind([a for a in answered if a.question.topic == topic]) for topic in TOPICS},
        "outside_top_k": round(sum(r.outside for r in results) / per_token, 3),
        "changed": round(sum(r.changed for r in results) / per_token, 3),
        "api_calls": sum(r.usage.requests for r in results),
        "emitted_tokens": tokens,
        "naive_calls": tokens,
        "wasted_tokens": sum(r.usage.wasted for r in results),
        "input_tokens": sum(r.usage.input for r in results),
        "cached_tokens": sum(r.usage.cached for r in results),
        "output_tokens": sum(r.usage.output for r in results),
        "local_seconds": round(sum(r.usage.local_seconds for r in results), 3),
        "seconds_per_token": round(sum(r.seconds for r in results) / per_token, 4),
        "approximate_answers": sum(r.exactness != "exact" for r in results),
    }
