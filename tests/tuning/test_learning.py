"""The learning curve: how clear a fall is, when more lines would help, and what the record says of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.tuning.learning import HeldLoss, curve_of, fall, mean_loss
from blackbox_proxy.tuning.record import TuningFindings

LINES = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50), st.integers(1, 40)), min_size=2, max_size=20)


def held(*nats: float) -> list[HeldLoss]:
    return [HeldLoss(10 * one, 10) for one in nats]


@given(LINES)
def test_a_fall_is_the_difference_of_the_means_and_turns_its_sign_with_the_order(
    lines: list[tuple[float, float, int]],
) -> None:
    before = [HeldLoss(one, tokens) for one, _, tokens in lines]
    after = [HeldLoss(other, tokens) for _, other, tokens in lines]
    mean, error = fall(before, after)
    assert mean == pytest.approx(mean_loss(before) - mean_loss(after))
    assert fall(after, before) == pytest.approx((-mean, error), abs=1e-9)
    assert fall(before, before)[1] == 0


def test_of_one_held_line_nothing_is_clear() -> None:
    curve = curve_of([20, 40, 80], [held(3.0), held(2.0), held(1.0)])
    assert curve.error == math.inf
    assert not curve.more_lines_help
    assert "error" not in TuningFindings(learning=curve).tables()["curve"]


@pytest.mark.parametrize(
    ("half", "all_lines", "helps"),
    [
        ((2.0, 2.1, 1.9, 2.2), (1.0, 1.2, 0.9, 1.1), True),
        ((1.0, 1.2, 0.9, 1.1), (0.99, 1.19, 0.89, 1.09), False),  # clear, and not worth a sentence
        ((3.0, 0.1, 2.0, 0.5), (1.0, 1.4, 0.2, 1.9), False),  # large, and not clear
        ((1.0, 1.2, 0.9, 1.1), (2.0, 2.1, 1.9, 2.2), False),
    ],
)
def test_more_lines_help_where_the_last_fall_is_clear_and_worth_it(
    half: Sequence[float],
    all_lines: Sequence[float],
    helps: bool,  # noqa: FBT001 (a parameter of the table)
) -> None:
    curve = curve_of([20, 40, 80], [held(3.0, 3.0, 3.0, 3.0), held(*half), held(*all_lines)])
    assert curve.more_lines_help == helps
    begin = "more lines would help: " if helps else "no sign that more lines would help; "
    assert curve.sentence().startswith(begin)
    table = TuningFindings(learning=curve).tables()["curve"]
    assert table["lines"] == (20, 40, 80)
    assert table["more_lines_help"] == helps
