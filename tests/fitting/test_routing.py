"""The route that a fit makes: cross-fitted on validation, by the same preferences as other arms, and for no call."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from blackbox_proxy.evaluation.answers import AnswerStore, KeptAnswer
from blackbox_proxy.evaluation.arms import Arm, Speaker
from blackbox_proxy.evaluation.statistics import mean
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.checking import fresh_task, recheck
from blackbox_proxy.fitting.fit import Telling
from blackbox_proxy.fitting.limits import FitLimits
from blackbox_proxy.fitting.report import sentences
from blackbox_proxy.fitting.routing import RoutedTrial, routed
from blackbox_proxy.fitting.selecting import Preference, Terms, Trial
from tests.fitting.worlds import OTHER, RIGHT, WRONG, World, served


def trial(
    speaker: Speaker, scores: Sequence[float], *, cost: str | None, features: Sequence[Sequence[float]] | None = None
) -> Trial:
    """An arm that scores this, item by item."""
    amount = None if cost is None else Decimal(cost)
    answers = {
        str(n): KeptAnswer(
            str(n), "t", str(n), speaker, cost=amount, features=() if features is None else tuple(features[n])
        )
        for n in range(len(scores))
    }
    arm = Arm(speaker, speaker, 0)
    return Trial(FitArm(arm, speaker), ArmAnswers(arm, answers, {str(n): one for n, one in enumerate(scores)}))


def world(
    count: int, seed: int, *, tells: bool = True, closed: float = 0.8, cost: str | None = "0.001"
) -> tuple[Trial, Trial]:
    """An expert that is right where its answer is probable, if it `tells`; and a closed model that is right often."""
    rng = np.random.default_rng(seed)
    right = rng.random(count) < 0.6
    answer = np.where(right, -0.3, -3.0) + rng.normal(0.0, 0.5, count) if tells else rng.normal(-1.0, 0.5, count)
    rows = [[1.0, a, a / 2, -0.1, 0.4] for a in answer.tolist()]
    expert = trial("expert", right.astype(float).tolist(), cost="0", features=rows)
    return expert, trial("closed", (rng.random(count) < closed).astype(float).tolist(), cost=cost)


def route_of(expert: Trial, other: Trial, prefer: Preference = "quality", *, point: float = 0.1) -> RoutedTrial | None:
    return routed(expert, other, best=max(expert, other, key=lambda one: one.score), terms=Terms(prefer, point))


@pytest.mark.parametrize("prefer", ["quality", "cost", "balanced"])
def test_where_the_expert_tells_a_route_is_better_than_either(prefer: Preference) -> None:
    expert, other = world(60, 1)
    route = route_of(expert, other, prefer)
    assert route is not None
    assert route.trial.score > max(expert.score, other.score)
    assert route.trial.per_answer < other.per_answer
    shown = route.evidence
    assert shown.local_low <= shown.local <= shown.local_high
    assert 0.4 <= shown.local <= 0.75
    assert shown.saved_usd_per_1000 == pytest.approx(shown.local, abs=1e-3)
    assert shown.saved_low is not None
    assert shown.saved_high is not None
    assert shown.saved_low <= shown.local <= shown.saved_high
    assert shown.loss == pytest.approx(max(expert.score, other.score) - route.trial.score, abs=1e-4)
    assert "a route: the expert alone answers" in route.summary


def test_each_line_is_answered_by_one_of_both_and_costs_what_it_cost_there() -> None:
    expert, other = world(40, 2)
    route = route_of(expert, other)
    assert route is not None
    for item, score in route.trial.scores.items():
        kept = route.trial.given.answers[item]
        assert kept.arm == "route_closed"
        assert (kept.cost, score) in {(Decimal(0), expert.scores[item]), (Decimal("0.001"), other.scores[item])}


@pytest.mark.slow
def test_on_its_own_lines_it_is_not_over_optimistic() -> None:
    """An expert whose answers tell nothing: over many worlds the route scores no more than who is better by chance."""
    gains = []
    for seed in range(60):
        expert, other = world(24, seed, tells=False, closed=0.6)
        route = route_of(expert, other)
        gains.append(0.0 if route is None else route.trial.score - (expert.score + other.score) / 2)
    said = mean(gains, least=-1.0, most=1.0)
    assert said is not None
    assert said.low <= 0.0


@pytest.mark.slow
def test_what_a_recipe_of_the_route_scores_on_other_lines_is_what_validation_says() -> None:
    gaps = []
    for seed in range(30):
        expert, other = world(40, seed)
        route = route_of(expert, other)
        if route is None:
            continue
        fresh_expert, fresh = world(400, 1000 + seed)
        fitted = route.trial.candidate.arm.route
        assert fitted is not None
        local = {item: fitted.takes(one.features) for item, one in fresh_expert.given.answers.items()}
        score = np.mean([(fresh_expert if is_local else fresh).scores[item] for item, is_local in local.items()])
        gaps.append(route.trial.score - float(score))
    assert len(gaps) > 20
    assert abs(float(np.mean(gaps))) < 0.03


def test_the_more_a_point_is_worth_the_fewer_answers_are_local() -> None:
    expert, other = world(60, 4, closed=0.95)
    shares = []
    for point in (0.0001, 0.01, 1.0):
        route = route_of(expert, other, "balanced", point=point)
        shares.append(1.0 if route is None and point == 0.0001 else route.evidence.local if route else 0.0)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


@pytest.mark.parametrize("count", [0, 9])
def test_of_too_few_lines_no_route_is_made(count: int) -> None:
    assert route_of(*world(count, 1)) is None


def test_where_one_of_both_is_always_better_there_is_nothing_to_part() -> None:
    expert, other = world(40, 1)
    assert route_of(expert, trial("closed", [0.0] * 40, cost="0.001")) is None
    hopeless = trial("expert", [0.0] * 40, cost="0", features=[one.features for one in expert.given.answers.values()])
    assert route_of(hopeless, other) is None


def test_an_unknown_price_saves_nothing_that_is_known() -> None:
    route = route_of(*world(60, 1, cost=None))
    assert route is not None
    assert route.evidence.saved_usd_per_1000 is None


PARTED = World(
    closed=lambda n, _: RIGHT if n % 3 else WRONG,
    expert=lambda n: RIGHT if n % 2 else {"wrong": 0.4, "right": 0.35, "other": 0.25},
    anti_expert=lambda _: OTHER,
)
"""The expert is right of odd questions, and sure of them; the closed model of two thirds, and seldom of others."""


def test_a_route_wins_by_what_is_kept_and_its_recipe_is_tested_and_checked(tmp_path: Path) -> None:
    with served(PARTED, tmp_path) as setting:
        outcome = setting.fit()
        recipe, before = outcome.recipe, setting.booked()
        assert (recipe.way, recipe.arm) == ("route", "route_closed")
        assert recipe.route is not None
        assert recipe.route.elsewhere == "closed"
        shown = recipe.evidence.route
        assert shown is not None
        assert 0.25 <= shown.local <= 0.75
        assert recipe.evidence.score > 0.75
        assert any(line.startswith("a route: the expert alone answers") for line in setting.said)
        assert "the tuned small model where it is sure" in sentences(outcome)[0]
        assert setting.fit().recipe.toml() == recipe.toml()
        assert setting.booked() == before
    fresh = range(200, 240)
    with served(PARTED, tmp_path, numbers=fresh) as setting:
        task = fresh_task(recipe, setting.lines)
        with setting.connected() as api, AnswerStore(tmp_path / "checks.jsonl") as store:
            came = recheck(
                recipe, task, api=api, where="the script", opened=setting.opened(), store=store, telling=Telling()
            )
    assert came.holds
    assert came.local is not None
    assert came.local.value == pytest.approx(0.5)
    assert "50% were answered by the tuned small model alone" in came.sentence


def test_by_price_a_route_is_taken_where_it_is_not_shown_to_be_worse(tmp_path: Path) -> None:
    with served(PARTED, tmp_path) as setting:
        assert setting.fit(FitLimits(prefer="cost")).recipe.way in ("route", "expert")
