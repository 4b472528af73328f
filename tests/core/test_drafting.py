"""The length of the next window follows how much of the last one was kept; the planner chooses by what it saw."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.decoding.drafting import DRAFTERS, CostRatios, Drafter, Plan, Planner, Seen, Sent, next_length
from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Prefer
from blackbox_proxy.types import Usage

lengths = st.integers(1, 256)


@given(length=lengths, kept=lengths, limit=lengths)
def test_a_draft_is_never_empty_and_never_over_the_limit(length: int, kept: int, limit: int) -> None:
    assert 1 <= next_length(length, min(kept, length), limit=limit) <= limit


@given(length=lengths, limit=lengths, data=st.data())
def test_more_kept_never_means_less_asked_for(length: int, limit: int, data: st.DataObject) -> None:
    fewer = data.draw(st.integers(0, length))
    more = data.draw(st.integers(fewer, length))
    assert next_length(length, fewer, limit=limit) <= next_length(length, more, limit=limit)


def test_a_model_that_is_never_changed_is_asked_for_the_limit_after_a_few_rounds() -> None:
    length, rounds = 1, 0
    while length < 64:
        length, rounds = next_length(length, length, limit=64), rounds + 1
    assert rounds == 6


def test_after_a_change_as_much_is_asked_for_as_was_of_use() -> None:
    """The kept tokens and the changed one."""
    assert next_length(16, 5, limit=32) == 6


def test_a_model_that_is_always_changed_is_asked_for_one_token() -> None:
    assert next_length(16, 0, limit=16) == 1


FLAT = CostRatios(1.0, 1.0, 1.0)
prefers: st.SearchStrategy[Prefer] = st.sampled_from(["cost", "latency", "balanced"])
flags = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=40)
cans: st.SearchStrategy[set[Drafter]] = st.sets(st.sampled_from(DRAFTERS), min_size=1)


def taught(prefer: Prefer, prices: CostRatios, seen: list[tuple[bool, bool, bool]]) -> Planner:
    """A planner that saw tokens: the API would have drafted them, the pair guessed them, they were the last."""
    planner = Planner(prefer=prefer, prices=prices)
    for drafted, guessed, last in seen:
        planner.saw(Seen(drafted, guessed, sure=True, last=last))
    return planner


@given(prefer=prefers, seen=flags, can=cans, limit=st.integers(1, 20))
def test_a_plan_is_one_that_can_be_carried_out(
    prefer: Prefer, seen: list[tuple[bool, bool, bool]], can: set[Drafter], limit: int
) -> None:
    plan = taught(prefer, FLAT, seen).plan(can, limit=limit)
    assert plan.drafter in can
    assert 1 <= plan.length <= limit


@pytest.mark.parametrize("prefer", ["cost", "latency", "balanced"])
def test_who_is_always_kept_drafts_as_much_as_it_may(prefer: Prefer) -> None:
    by_api = taught(prefer, FLAT, [(True, False, False)] * 100)
    assert by_api.plan(["api", "pair_prefixes"], limit=16) == Plan("api", 16, 16)
    by_pair = taught(prefer, FLAT, [(False, True, False)] * 100)
    by_pair.paid(Plan("pair_echo", 8), Sent(1, 8, 1), Usage(input=100, output=1, requests=1), seconds=0.3)
    plan = by_pair.plan(DRAFTERS, limit=16)
    assert (plan.drafter, plan.length) == ("pair_echo", 16)


def test_who_is_never_kept_drafts_as_little_as_it_may() -> None:
    assert taught("cost", FLAT, [(False, False, False)] * 100).plan(["api"], limit=16) == Plan("api", 1, 1)


def test_a_list_of_prompts_buys_latency_and_not_money() -> None:
    """The pair guesses nine of ten: at the price of so many prompts the API's own draft is cheaper, and slower."""
    seen = [(n % 2 == 0, n % 10 != 0, False) for n in range(200)]
    plans = {
        prefer: taught(prefer, FLAT, seen).plan(["api", "pair_prefixes"], limit=16) for prefer in ("cost", "latency")
    }
    assert plans["cost"].drafter == "api"
    assert plans["latency"].drafter == "pair_prefixes"


def test_what_a_call_took_decides_what_the_next_one_is() -> None:
    """Echoes that take ten seconds are not asked for where time counts."""
    planner = taught("latency", FLAT, [(False, True, False)] * 50)
    planner.paid(Plan("api", 1), Sent(1, 0, 1), Usage(input=100, output=1, requests=1), seconds=0.2)
    for _ in range(3):
        planner.paid(Plan("pair_echo", 8), Sent(1, 8, 1), Usage(input=108, output=1, requests=1), seconds=10.0)
    assert planner.plan(["api", "pair_echo"], limit=8).drafter == "api"


def test_the_price_of_cached_tokens_counts_as_far_as_they_are_cached() -> None:
    """An API's draft of which half is kept, and a guess that is; windows read nothing anew, echoes all."""
    seen = [(n % 2 == 0, n % 4 != 0, False) for n in range(200)]
    found = []
    for cached in (0, 400):
        planner = taught("cost", CostRatios(1.0, 0.01, 1.0), seen)
        planner.paid(Plan("api", 2), Sent(1, 0, 2), Usage(input=400, cached=cached, output=2, requests=1), seconds=0.2)
        found.append(planner.plan(["api", "pair_echo"], limit=8).drafter)
    assert found == ["pair_echo", "api"]


def test_prices_tell_what_was_read_anew() -> None:
    usage = Usage(input=100, cached=40, output=3, requests=1)
    assert CostRatios(2.0, 1.0, 10.0).of(usage) == 60 * 2.0 + 40 * 1.0 + 3 * 10.0


def test_prices_and_aims_are_checked() -> None:
    with pytest.raises(InputError, match="prices"):
        CostRatios(-1.0, 0.0, 0.0)
    with pytest.raises(InputError, match="prefer"):
        Planner(prefer="speed")  # type: ignore[arg-type]


def test_text_that_is_written_again_with_each_call_makes_calls_dear() -> None:
    """As where a schema demands the answer so far: many prompts cost their text, and a draft is output."""
    plain, again = Planner(prefer="cost"), Planner(prefer="cost")
    for planner, written in ((plain, 4), (again, 44)):
        planner.paid(Plan("api", 4), Sent(1, 0, 4), Usage(input=100, output=written), seconds=1.0)
        for _ in range(40):
            planner.saw(Seen(drafted=False, guessed=True, sure=True))
    for drafter in DRAFTERS:
        assert (again.cost(drafter) > plain.cost(drafter)).all()
    assert again.cost("pair_prefixes").min() > 2 * again.cost("pair_echo").min()
    assert again.plan(DRAFTERS, limit=16).drafter == "pair_echo"
