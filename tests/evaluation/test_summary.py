"""Figures of constructed answers: scores, intervals, tests, costs and shares that can be counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.arms import Arm
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.statistics import mean
from blackbox_proxy.evaluation.summary import ArmAnswers, figures, given, majority
from blackbox_proxy.evaluation.task import Item, Task, read_task
from tests.evaluation.tasks import item, written

COST = Decimal("0.0003")


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A task of a hundred questions."""
    return read_task(written(tmp_path / "towns", parts={"test": [item(n) for n in range(100, 200)]}))


def answered(task: Task, name: str, right: Callable[[int], bool], *, cost: Decimal | None = COST) -> ArmAnswers:
    """An arm that is right on some questions, and says another town in the form on the others."""
    n, steered = len(task.test), name == "steered"
    arm = Arm(name, "steered" if steered else "closed", n, alpha=1.5, looks="wrong" if steered else None)
    texts = [(one, one.reference if right(n) else "answer: X | n=0") for n, one in enumerate(task.test)]
    asked = [(one, _answer(one, name, text, cost)) for one, text in texts]
    return given(arm, asked, scorer(task.scorer))


def _answer(one: Item, arm: str, text: str, cost: Decimal | None) -> KeptAnswer:
    plain = KeptAnswer("k", "towns", one.name, arm, text, seconds=2.0, cost=cost, calls=3)
    return replace(plain, tokens=10, changed=5, outside=4, certified=1, off=9.0) if arm == "steered" else plain


def summed(task: Task, *arms: ArmAnswers) -> dict[str, Any]:
    return figures(task, arms, task.test, places={})


def test_an_arms_figures(task: Task) -> None:
    figured = summed(task, answered(task, "closed", lambda n: n < 60))["closed"]
    interval = mean([1.0] * 60 + [0.0] * 40)
    assert interval is not None
    assert (figured["score"], figured["n"], figured["errors"]) == (0.6, 100, 0)
    assert (figured["low"], figured["high"]) == (round(interval.low, 4), round(interval.high, 4))
    assert (figured["cost_usd"], figured["cost_usd_per_answer"]) == (0.03, 0.0003)
    assert (figured["seconds_per_answer"], figured["seconds_median"], figured["calls_per_answer"]) == (2.0, 2.0, 3.0)
    assert figured["in_form"] == 1.0


def test_one_unknown_cost_makes_the_sum_unknown(task: Task) -> None:
    arm = answered(task, "closed", lambda n: n < 60, cost=None)
    figured = summed(task, arm)["closed"]
    assert (figured["cost_usd"], figured["cost_usd_per_answer"]) == (None, None)


def test_tests_are_over_the_questions_that_both_answered(task: Task) -> None:
    steered = answered(task, "steered", lambda n: n < 80)
    few = answered(task, "closed_few_shot", lambda n: 10 <= n < 70)
    only = ArmAnswers(few.arm, few.answers, {name: few.scores[name] for name in list(few.scores)[:50]}, 0)
    figured = summed(task, steered, few)["tests"]
    assert figured.keys() == {"vs_few_shot"}
    assert (figured["vs_few_shot"]["difference"], figured["vs_few_shot"]["n"]) == (0.2, 100)
    assert figured["vs_few_shot"]["low"] > 0.1
    assert figured["vs_few_shot"]["p"] == float(f"{binomtest(20, 20).pvalue:.3g}")
    part = summed(task, steered, only)["tests"]["vs_few_shot"]
    assert (part["difference"], part["n"]) == (0.2, 50)


def test_errors_are_counted_and_score_nothing(task: Task) -> None:
    failed = KeptAnswer("k", "towns", task.test[0].name, "closed", error="no network")
    asked = [(task.test[0], failed), (task.test[1], None), (task.test[2], _answer(task.test[2], "closed", "x", COST))]
    figured = summed(task, given(Arm("closed", "closed", 3), asked, scorer(task.scorer)))["closed"]
    assert (figured["n"], figured["errors"], figured["score"]) == (1, 1, 0.0)


def test_whole_answers_say_how_good_the_best_choice_could_be(task: Task) -> None:
    """Of 100 questions the choice is right in 60, some sample in 75, and in 25 none is."""
    name = "steered_answers"
    asked = []
    for n, one in enumerate(task.test):
        samples = ("answer: X | n=0", one.reference if n < 75 else "answer: Y | n=0")
        answer = _answer(one, name, one.reference if n < 60 else samples[0], COST)
        asked.append((one, replace(answer, samples=samples)))
    sums = summed(task, given(Arm(name, "steered", 100, alpha=1.5, draws=2), asked, scorer(task.scorer)))[name]
    assert (sums["score"], sums["some"], sums["none_right"], sums["draws"]) == (0.6, 0.75, 0.25, 2)
    assert "some" not in summed(task, answered(task, "closed", lambda n: n < 60))["closed"]


def test_the_exactness_and_the_ceiling_of_the_steered_arm(task: Task) -> None:
    steered = answered(task, "steered", lambda n: n < 98)
    said = [
        KeptAnswer("k", "towns", task.test[98].name, "in_place", " Y", shown=False),
        KeptAnswer("k", "towns", task.test[99].name, "in_place", " T199 |", shown=True),
    ]
    figured = figures(task, [steered], task.test, places={one.item: one for one in said})
    ceiling: Any = figured["ceiling"]
    assert (ceiling["wrong"], ceiling["of"]) == (2, 100)
    assert {name: share for name, share in ceiling.items() if share} == {
        "wrong": 2,
        "of": 100,
        "not_shown": 0.5,
        "overruled": 0.5,
    }
    of_steered: Any = figured["steered"]
    assert of_steered["exactness"] == {
        "tokens": 1000,
        "changed": 0.5,
        "outside": 0.4,
        "outweighed": 0.0,
        "certified": 0.1,
        "off": 0.9,
        "exact": 1.0,
    }
    assert of_steered["alpha"] == 1.5


def test_the_gap_needs_a_tuned_model(task: Task) -> None:
    closed = answered(task, "closed", lambda n: n < 20)
    steered = answered(task, "steered", lambda n: n < 50)
    assert summed(task, closed, steered)["gap_closed"] is None
    figured = summed(task, closed, steered, answered(task, "closed_tuned", lambda n: n < 80))["gap_closed"]
    assert (figured["value"], figured["n"]) == (0.5, 100)
    assert figured["low"] < 0.5 < figured["high"]


def test_the_majority_is_of_train_and_is_scored_on_test(tmp_path: Path) -> None:
    parts = {
        "train": [{"prompt": f"t{n}", "reference": text} for n, text in enumerate("abb")],
        "test": [{"prompt": f"p{n}", "reference": text} for n, text in enumerate("aaab")],
    }
    task = read_task(written(tmp_path / "t", rest="", parts=parts))
    figured = majority(task, task.test, scorer(task.scorer))
    assert {answer.text for answer in figured.answers.values()} == {"b"}
    assert sum(figured.scores.values()) == 1
