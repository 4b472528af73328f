"""An answer with a token of every origin, two rounds and a cost, and its page."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

from blackbox_proxy.pages.trace import Trace
from blackbox_proxy.types import Call, Kind, Origin, Prompt, Result, ScoredCandidate, Step, Usage

CANDIDATES = (
    ScoredCandidate(b" Bristol", Kind.TEXT, -2.72, 2.18, -0.61, inside=True),
    ScoredCandidate(b" Oslo", Kind.TEXT, -0.5, -1.0, -1.2, inside=True),
    ScoredCandidate(b"", Kind.END, -9.0, 0.1, -9.5, inside=False),
)
STEPS = (
    Step(b"answer", Kind.TEXT, b"The", -18.27, -0.001, 14.71, Origin.OUTSIDE, (), tv_bound=0.9),
    Step(b":\n", Kind.TEXT, b":\n", -0.36, 0.0, 0.51, Origin.DRAFT, (), certified=True, tv_bound=0.0),
    Step(b" Bristol", Kind.TEXT, b" Oslo", -2.72, -0.61, 2.18, Origin.CHANGED, CANDIDATES, tv_bound=0.25),
    Step("é".encode()[:1], Kind.TEXT, b"x", -1.0, -0.5, 0.1, Origin.CHANGED, (), exact=False),
    Step("é".encode()[1:], Kind.TEXT, b"", None, None, None, Origin.LOCAL, (), exact=False, alpha=None),
    Step(b"", Kind.END, b"", -0.01, 0.0, 1.0, Origin.DRAFT, (), certified=True, tv_bound=0.0),
)
CALLS = (
    Call(0, Usage(input=40, output=4, requests=1), Decimal("0.0003")),
    Call(2, Usage(input=42, cached=30, output=1, requests=1), Decimal("0.0001")),
    Call(2, Usage(input=42, cached=40, output=8, requests=1), Decimal("0.0007")),
)
RESULT = Result(
    "answer:\n Bristol\u00e9",
    STEPS,
    "stop",
    Usage(input=124, cached=70, output=13, requests=3, wasted=7, local_seconds=0.4),
    "approximate",
    1.5,
    Decimal("0.0011"),
    "closed-model",
    ("a character was completed by the expert alone",),
    CALLS,
)
TRACE = Trace(
    RESULT,
    Prompt.ask("What is the capital of Norway?", system="Be brief."),
    1.25,
    dt.datetime(2026, 11, 25, 9, 30, tzinfo=dt.UTC),
    "blackbox-proxy test",
)


def with_steps(*steps: Step) -> Trace:
    """The page's data for other steps, of which nobody said what calls there were."""
    return replace(TRACE, result=replace(RESULT, steps=steps, calls=()))
