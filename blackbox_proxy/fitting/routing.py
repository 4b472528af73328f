"""The arm in which the expert answers alone where it is sure, made of answers that are there already. Pure.

What a line is answered by is decided by weights and a threshold that were fitted to the lines of other folds, so that
the arm looks no better on validation lines than on others. The recipe gets those that are fitted to all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.decoding.routing import Elsewhere, Route
from blackbox_proxy.core.decoding.sureness import fit_sureness, folds_of, held_out_sureness
from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.statistics import mean, paired, share_interval
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.selecting import Terms, Trial
from blackbox_proxy.recipes import RouteEvidence
from blackbox_proxy.types import Floats

FEWEST_LINES = 10
"""Fewest lines that a route is fitted to."""

ALLOWED_LOSS = 0.01
"""Score that a threshold may lose against the best one, where quality is preferred."""

ELSEWHERE: dict[str, Elsewhere] = {"closed": "closed", "steered": "steered", "choice": "choice"}
"""Who may answer where the expert is not sure, by the speaker of the arm."""


@dataclass(frozen=True, slots=True)
class RoutedTrial:
    """A route with its answers on validation lines, and what it comes to there."""

    trial: Trial
    evidence: RouteEvidence

    @property
    def summary(self) -> str:
        """In one line."""
        shown = self.evidence
        saved = "saves an unknown price"
        if shown.saved_usd_per_1000 is not None:
            saved = (
                f"saves {shown.saved_usd_per_1000:.4g} ({shown.saved_low:.4g} to {shown.saved_high:.4g}) USD for 1,000 "
                "answers"
            )
        return (
            f"a route: the expert alone answers {shown.local:.0%} ({shown.local_low:.0%} to {shown.local_high:.0%}) of "
            f"{shown.n} lines, which {saved}; against {shown.against} it scores {-shown.loss:+.2f} "
            f"({-shown.loss_high:+.2f} to {-shown.loss_low:+.2f})"
        )

    def rerouted(self, trial: Trial, trials: Sequence[Trial]) -> RoutedTrial:
        """The same route with another arm elsewhere.

        Args:
            trial: What it answered.
            trials: All arms; the one that the route is held against is among them.
        """
        best = next(one for one in trials if one.name == self.evidence.against)
        return RoutedTrial(trial, self.evidence.model_copy(update=_loss(trial, best)))


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """What both arms did on n lines. costs: US dollars of the other's answers, 0 where nobody knows them."""

    features: Floats
    expert: Floats
    other: Floats
    costs: Floats

    @classmethod
    def of(cls, items: Sequence[str], expert: Trial, other: Trial) -> _Lines:
        known, paid = expert.given.answers, other.given.answers
        return cls(
            np.array([known[item].features for item in items]),
            np.array([expert.scores[item] for item in items]),
            np.array([other.scores[item] for item in items]),
            np.array([float(paid[item].cost or 0) for item in items]),
        )

    def where(self, kept: NDArray[np.bool_]) -> _Lines:
        return _Lines(self.features[kept], self.expert[kept], self.other[kept], self.costs[kept])

    def scores(self, local: NDArray[np.bool_]) -> Floats:
        """Of the route by which these are answered locally, shape (n,)."""
        return np.where(local, self.expert, self.other)

    def __len__(self) -> int:
        return len(self.expert)


def routed(expert: Trial, other: Trial, *, best: Trial, terms: Terms) -> RoutedTrial | None:
    """The route between the expert and another arm; None where there is nothing to part, or too little to part it by.

    Args:
        expert: The expert alone, with what is known of its answers.
        other: Who answers elsewhere.
        best: The best arm, which the route is held against.
        terms: What decides between thresholds.
    """
    elsewhere = ELSEWHERE.get(other.candidate.arm.speaker)
    items = [item for item in other.scores if item in expert.scores and expert.given.answers[item].features]
    if elsewhere is None or len(items) < FEWEST_LINES:
        return None
    lines = _Lines.of(items, expert, other)
    local = np.zeros(len(items), dtype=bool)
    for out in folds_of(len(items), seed=0):
        route = _chosen(lines.where(~out), elsewhere, terms)
        local[out] = [route.takes(row) for row in lines.features[out].tolist()]
    if local.all() or not local.any():
        return None
    arm = _arm(other.candidate, _chosen(lines, elsewhere, terms))
    answers = dict(zip(items, _answers(items, local, expert=expert, other=other, name=arm.name), strict=True))
    scores = dict(zip(items, lines.scores(local).tolist(), strict=True))
    trial = Trial(arm, ArmAnswers(arm.arm, answers, scores))
    priced = all(other.given.answers[item].cost is not None for item in items)
    return RoutedTrial(trial, _evidence(trial, lines, local, best=best, priced=priced))


def _chosen(lines: _Lines, elsewhere: Elsewhere, terms: Terms) -> Route:
    """The weights for some lines, and the least threshold that what is preferred allows."""
    rows, right = lines.features.tolist(), lines.expert.tolist()
    weights = fit_sureness(rows, right).weights
    sure = held_out_sureness(rows, right)
    parted = {threshold: sure >= threshold for threshold in _thresholds(sure)}
    return Route(min(_allowed(lines, parted, terms)), elsewhere, weights)


def _thresholds(sure: Floats) -> list[float]:
    """All that part the lines differently, from none to all left to the other way."""
    values = np.unique(sure)
    ends = [0.0, (float(values[-1]) + 1.0) / 2.0]
    return sorted({*ends, *((values[1:] + values[:-1]) / 2.0).tolist()})


def _allowed(lines: _Lines, parted: Mapping[float, NDArray[np.bool_]], terms: Terms) -> list[float]:
    """The thresholds that may be taken: the best one, and those that lose no more than what is preferred allows.

    parted: which lines are answered locally, by the threshold.
    """
    scores = {threshold: lines.scores(local) for threshold, local in parted.items()}
    means = {threshold: float(one.mean()) for threshold, one in scores.items()}
    best = max(means, key=means.__getitem__)
    match terms.prefer:
        case "quality":
            return [threshold for threshold, one in means.items() if one >= means[best] - ALLOWED_LOSS]
        case "cost":
            return [threshold for threshold, one in scores.items() if _is_not_worse(scores[best], one)]
        case "balanced":
            prices = {t: float(np.where(local, 0.0, lines.costs).mean()) for t, local in parted.items()}
            worth = {t: 100 * terms.point * one - 1000 * prices[t] for t, one in means.items()}
            return [threshold for threshold, one in worth.items() if one == max(worth.values())]


def _is_not_worse(best: Floats, other: Floats) -> bool:
    tested = paired(best.tolist(), other.tolist())
    return tested is not None and (tested.low <= 0.0 or np.array_equal(best, other))


def _arm(other: FitArm, route: Route) -> FitArm:
    arm = replace(other.arm, name=f"route_{other.name}", speaker="route", route=route)
    return replace(other, arm=arm, description=f"the tuned small model where it is sure, elsewhere {other.description}")


def _answers(
    items: Sequence[str], local: NDArray[np.bool_], *, expert: Trial, other: Trial, name: str
) -> list[KeptAnswer]:
    """Who answered each line; the expert has drafted all of them."""
    both = [(expert.given.answers[item], other.given.answers[item]) for item in items]
    return [
        replace(mine, arm=name)
        if is_local
        else replace(theirs, arm=name, seconds=theirs.seconds + mine.seconds, local=theirs.local + mine.local)
        for (mine, theirs), is_local in zip(both, local.tolist(), strict=True)
    ]


def _evidence(trial: Trial, lines: _Lines, local: NDArray[np.bool_], *, best: Trial, priced: bool) -> RouteEvidence:
    count, share = len(lines), float(local.mean())
    low, high = share_interval(share, count)
    costs = (1000 * np.where(local, lines.costs, 0.0)).tolist()
    saved = mean(costs, most=max(1000 * lines.costs.max(), *costs)) if priced else None
    return RouteEvidence(
        n=count,
        against=best.name,
        local=round(share, 4),
        local_low=round(low, 4),
        local_high=round(high, 4),
        saved_usd_per_1000=None if saved is None else round(saved.value, 6),
        saved_low=None if saved is None else round(saved.low, 6),
        saved_high=None if saved is None else round(saved.high, 6),
        **_loss(trial, best),
    )


def _loss(trial: Trial, best: Trial) -> dict[str, float]:
    """The score that a route loses against an arm, with its interval; by the names of the evidence."""
    shared = [item for item in trial.scores if item in best.scores]
    lost = paired([best.scores[item] for item in shared], [trial.scores[item] for item in shared])
    if lost is None:
        return {"loss": 0.0, "loss_low": -1.0, "loss_high": 1.0}
    return {"loss": round(lost.value, 4), "loss_low": round(lost.low, 4), "loss_high": round(lost.high, 4)}
