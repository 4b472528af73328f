"""Bounds: which numbers lie inside, and how they are said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.bounds import Bounds

numbers = st.one_of(st.floats(allow_nan=True), st.integers(-(10**400), 10**400))


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (Bounds(), (0, -1e300, 10**300), (math.inf, -math.inf, math.nan)),
        (Bounds(1), (1, 7.5), (0.999, math.inf, math.nan)),
        (Bounds(0, above=True), (1e-300,), (0.0, -1)),
        (Bounds(0, 1), (0, 0.5, 1), (-1e-9, 1.1, 10**400)),
        (Bounds(0, 0.5, below=True), (0, 0.49), (0.5,)),
    ],
)
def test_the_borders_are_those_that_are_declared(
    bounds: Bounds, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    assert all(bounds.hold(value) for value in inside)
    assert not any(bounds.hold(value) for value in outside)


@given(numbers)
def test_nothing_lies_in_bounds_that_is_no_number(value: float) -> None:
    assert Bounds().hold(value) == (isinstance(value, int) or math.isfinite(value))


@given(numbers)
def test_an_open_border_leaves_out_itself_alone(value: float) -> None:
    assert Bounds(0, 1, above=True, below=True).hold(value) == (Bounds(0, 1).hold(value) and value not in (0, 1))
