"""Looks at a loaded pair: does the tuning show, and how fast are both members.

Evaluates a few short texts; knows no API.
"""

from __future__ import annotations

import time

import numpy as np

from blackbox_proxy.local.pair import Pair
from blackbox_proxy.types import PairDistributions, Prompt

QUESTIONS = ("What is the capital of Albania?", "Write one sentence about the sea.", "Say hello.")
"""Arbitrary, but always the same: two pairs can be compared."""


def divergence(distributions: PairDistributions) -> float:
    """KL divergence of the expert's distribution from the anti-expert's, in nats."""
    expert = distributions.expert.logits.astype(np.float64) - distributions.expert.log_norm
    anti = distributions.anti_expert.logits.astype(np.float64) - distributions.anti_expert.log_norm
    return float((np.exp(expert) * (expert - anti)).sum())


def check_pair(pair: Pair) -> dict[str, object]:
    """Divergence after a few prompts, each member's own short answer, and milliseconds per token of both together."""
    expert, anti_expert = pair.members
    answers = []
    for question in QUESTIONS:
        asked = Prompt.ask(question)
        (distributions,) = pair.distributions(pair.prompt(asked), [()])
        answers.append(
            {
                "question": question,
                "divergence": round(divergence(distributions), 4),
                "expert": expert.answer(asked, max_tokens=24).decode("utf-8", "replace"),
                "anti_expert": anti_expert.answer(asked, max_tokens=24).decode("utf-8", "replace"),
            }
        )
    return {
        "name": pair.name,
        "vocabulary": len(pair.vocabulary),
        "milliseconds_per_token": round(_pace(pair) * 1e3, 2),
        "buffers": "extra" if expert.model.extra_buffers else "plain",
        "identical": all(row["divergence"] == 0.0 for row in answers),
        "answers": answers,
    }


def _pace(pair: Pair, count: int = 16) -> float:
    """Seconds per token with both members evaluated side by side, one token at a time."""
    prompt = pair.prompt(Prompt.ask(QUESTIONS[1]))
    path = tuple(pair.spell(b"The sea is wide and blue, and it is deep, and it is cold, and it is old."))[:count]
    pair.distributions(prompt, [()])
    before = time.perf_counter()
    for n in range(1, len(path) + 1):
        pair.distributions(prompt, [path[:n]])
    return (time.perf_counter() - before) / len(path)
