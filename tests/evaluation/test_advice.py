"""What an evaluation comes to: what chance could have done is called undecided, and what is cheapest is named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.evaluation.advice import advice
from blackbox_proxy.evaluation.summary import ArmAnswers
from tests.evaluation.arms_of import scored


def said(*arms: ArmAnswers, costs: Mapping[str, float | None] | None = None, items: int = 1000) -> str:
    known = {arm.arm.name: 0.001 for arm in arms} | dict(costs or {})
    return " ".join(advice(arms, {name: {"cost_usd_per_answer": cost} for name, cost in known.items()}, items=items))


def few(n: int) -> bool:
    return n < 4


def some(n: int) -> bool:
    return n < 6


def test_ten_items_that_decide_nothing_say_so_and_what_is_cheapest() -> None:
    text = said(scored("closed", 10, few), scored("steered", 10, some), costs={"closed": 0.00001})
    assert text.startswith(
        "10 items decide nothing; the best so far is steered (0.60, 1 USD per 1,000 answers); "
        "the cheapest that cannot be told from it is closed (0.40, 0.01 USD per 1,000 answers)."
    )
    assert "items would tell it from closed, were the difference to stay +0.20; the task has 1,000" in text


def test_the_best_may_be_the_cheapest() -> None:
    text = said(scored("closed", 10, few), scored("steered", 10, some), costs={"steered": 0.0}, items=10)
    assert text.startswith("10 items decide nothing; the best so far and the cheapest is steered (0.60, 0 USD")
    assert "the task has no more" in text


def test_ten_items_may_decide_where_the_difference_is_large() -> None:
    text = said(scored("closed", 10, lambda _: False), scored("steered", 10, lambda _: True))
    assert text.startswith("On 10 items the best and the cheapest of those near it is steered (1.00,")
    assert "It is better than closed." in text
    assert "decide nothing" not in text


def test_many_comparisons_need_more_than_one() -> None:
    """Six of six differences in its favour: p is 0.031, which is not enough where five arms are held against it."""
    arms = [scored(f"arm{n}", 6, lambda _: False) for n in range(5)]
    assert "decide nothing" in said(scored("steered", 6, lambda _: True), *arms)
    assert "decide nothing" not in said(scored("steered", 6, lambda _: True), arms[0])


def test_the_cheapest_is_one_that_cannot_be_told_from_the_best() -> None:
    worse, near, best = (
        scored("closed", 100, few),
        scored("few", 100, lambda n: n < 60),
        scored("s", 100, lambda n: n < 62),
    )
    text = said(worse, near, best, costs={"closed": 0.0, "few": 0.0005})
    assert "the cheapest that cannot be told from it is few (0.60, 0.5 USD" in text
    assert "It is better than closed. It cannot be told from few." in text


def test_a_price_that_nobody_knows_is_never_the_cheapest() -> None:
    text = said(scored("closed", 10, some), scored("steered", 10, few), costs={"closed": None})
    assert "the best so far is closed (0.60, at an unknown price); the cheapest" in text
    assert "is steered (0.40, 1 USD per 1,000 answers)" in text


@pytest.mark.parametrize(
    ("arms", "says"),
    [
        ([], "No item was answered"),
        ([scored("closed", 0, few)], "No item was answered"),
        ([scored("closed", 7, few)], "closed (0.57, 1 USD per 1,000 answers) was asked alone"),
        (
            [scored("closed", 7, lambda _: False), scored("steered", 7, lambda _: False)],
            "No arm answered any of 7 items",
        ),
        ([scored("steered_alpha_0", 7, few)], "No item was answered"),
        ([scored("closed", 20, few), scored("majority", 20, few)], "always giving the most common answer"),
    ],
)
def test_what_there_is_too_little_of_is_said(arms: list[ArmAnswers], says: str) -> None:
    assert says in said(*arms)


def test_an_arm_of_fewer_questions_is_held_against_on_those_that_both_answered() -> None:
    """On its ten the long one is right nine times: the short one's 0.80 is no better score."""
    long, short = scored("steered", 100, lambda n: n < 50 and n != 3), scored("few", 10, lambda n: n < 8)
    assert "the best so far and the cheapest is steered" in said(long, short, costs={"steered": 0.0})


@settings(max_examples=60)
@given(rows=st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=2, max_size=4))
def test_the_best_is_passed_by_none(rows: list[list[bool]]) -> None:
    arms = [scored(f"arm{at}", len(row), row.__getitem__) for at, row in enumerate(rows)]
    text = said(*arms)
    most = max(map(sum, rows))
    if most:
        assert any(f" arm{at} (" in text for at, row in enumerate(rows) if sum(row) == most)
