"""Sureness is calibrated on lines that it was not fitted to: never worse there than the constant, and right on many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.core.decoding.routing import ROUTE_FEATURES, Route
from blackbox_proxy.core.decoding.sureness import FOLDS, fit_sureness, folds_of, held_out_sureness


def lines(count: int, seed: int, *, slope: float) -> tuple[list[list[float]], list[float]]:
    """Answers whose chance of being right grows with their log-prob by `slope`, around one half."""
    rng = np.random.default_rng(seed)
    answer = -rng.exponential(2.0, count)
    rows = [[1.0, a, a / 2.0, -rng.random() / 10.0, rng.random()] for a in answer.tolist()]
    right = rng.random(count) < 1.0 / (1.0 + np.exp(-slope * (answer + 1.4)))
    return rows, right.astype(float).tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 4.0]))
def test_on_held_out_lines_it_is_never_worse_than_the_constant(count: int, seed: int, slope: float) -> None:
    rows, right = lines(count, seed, slope=slope)
    fit = fit_sureness(rows, right, seed=seed)
    assert fit.held_out <= fit.constant
    sure = [Route(0.5, "closed", fit.weights).sureness(row) for row in rows]
    assert all(0.0 <= one <= 1.0 for one in sure)


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 40), st.integers(0, 10_000), st.sampled_from([-2.0, 0.0, 2.0]))
def test_a_more_probable_answer_is_never_less_sure(count: int, seed: int, slope: float) -> None:
    """Even on lines where the less probable ones were right; and one that was cut is no surer than one that ended."""
    rows, right = lines(count, seed, slope=slope)
    route = Route(0.5, "closed", fit_sureness(rows, right, seed=seed).weights)
    for row in rows:
        for at in (1, 2, 3):
            worse = [value - 5.0 * (n == at) for n, value in enumerate(row)]
            assert route.sureness(worse) <= route.sureness(row)
        assert route.sureness([1.0, -30.0, -10.0, -10.0, row[4]]) <= route.sureness(row)


def test_what_hardly_varies_on_the_lines_has_little_weight() -> None:
    rows = [[1.0, -1.0, -0.5, -0.001 * (n % 2), 0.3] for n in range(40)]
    weights = dict(fit_sureness(rows, [float(n % 2 == 0) for n in range(40)]).weights)
    assert 0.0 <= weights["end"] < 1.0


def test_what_says_nothing_leaves_the_constant_and_few_lines_are_not_certain() -> None:
    fit = fit_sureness([[1.0, -1.0, -1.0, 0.0, 0.2]] * 12, [1.0] * 12)
    assert fit.penalty == np.inf
    assert Route(0.5, "closed", fit.weights).sureness([1.0, -9.0, -3.0, -1.0, 0.9]) == pytest.approx(12.5 / 13)
    none = fit_sureness([], [])
    assert Route(0.5, "closed", none.weights).sureness([1.0, 0.0, 0.0, 0.0, 0.0]) == 0.5


def test_on_many_lines_it_finds_the_slope() -> None:
    rows, right = lines(600, 3, slope=2.0)
    fit = fit_sureness(rows, right)
    assert fit.held_out < 0.8 * fit.constant
    route = Route(0.5, "closed", fit.weights)
    grid = [[1.0, a, a / 2.0, -0.05, 0.5] for a in (-4.0, -2.4, -1.4, -0.4, 0.0)]
    expected = [1.0 / (1.0 + np.exp(-2.0 * (row[1] + 1.4))) for row in grid]
    assert [route.sureness(row) for row in grid] == pytest.approx(expected, abs=0.12)


@settings(max_examples=15, deadline=None)
@given(st.integers(FOLDS, 30), st.integers(0, 1000))
def test_a_line_has_no_part_in_its_own_sureness(count: int, seed: int) -> None:
    """Its score turned over, and the folds the same: what it is given stays."""
    rows, right = lines(count, seed, slope=1.0)
    at = seed % count
    other = [1.0 - score if n == at else score for n, score in enumerate(right)]
    assert held_out_sureness(rows, right)[at] == held_out_sureness(rows, other)[at]


@given(st.integers(0, 50), st.integers(0, 50))
def test_each_line_is_held_out_once(count: int, seed: int) -> None:
    folds = folds_of(count, seed=seed)
    assert len(folds) == (FOLDS if count >= FOLDS else 0)
    if folds:
        assert np.sum(folds, axis=0).tolist() == [1] * count


def test_the_features_have_a_name_each() -> None:
    assert len(lines(1, 0, slope=0.0)[0][0]) == len(ROUTE_FEATURES)
