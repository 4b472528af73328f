"""What arms are expected to cost before they are asked, and which of them the money pays for. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from blackbox_proxy.core.money.amounts import Price, cost
from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.task import Task
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.selecting import Trial
from blackbox_proxy.types import Usage

KEPT_BACK = 0.95
"""Share of the budget that is planned with; a request may cost more than those before."""

FIRST_SHARE, LATER_SHARE = 0.5, 0.65
"""Shares of the budget: that the first round of the first arms may take, and that of all arms, collection included."""

AROUND = 30
"""Characters that a chat's template puts around a question."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What answers should cost, by one answer of the closed model by itself.

    Attributes:
        answer: That answer; its cost is known.
        task: The lines.
        at_once: Whole answers that one request draws.
        price: Of the closed model; None where nobody knows it.
    """

    answer: KeptAnswer
    task: Task
    at_once: int
    price: Price | None

    def per_answer(self, one: FitArm) -> float:
        """US dollars.

        A prompt is longer by what stands before the question; a steered answer takes about a call for every other token
        of its own; of whole answers each is written, and the prompt is read once a request.
        """
        if not one.arm.calls:
            return 0.0
        validation, alone = self.task.validation, float(self.answer.cost or 0)
        typical = sum(len(item.prompt) for item in validation) / len(validation) + AROUND
        call = alone * (1.0 + sum(len(turn.content) for turn in one.arm.before) / typical)
        if one.draws:
            requests = math.ceil(one.draws / max(1, self.at_once))
            return call * requests + self._written * (one.draws - requests)
        return call * (max(1.0, self.answer.output / 2) if one.arm.speaker == "steered" else 1.0)

    @property
    def _written(self) -> float:
        """US dollars for the tokens of an answer."""
        return float(cost(Usage(output=self.answer.output), self.price) or 0)

    def round(self, arms: Sequence[FitArm], size: int) -> float:
        """US dollars for so many lines."""
        return size * sum(self.per_answer(one) for one in arms)

    def payable(self, arms: Sequence[FitArm], size: int, dollars: float) -> list[FitArm]:
        """The arms that so much money pays for on so many lines; the dearest go first, and the simplest stay."""
        stay = list(arms)
        while stay and self.round(stay, size) > dollars:
            stay.remove(max(stay, key=lambda one: (one.arm.calls, self.per_answer(one), one.effort)))
        return stay


def next_round(trials: Sequence[Trial], size: int, tests: int) -> float:
    """US dollars for the lines that a round adds, and for a test of the dearest arm."""
    more = sum(trial.per_answer * max(0, size - len(trial.scores)) for trial in trials)
    return more + max(trial.per_answer for trial in trials) * tests


def too_little(budget: Decimal | None, arms: Sequence[FitArm], forecast: Forecast | None, *, size: int) -> InputError:
    """The error of a budget that compares no two arms on the lines of a first round."""
    needed = forecast.round(arms[:2], size) / KEPT_BACK / FIRST_SHARE if forecast else 0.0
    return InputError(
        f"a budget of {budget} USD decides nothing: about {needed:.4f} USD compare two arms on {size} lines, and test "
        "one",
        hint="raise it, or give shorter lines",
    )
