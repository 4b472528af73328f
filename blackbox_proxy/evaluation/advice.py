"""What an evaluation comes to, in a few sentences: what is best so far, what costs least, and whether that is decided.

An arm is better than another only where the paired test says so, with Holm's correction for the number of arms that
the best one is held against. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import Any

from blackbox_proxy.evaluation.statistics import chance
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.evaluation.table import UNKNOWN, per_thousand

CHANCE = 0.05
"""The largest p by which two arms are told apart."""

DETECTION = 1.959964 + 0.841621
"""Standard errors at which a difference is found in four of five evaluations, by a test at 0.05."""

SWEEP = "steered_alpha_"
"""How the arms begin that are there to be looked at, and not to choose by."""

BASELINE = "majority"


@dataclass(frozen=True, slots=True)
class _Compared:
    """An arm that the best one is held against, and the differences of their scores on the items of both."""

    arm: ArmAnswers
    gaps: tuple[float, ...]

    @property
    def chance(self) -> float:
        return chance(self.gaps)

    @property
    def name(self) -> str:
        return self.arm.arm.name

    @property
    def gap(self) -> float:
        return fmean(self.gaps)


def advice(arms: Sequence[ArmAnswers], figures: Mapping[str, Any], *, items: int) -> tuple[str, ...]:
    """The sentences. figures: of each arm, by name; items: how many test items the task has."""
    asked = [arm for arm in arms if arm.scores and not arm.arm.name.startswith(SWEEP)]
    answered = [arm for arm in asked if arm.arm.name != BASELINE]
    if not answered:
        return ("No item was answered, so there is nothing to advise.",)
    best = _best(answered, figures)
    count = len(best.scores)
    if _score(best) <= 0.0:
        return (f"No arm answered any of {count} items rightly: look at the wrong answers, and whether the scorer is.",)
    others = [_held(best, arm) for arm in asked if arm is not best]
    if not others:
        return (f"{_named(best, figures)} was asked alone, so there is nothing to hold it against.",)
    worse, near = _distinguished(others)
    return (*_verdict(best, worse=worse, near=near, figures=figures), *_more(best, near, items=items))


def _best(arms: Sequence[ArmAnswers], figures: Mapping[str, Any]) -> ArmAnswers:
    """The arm with the best score that no other passes on the items that both answered; of equal ones the cheapest."""
    best = min(arms, key=lambda arm: (-_score(arm), _dear(arm, figures)))
    for _ in arms:
        passing = [other for arm in arms if arm is not best and (other := _held(best, arm)).gaps and other.gap < 0.0]
        if not passing:
            break
        best = min(passing, key=lambda other: other.gap).arm
    return best


def _verdict(
    best: ArmAnswers, *, worse: Sequence[_Compared], near: Sequence[_Compared], figures: Mapping[str, Any]
) -> tuple[str, ...]:
    """What is decided, and what to take: the cheapest of those that cannot be told from the best."""
    close = [best, *(other.arm for other in near if other.name != BASELINE)]
    cheap = min(close, key=lambda arm: (_dear(arm, figures), -_score(arm)))
    count = len(best.scores)
    head = f"On {count} items the best" if worse else f"{count} items decide nothing; the best so far"
    if cheap is best:
        lines = [f"{head} and the cheapest{' of those near it' if worse else ''} is {_named(best, figures)}."]
    else:
        also = f"the cheapest that cannot be told from it is {_named(cheap, figures)}"
        lines = [f"{head} is {_named(best, figures)}; {also}."]
    if worse:
        lines.append(f"It is better than {_listed(worse)}.")
    if worse and near:
        lines.append(f"It cannot be told from {_listed(near)}.")
    if any(other.name == BASELINE for other in near):
        lines.append("It cannot be told from always giving the most common answer, which needs no model.")
    return tuple(lines)


def _more(best: ArmAnswers, near: Sequence[_Compared], *, items: int) -> tuple[str, ...]:
    """How many items would tell the best from the one that is furthest behind it, of those that are not told yet."""
    behind = [other for other in near if other.gaps and other.name != BASELINE and other.gap > 0.0]
    if not behind:
        return ()
    last = max(behind, key=lambda other: other.gap)
    needed, asked = max(_needed(last.gaps), len(last.gaps) + 1), len(best.scores)
    have = f"the task has {items:,}, of which {asked:,} were asked" if items > asked else "the task has no more"
    return (
        f"About {needed:,} items would tell it from {last.name}, were the difference to stay {last.gap:+.2f}; {have}.",
    )


def _needed(gaps: Sequence[float]) -> int:
    """Items at which a difference like this is found four times of five."""
    return math.ceil(pvariance(gaps) * (DETECTION / fmean(gaps)) ** 2)


def _held(best: ArmAnswers, other: ArmAnswers) -> _Compared:
    shared = [item for item in best.scores if item in other.scores]
    return _Compared(other, tuple(best.scores[item] - other.scores[item] for item in shared))


def _distinguished(others: Sequence[_Compared]) -> tuple[list[_Compared], list[_Compared]]:
    """Those that the best one is better than, and those that it cannot be told from; by Holm's steps."""
    ordered = sorted((other for other in others if other.gaps), key=lambda other: other.chance)
    steps = (other.chance * (len(ordered) - at) <= CHANCE for at, other in enumerate(ordered))
    apart = next((at for at, holds in enumerate(steps) if not holds), len(ordered))
    worse = [other for other in ordered[:apart] if other.gap > 0.0]
    return worse, [other for other in others if other not in worse]


def _score(arm: ArmAnswers) -> float:
    return fmean(arm.scores.values())


def _dear(arm: ArmAnswers, figures: Mapping[str, Any]) -> float:
    """Dollars an answer; where nobody knows them an arm is not called cheap."""
    cost = figures[arm.arm.name]["cost_usd_per_answer"]
    return math.inf if cost is None else float(cost)


def _named(arm: ArmAnswers, figures: Mapping[str, Any]) -> str:
    cost = per_thousand(figures[arm.arm.name]["cost_usd_per_answer"])
    price = "at an unknown price" if cost == UNKNOWN else f"{cost} USD per 1,000 answers"
    return f"{arm.arm.name} ({_score(arm):.2f}, {price})"


def _listed(others: Sequence[_Compared]) -> str:
    return ", ".join(other.name for other in others)
