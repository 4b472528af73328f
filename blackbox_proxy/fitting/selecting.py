"""Which arms stay in the comparison, which one wins, and what it will score. Pure.

Arms are compared on the lines that both answered. The error of a difference is its standard error over those lines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean, stdev
from typing import Literal

import numpy as np

from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.statistics import SEED, Mean, paired, share_interval
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.fitting.candidates import FitArm

Preference = Literal["quality", "cost", "balanced"]
"""What decides between arms: `quality`: the best score; of arms within one standard error of it the cheapest. `cost`:
the cheapest arm that is not shown to be worse than the best, by the paired interval of 95 %. `balanced`: the best score
at a stated price of a point."""

POINT = 0.10
"""US dollars for 1,000 answers that a point of score (0.01) is worth, where nobody says."""

DRAWS = 2_000

SAME = 12
"""Lines on which two arms must score the same before the dearer one is dropped."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate with what it answered so far."""

    candidate: FitArm
    given: ArmAnswers

    @property
    def name(self) -> str:
        return self.candidate.name

    @property
    def scores(self) -> Mapping[str, float]:
        return self.given.scores

    @property
    def score(self) -> float:
        """The mean; 0 where nothing was answered."""
        return fmean(self.scores.values()) if self.scores else 0.0

    @property
    def per_answer(self) -> float:
        """US dollars for an answer; infinite where that is unknown."""
        return per_answer(list(self.given.answers.values()))

    @property
    def seconds(self) -> float:
        """Seconds for an answer; 0 where nothing was answered."""
        answers = self.given.answers.values()
        return fmean(answer.seconds for answer in answers) if answers else 0.0

    @property
    def cheapness(self) -> tuple[float, tuple[int, int]]:
        """The cheaper first, then the simpler."""
        return self.per_answer, self.candidate.effort

    @property
    def usd_per_1000(self) -> float | None:
        """US dollars for 1,000 answers; None where that is unknown."""
        return 1000 * self.per_answer if math.isfinite(self.per_answer) else None


def per_answer(answers: Sequence[KeptAnswer]) -> float:
    """Mean dollars of some answers; infinite where one is unknown, or there is none."""
    costs = [answer.cost for answer in answers]
    known = [cost for cost in costs if cost is not None]
    return float(sum(known, Decimal(0)) / len(known)) if known and len(known) == len(costs) else math.inf


@dataclass(frozen=True, slots=True)
class Gap:
    """How much better one arm is than another on `n` shared lines. error: its standard error."""

    value: float
    error: float
    n: int


def gap(one: Trial, other: Trial) -> Gap:
    """`one` less `other`."""
    gaps = [one.scores[item] - other.scores[item] for item in one.scores if item in other.scores]
    if not gaps:
        return Gap(0.0, math.inf, 0)
    error = stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.inf
    return Gap(fmean(gaps), error, len(gaps))


def rounds(count: int) -> tuple[int, ...]:
    """How many validation lines each round has: a quarter, a half, all.

    >>> rounds(40), rounds(9)
    ((10, 20, 40), (6, 9))
    """
    sizes = (max(6, math.ceil(count * share)) for share in (0.25, 0.5, 1.0))
    return tuple(sorted({min(size, count) for size in sizes}))


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides between arms. point: dollars for 1,000 answers that 0.01 of score is worth, where that decides."""

    prefer: Preference = "quality"
    point: float = POINT

    def worth(self, trial: Trial) -> float:
        """What arms are ranked by: the score, or its worth less the price, in dollars for 1,000 answers."""
        if self.prefer != "balanced":
            return trial.score
        return 100 * self.point * trial.score - 1000 * trial.per_answer

    def near(self, best: Trial, other: Trial) -> bool:
        """Whether an arm may still be the one to take, beside the best."""
        behind = gap(best, other)
        match self.prefer:
            case "quality":
                return behind.value <= behind.error
            case "cost":
                return _not_worse(best, other)
            case "balanced":
                dearer = 1000 * (best.per_answer - other.per_answer)
                return 100 * self.point * (behind.value - behind.error) <= dearer


def best_of(trials: Sequence[Trial], terms: Terms) -> Trial:
    """The best; of equal ones the cheapest and simplest."""
    return min(trials, key=lambda trial: (-terms.worth(trial), trial.cheapness))


def halved(trials: Sequence[Trial], terms: Terms) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
    """Those that stay, in their order, and those that are dropped.

    The better half stays, with whoever may still be the one to take, and the closed model by itself, which the others
    are held against. Of arms that scored the same on every one of enough lines the cheapest stays.
    """
    best = best_of(trials, terms)
    ranked = sorted(trials, key=lambda trial: (-terms.worth(trial), trial.cheapness))
    half = {trial.name for trial in ranked[: math.ceil(len(ranked) / 2)]}
    stay = tuple(t for t in trials if t.name in half or t.name == "closed" or terms.near(best, t))
    stay = tuple(t for t in stay if t.name == "closed" or not _is_repeated(t, stay))
    return stay, tuple(trial for trial in trials if trial not in stay)


def _is_repeated(trial: Trial, trials: Sequence[Trial]) -> bool:
    """Whether a cheaper arm scored the same on every line, of which there are enough."""
    return len(trial.scores) >= SAME and any(
        other.scores == trial.scores and other.cheapness < trial.cheapness for other in trials
    )


def winner(trials: Sequence[Trial], terms: Terms) -> Trial:
    """The arm to take: the cheapest of those near the best; where a price decides, the best itself."""
    best = best_of(trials, terms)
    if terms.prefer == "balanced":
        return best
    return min((trial for trial in trials if terms.near(best, trial)), key=lambda trial: trial.cheapness)


def _not_worse(best: Trial, other: Trial) -> bool:
    """Whether the paired interval of 95 % holds that there is no difference."""
    shared = [item for item in best.scores if item in other.scores]
    tested = paired([best.scores[item] for item in shared], [other.scores[item] for item in shared])
    return tested is not None and (tested.low <= 0.0 or other is best)


def foretold(chosen: Trial, trials: Sequence[Trial], *, lines: int) -> Mean:
    """What the winner will score on so many other lines, with the interval of 95 % that its score there will lie in.

    Wilson's interval, as of so many lines that both samples together say as much; it is wide enough for scores between
    0 and 1 too. The best of several arms looks better than it is: how much is learnt by choosing anew on lines drawn
    with replacement, where the chosen arm scores more than on all lines, by that much on average.
    """
    n = len(chosen.scores)
    value = max(0.0, chosen.score - _optimism(chosen, trials))
    low, high = share_interval(value, n * lines / (n + lines) if lines else n)
    return Mean(value, low, high, n)


def _optimism(chosen: Trial, trials: Sequence[Trial]) -> float:
    """How much better the best of some arms looks than it is."""
    items = [*chosen.scores]
    whole = [trial for trial in trials if all(item in trial.scores for item in items)]
    if len(whole) < 2 or not items:
        return 0.0
    table = np.array([[trial.scores[item] for item in items] for trial in whole])
    picks = np.random.default_rng(SEED).integers(0, len(items), (DRAWS, len(items)))
    means = table[:, picks].mean(axis=2)
    best = means.argmax(axis=0)
    return max(0.0, float((means[best, np.arange(DRAWS)] - table.mean(axis=1)[best]).mean()))


def frontier(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Arms that no other passes both in score and in price, the cheapest first."""
    ordered = sorted((t for t in trials if t.usd_per_1000 is not None), key=lambda t: (t.cheapness[0], -t.score))
    kept: list[Trial] = []
    for trial in ordered:
        if not kept or trial.score > kept[-1].score:
            kept.append(trial)
    return tuple(kept)
