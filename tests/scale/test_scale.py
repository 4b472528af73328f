"""docs/scale.md: its figures are what is reckoned and simulated, from figures that stand where they were measured."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.documents import DOCS, ROOT
from tests.scale.arithmetic import DEMO, FIGURES, HALF, MeasuredFigure, busy_share_of_a_budget, ceilings, core_seconds
from tests.scale.crowd import CALL_SECONDS, CALLS, CrowdPlan
from tests.scale.tables import FAIRNESS, GATES, LIMITS, RECKONED, SIMULATED, in_fresh_folder

PAGE = (DOCS / "scale.md").read_text(encoding="utf-8")
UNITS = {0.1: "100"}
"""Figures that a page has in another unit: milliseconds."""


def part(name: str) -> str:
    """What stands between the comments of a name."""
    found = re.search(rf"<!-- {name} -->\n\n(.*?)\n\n<!-- end of {name} -->", PAGE, flags=re.DOTALL)
    assert found, name
    return found[1]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.words)
def test_a_measured_figure_stands_where_it_was_measured(figure: MeasuredFigure) -> None:
    text = " ".join((ROOT / figure.page).read_text(encoding="utf-8").split())
    assert figure.words in text
    said = UNITS.get(figure.value, f"{figure.value:,g}")
    assert said in figure.words or (figure.value == 2 and "two" in figure.words)


@pytest.mark.parametrize("name", RECKONED)
def test_what_is_reckoned_is_what_the_page_says(name: str) -> None:
    assert part(name) == RECKONED[name]()


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMULATED)
def test_what_is_simulated_is_what_the_page_says(name: str) -> None:
    """Each plan anew, by the gate, the limits and the retries of now."""
    assert part(name) == SIMULATED[name](in_fresh_folder)


def test_the_page_has_no_other_tables() -> None:
    assert set(re.findall(r"<!-- (?!end of )(\w+) -->", PAGE)) == set(RECKONED) | set(SIMULATED)
    assert len(GATES) + len(LIMITS) + len(FAIRNESS) * 2 == sum(part(name).count("\n") - 1 for name in SIMULATED)


def test_ceilings_are_in_order_and_a_slower_pair_lowers_its_own() -> None:
    demo, half = ceilings(DEMO), ceilings(HALF)
    assert [row.answers for row in demo] == sorted(row.answers for row in demo)
    lower = {row.what for row, other in zip(demo, half, strict=True) if other.answers < row.answers}
    assert len(lower) == 2, "the pair, and the Python beside it"
    assert core_seconds(HALF) > core_seconds(DEMO)


def test_the_sum_of_a_budget_takes_all_the_time_sooner_where_calls_are_more() -> None:
    assert busy_share_of_a_budget(2.0, 1.0) == pytest.approx(4 * busy_share_of_a_budget(1.0, 1.0))


PLANS = st.builds(
    CrowdPlan,
    clients=st.fixed_dictionaries({"many": st.integers(1, 12), "few": st.integers(1, 3)}),
    at_once=st.integers(1, 6),
    queue=st.integers(0, 12),
    limit=st.none() | st.integers(20, 200),
    tells=st.booleans(),
    key_limit=st.none() | st.integers(1, 10),
)


@settings(max_examples=15)
@given(PLANS)
def test_every_client_has_one_end_and_every_call_is_somebodys(plan: CrowdPlan) -> None:
    one = in_fresh_folder(plan)
    assert len(one.ends) == sum(plan.clients.values())
    assert one.calls - one.refused_calls == CALLS * one.count("answered") + one.lost
    assert all(seconds >= CALLS * CALL_SECONDS - 1e-6 for seconds in one.waits())
    if plan.limit is None:
        assert (one.count("broken off"), one.refused_calls) == (0, 0)
        last = 1.0 + max(end.seconds for end in one.ends)
        assert one.calls * CALL_SECONDS <= plan.at_once * last, "no more calls at a time than answers"
    if plan.key_limit is None:
        assert one.count("over the key's limit") == 0
        assert one.count("sent away") == 0 or one.count("answered") >= plan.at_once
    else:
        times = 1 + int(max(end.seconds for end in one.ends) // 60)
        assert all(one.count("answered", key=key) <= plan.key_limit * times for key in plan.clients)


def test_it_comes_out_alike_each_time() -> None:
    plan = CrowdPlan({"a": 30, "b": 5}, at_once=4, queue=10, limit=120, tells=False)
    assert in_fresh_folder(plan) == in_fresh_folder(plan)


def test_more_than_the_upstream_allows_is_lost_and_what_it_allows_is_not() -> None:
    """The rule of the page, small: 120 calls a minute, half a second a call."""
    crowd = {"all": 40}
    greedy = in_fresh_folder(CrowdPlan(crowd, at_once=20, queue=40, limit=120))
    patient = in_fresh_folder(CrowdPlan(crowd, at_once=1, queue=40, limit=120))
    assert greedy.count("broken off") > 0
    assert patient.count("answered") == 40
