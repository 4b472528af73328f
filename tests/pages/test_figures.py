"""Figures as they are written: what a person reads is what the program says, as near as there are digits."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blackbox_proxy.pages.figures import dollars, money, ratio, seconds, share


@given(st.decimals(0, 10**9, places=9))
@example(Decimal("9.714500001"))
def test_dollars_are_right_to_four_digits_or_to_the_cent(amount: Decimal) -> None:
    shown = Decimal(dollars(amount).removeprefix("$").replace(",", ""))
    assert abs(shown - amount) <= (Decimal("0.005") if amount >= 1 else amount * Decimal("0.0005"))
    assert bool(shown) == bool(amount)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (money(None).text, '<span class="none">\u2013</span>'),
        (money(None, more=True).text, '<span class="none">unknown</span>'),
        (money(Decimal("2.50"), more=True).text, '<data value="2.5">$2.50</data> + ?'),
        (share(0.1234).text, '<data value="0.1234">12.3%</data>'),
        (share(None).text, '<span class="none">\u2013</span>'),
        (ratio(1234.56).text, '<data value="1234.56">1,234.6</data>'),
        (seconds(599.9).text, '<data value="599.9">599.9 s</data>'),
        (seconds(601.0).text, '<data value="601.0">10 min</data>'),
        (seconds(3.6e6).text, '<data value="3600000.0">1,000 h 0 min</data>'),
    ],
)
def test_figures_are_written_so(found: str, text: str) -> None:
    assert found == text
