"""Intervals and tests on scores whose truth is known, with scipy as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from blackbox_proxy.evaluation.statistics import chance, gap_closed, mean, paired

SCORES = st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=60)
ITEM = 1.01
"""How far two bootstraps of 10,000 draws may lie apart, in items: means of so many 0 and 1 are steps of one."""


@pytest.mark.parametrize(("right", "of"), [(30, 60), (140, 150), (3, 40)])
def test_an_interval_is_the_bootstraps(right: int, of: int) -> None:
    scores = [1.0] * right + [0.0] * (of - right)
    found = mean(scores)
    oracle = stats.bootstrap(
        (scores,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(7)
    ).confidence_interval
    assert found is not None
    assert (found.value, found.n) == (right / of, of)
    assert found.low == pytest.approx(oracle.low, abs=ITEM / of)
    assert found.high == pytest.approx(oracle.high, abs=ITEM / of)


@pytest.mark.parametrize("n", [1, 40, 150])
def test_where_all_scores_are_equal_the_interval_is_wilsons(n: int) -> None:
    for right in (0, n):
        oracle = stats.binomtest(right, n).proportion_ci(method="wilson")
        found = mean([float(right > 0)] * n)
        assert found is not None
        assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=1e-6)


@given(scores=SCORES)
def test_an_interval_holds_its_mean_and_stays_in_its_range(scores: list[float]) -> None:
    found = mean(scores)
    assert found is not None
    assert 0.0 - 1e-12 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1.0 + 1e-12
    assert found.low < found.high


def test_there_is_no_mean_of_nothing() -> None:
    assert mean([]) is None
    assert paired([], []) is None


@pytest.mark.parametrize(("more", "fewer"), [(0, 0), (5, 0), (9, 2), (30, 25), (2, 9)])
def test_the_chance_of_right_and_wrong_is_mcnemars(more: int, fewer: int) -> None:
    gaps = [1.0] * more + [-1.0] * fewer + [0.0] * 20
    oracle = stats.binomtest(more, more + fewer).pvalue if more + fewer else 1.0
    assert chance(gaps) == pytest.approx(oracle)


def test_the_chance_of_other_scores_is_that_of_their_signs() -> None:
    rng = np.random.default_rng(3)
    gaps = np.round(rng.normal(0.12, 0.4, 50), 2)
    oracle = stats.permutation_test(
        (gaps,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(5)
    )
    assert chance(gaps.tolist()) == pytest.approx(oracle.pvalue, abs=0.015)


def test_a_paired_difference_is_sharper_than_two_means() -> None:
    """Both are right on the same half, but for ten items that only one is right on."""
    other = [1.0] * 70 + [0.0] * 80
    one = [1.0] * 80 + [0.0] * 70
    found, alone = paired(one, other), mean(one)
    assert found is not None
    assert alone is not None
    assert found.value == pytest.approx(10 / 150)
    assert found.low > 0.0
    assert found.high - found.low < alone.high - alone.low
    oracle = stats.bootstrap(
        (np.subtract(one, other),), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=ITEM / 150)


def test_of_equal_answers_the_difference_is_none_but_not_for_sure() -> None:
    found = paired([1.0, 0.0] * 20, [1.0, 0.0] * 20)
    assert found is not None
    assert (found.value, found.p) == (0.0, 1.0)
    assert -0.1 < found.low < 0.0 < found.high < 0.1


def test_arms_of_unequal_length_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired([1.0], [1.0, 0.0])


def test_the_gap_that_is_closed() -> None:
    closed, tuned = [0.0] * 60 + [1.0] * 40, [0.0] * 20 + [1.0] * 80
    steered = [0.0] * 40 + [1.0] * 60
    found = gap_closed(steered, closed, tuned)
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.n == 100
    assert 0.3 < found.low < 0.5 < found.high < 0.7


def test_without_a_gap_nothing_is_closed() -> None:
    assert gap_closed([1.0, 0.0], [1.0, 0.0], [0.0, 1.0]) is None
    assert gap_closed([], [], []) is None


def test_a_steered_model_that_equals_the_tuned_one_closes_all_of_it() -> None:
    closed, tuned = [0.0] * 60 + [1.0] * 40, [0.0] * 20 + [1.0] * 80
    found = gap_closed(tuned, closed, tuned)
    assert found is not None
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
