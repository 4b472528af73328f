"""Steered answers that should be the same through two endpoints over the same weights.

They may differ where the two best steered scores lie so near that rounding decides; each such near tie is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from blackbox_proxy.api import Api
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Kind, Result

STEERING = Steering(alpha=1.8, max_tokens=32)
"""The demo's weight; long enough for its answers to end."""

QUESTIONS = (
    "What is the capital of Albania?",
    "Which currency is used in Kenya?",
    "Write one sentence about the sea.",
    "Wie heißt du?",
    "Repeat: 🦜😀",
)
NEAR_TIE = 0.03
"""Nats; what the log-probs of two builds of llama.cpp may differ by (`test_llama_server.NATS`)."""


def answers(api: Api, pair: Pair) -> list[Result]:
    """The steered answers to all questions."""
    return [steer(question, api=api, offsets=pair, steering=STEERING) for question in QUESTIONS]


def check_same(found: Sequence[Result], wanted: Sequence[Result]) -> None:
    """Equal texts and ends but for near ties, and at most one of those."""
    different = [(f, w) for f, w in zip(found, wanted, strict=True) if (f.text, f.finish) != (w.text, w.finish)]
    ties = [(f, w) for f, w in different if _near_tie(f, w) or _near_tie(w, f)]
    print(f"{len(found)} answers, {len(different)} differ, {len(ties)} of them at a near tie")
    assert [(f.text, w.text) for f, w in different if (f, w) not in ties] == []
    assert len(ties) <= 1


def ended(results: Sequence[Result]) -> list[bool]:
    """Which answers ended by a choice of the end itself."""
    return [result.finish == "stop" and result.steps[-1].kind is Kind.END for result in results]


def _near_tie(one: Result, other: Result) -> bool:
    """Whether `one` first departs from `other` where its two best choices are within the tolerance."""
    for mine, theirs in zip(one.steps, other.steps, strict=False):
        if (mine.piece, mine.kind) != (theirs.piece, theirs.kind):
            scores = [candidate.score for candidate in mine.candidates[:2]]
            return len(scores) == 2 and scores[0] - scores[1] <= NEAR_TIE
    return False
