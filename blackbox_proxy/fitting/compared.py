"""What came out of a comparison of arms. A value."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from blackbox_proxy.evaluation.statistics import Mean
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.fitting.routing import RoutedTrial
from blackbox_proxy.fitting.selecting import Trial


@dataclass(frozen=True, slots=True)
class ComparedArms:
    """What came out of a comparison.

    Attributes:
        chosen: The winner, with its validation answers.
        trials: All arms, in order, each with what it answered.
        finalists: Those that the winner was chosen from.
        stayed: Rounds that each arm took part in, by name.
        predicted: What the winner should score on other lines.
        answers: What it answered to held-back lines; nothing where they were not asked.
        tested: What it scored there; None where they were not asked.
        spent: US dollars of all answers; None where no price is known.
        notes: What cut the fit short, if anything did.
        route: The route that was compared too; None where there was none to make.
    """

    chosen: Trial
    trials: tuple[Trial, ...]
    finalists: tuple[Trial, ...]
    stayed: dict[str, int]
    predicted: Mean
    answers: ArmAnswers
    tested: Mean | None = None
    spent: Decimal | None = None
    notes: tuple[str, ...] = ()
    route: RoutedTrial | None = None
