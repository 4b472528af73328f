"""Bills, reservations and budgets, by hand and by distribution."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.money.amounts import (
    UNIT,
    Budget,
    Price,
    Rate,
    Spent,
    bound_of,
    charge,
    check_budget,
    cost,
    worst,
)
from blackbox_proxy.errors import InputError, OverBudget
from blackbox_proxy.types import Usage

PLAIN = Price(Rate(Decimal("0.15")), Rate(Decimal("0.6")), Rate(Decimal("0.075")))
TIERED = Price(
    Rate(Decimal("0.2"), ((272_000, Decimal("0.4")),)),
    Rate(Decimal("1.2"), ((272_000, Decimal("1.8")),)),
    Rate(Decimal("0.02"), ((272_000, Decimal("0.04")),)),
    Rate(Decimal("0.25"), ((272_000, Decimal("0.5")),)),
)

amounts = st.decimals(0, 1000, places=4)
tiers = st.lists(st.tuples(st.integers(1, 10**6), amounts), max_size=3, unique_by=lambda tier: tier[0]).map(
    lambda found: tuple(sorted(found))
)
rates = st.builds(Rate, amounts, tiers)
prices = st.builds(Price, rates, rates, st.none() | rates, st.none() | rates, amounts)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    read = draw(st.integers(0, 2 * 10**6))
    cached = draw(st.integers(0, read))
    return Usage(read, cached, draw(st.integers(0, read - cached)), draw(st.integers(0, 10**5)), 1)


@pytest.mark.parametrize(
    ("price", "usage", "dollars"),
    [
        (PLAIN, Usage(input=1000, output=100), "0.00021"),  # 1000 * .15 + 100 * .6 = 210 millionths
        (PLAIN, Usage(input=1000, cached=600, output=100), "0.000165"),  # 400 * .15 + 600 * .075 + 60 = 165
        (PLAIN, Usage(input=1000, cache_write=1000), "0.00015"),  # no row for writing: plain input
        (TIERED, Usage(input=272_000, output=1000), "0.0556"),  # at the start of a tier the base still holds
        (TIERED, Usage(input=272_001, output=1000), "0.1106004"),  # beyond it all tokens cost the tier's rate
        (TIERED, Usage(input=1000, cached=300, cache_write=500, output=10), "0.000183"),  # 200 * .2 + 6 + 125 + 12
        (Price(Rate(Decimal(0)), Rate(Decimal(0)), request=Decimal("0.005")), Usage(requests=1), "0.005"),
    ],
)
def test_bills_worked_out_by_hand(price: Price, usage: Usage, dollars: str) -> None:
    assert cost(usage, price) == Decimal(dollars)


def test_what_is_not_known_is_none() -> None:
    assert cost(Usage(input=5), None) is None
    assert worst(Usage(input=5), None) is None
    assert cost(Usage(input=5, cached=4, cache_write=2), PLAIN) is None


@given(price=prices, bound=usages(), data=st.data())
def test_no_request_costs_more_than_was_reserved(price: Price, bound: Usage, data: st.DataObject) -> None:
    used = data.draw(usages().filter(lambda one: one.input <= bound.input and one.output <= bound.output))
    paid, most = cost(used, price), worst(bound, price)
    assert paid is not None
    assert most is not None
    assert paid <= most
    assert charge(paid) <= charge(most)


@given(prices, st.lists(usages(), min_size=1, max_size=5))
def test_a_bill_is_exact(price: Price, used: list[Usage]) -> None:
    """Sums of bills lose nothing, whatever their order."""
    found = [cost(one, price) or Decimal(0) for one in used]
    assert sum(found, Decimal(0)) == sum(reversed(found), Decimal(0))
    assert all(one.as_tuple().exponent >= UNIT for one in found)  # type: ignore[operator]  # finite


@given(st.decimals(0, 10**6, places=15))
def test_a_charge_is_rounded_up_to_its_unit(amount: Decimal) -> None:
    found = Decimal(charge(amount)).scaleb(UNIT)
    assert amount <= found < amount + Decimal(1).scaleb(UNIT)


@given(limit=st.decimals(0, 10, places=3), reserves=st.lists(st.integers(0, 10**13), max_size=30))
def test_what_is_let_through_never_passes_a_budget(limit: Decimal, reserves: list[int]) -> None:
    """And whatever could still be paid for is let through."""
    spent = Spent()
    for reserve in reserves:
        try:
            check_budget(Budget(max_cost=limit), spent, reserve=reserve)
        except OverBudget:
            assert spent.charge + reserve > limit.scaleb(12)
        else:
            spent = Spent(spent.charge + reserve, spent.calls + 1)
    assert spent.charge <= limit.scaleb(12)


@pytest.mark.parametrize(("limit", "allowed"), [(0, 0), (1, 1), (3, 3)])
def test_a_budget_of_calls_allows_so_many(limit: int, allowed: int) -> None:
    for calls in range(allowed):
        check_budget(Budget(max_calls=limit), Spent(0, calls), reserve=10**20)
    with pytest.raises(OverBudget, match=rf"budget of {limit} calls per run is used up"):
        check_budget(Budget(max_calls=limit), Spent(0, allowed), reserve=0)


def test_a_refusal_says_what_was_asked_for_and_what_is_left() -> None:
    with pytest.raises(OverBudget, match=r"may cost 0\.002 USD, and of the budget of 0\.01 USD per day 0\.001 USD"):
        check_budget(Budget(max_cost=Decimal("0.01"), per="day"), Spent(9 * 10**9), reserve=2 * 10**9)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"max_cost": Decimal(-1)}, {"max_cost": Decimal("NaN")}, {"max_calls": -1}, {"max_calls": 1, "per": "week"}],
)
def test_a_budget_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="budget"):
        Budget(**wrong)  # type: ignore[arg-type]  # that is what is tested


def test_a_tag_is_a_key_and_a_value() -> None:
    assert Budget(max_calls=1, per="project=a=b").tag == ("project", "a=b")
    assert Budget(max_calls=1, per="day").tag is None


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 16}, 16),
        ({"max_output_tokens": 16}, 16),
        ({"n_predict": 3}, 3),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"prompt": "no length"}, 5),
    ],
)
def test_a_request_is_bounded_by_its_bytes_and_by_what_it_asks_for(body: dict[str, object], output: int) -> None:
    assert bound_of(body, 99, length=5) == Usage(input=99, output=output)
