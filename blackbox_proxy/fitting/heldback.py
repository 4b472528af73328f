"""Puts the held-back lines to the arm that was chosen, once."""

from __future__ import annotations

import math
from collections.abc import Sequence

from blackbox_proxy.errors import OverBudget
from blackbox_proxy.evaluation.statistics import mean
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.asker import LineAsker, TimeUp
from blackbox_proxy.fitting.selecting import Trial

LEAST = 5
"""Fewest held-back lines that say anything."""


def price_of_test(asker: LineAsker, chosen: Trial) -> float:
    """US dollars that the test of an arm should take; 0 where its price is unknown."""
    return len(asker.bench.task.test) * chosen.per_answer if math.isfinite(chosen.per_answer) else 0.0


def on_held_back(asker: LineAsker, chosen: Trial) -> ArmAnswers:
    """The held-back lines, or as many as the budget pays for; nothing where these are too few."""
    items = _payable(asker, chosen)
    try:
        if len(items) >= LEAST:
            asker([chosen.candidate], items, "the test", deadline=asker.deadline(1.0))
    except (OverBudget, TimeUp) as error:
        asker.note(f"the test is not whole: {error.message}")
    answered = asker.given(chosen.candidate, items)
    scored = mean(list(answered.scores.values()))
    if scored is None or scored.n < LEAST:
        asker.note("the held-back lines were not asked: money or time did not suffice")
        return ArmAnswers(chosen.candidate.arm, {}, {})
    asker.say(f"on {scored.n} held-back lines it scores {scored}")
    return answered


def _payable(asker: LineAsker, chosen: Trial) -> Sequence[Item]:
    """The first ones, as many as the budget pays for."""
    items, room = asker.bench.task.test, asker.room()
    if room is None or not 0.0 < chosen.per_answer < math.inf:
        return items
    return items[: max(0, int(room / chosen.per_answer))]
