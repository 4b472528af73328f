"""Estimates against closed forms, and against answers that are played out by chance with the loop's own rule."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.decoding.drafting import next_length
from blackbox_proxy.core.money.amounts import Price, Rate, cost
from blackbox_proxy.core.money.estimating import (
    ASSUMED,
    EstimatePlan,
    Wording,
    acceptance_of,
    naive,
    one_by_one,
    windowed,
    worded,
    wording_of,
    work,
)
from blackbox_proxy.types import Usage

PRICE = Price(Rate(Decimal(2), ((1000, Decimal(4)),)), Rate(Decimal(8)), request=Decimal("0.001"))


def played(answer: int, *, acceptance: float, draft: int, chance: random.Random) -> list[tuple[int, int, int]]:
    """One answer: for each call (tokens before, tokens asked for, tokens kept)."""
    at, wanted, calls = 0, min(2, draft), []
    while at < answer:
        length = max(1, min(wanted, answer - at))
        same = next((n for n in range(length) if chance.random() >= acceptance), length)
        used = min(same + 1, length)
        calls.append((at, length, used))
        at, wanted = at + used, next_length(length, same, limit=draft)
    return calls


@pytest.mark.parametrize(("acceptance", "draft"), [(0.3, 8), (0.8, 8), (0.95, 16), (0.5, 1)])
def test_the_expected_work_is_the_mean_of_answers_by_chance(acceptance: float, draft: int) -> None:
    chance, answers = random.Random(7), 4000
    runs = [played(40, acceptance=acceptance, draft=draft, chance=chance) for _ in range(answers)]
    found = windowed(40, acceptance=acceptance, draft=draft)
    assert found.calls == pytest.approx(sum(map(len, runs)) / answers, rel=0.02)
    assert found.read == pytest.approx(sum(at for run in runs for at, _, _ in run) / answers, rel=0.02)
    assert found.written == pytest.approx(sum(length for run in runs for _, length, _ in run) / answers, rel=0.02)


@given(answer=st.integers(1, 60), draft=st.integers(1, 20), least=st.integers(1, 20))
def test_without_drafts_or_without_acceptance_there_is_a_call_for_each_token(
    answer: int, draft: int, least: int
) -> None:
    one = naive(answer, least=least)
    assert one == EstimatePlan(answer, answer, answer * (answer - 1) / 2, answer * least)
    assert windowed(answer, acceptance=0.7, draft=1, least=least).calls == pytest.approx(answer)
    never = windowed(answer, acceptance=0.0, draft=draft, least=least)
    assert (never.calls, never.read) == pytest.approx((one.calls, one.read))


def test_where_all_is_kept_drafts_double() -> None:
    """2 + 4 + 8 + 8 + 2 of 24 tokens."""
    assert windowed(24, acceptance=1.0, draft=8) == EstimatePlan(24, 5, 0 + 2 + 6 + 14 + 22, 24)


def test_work_is_billed_call_by_call() -> None:
    by_hand = [cost(Usage(input=10 + at, output=1), PRICE) for at in range(5)]
    found = work(naive(5), 10, PRICE)
    assert found.cost == sum(filter(None, by_hand), Decimal(0))
    assert found.cost is not None
    assert (found.calls, found.input, found.output) == (5, 60, 5)
    assert work(naive(5), 10, None).cost is None
    assert (found + work(naive(5), 10, None)).cost is None
    assert (found + found).cost == found.cost + found.cost


def test_the_tier_that_the_last_call_reaches_is_taken() -> None:
    assert work(naive(1), 999, PRICE).cost == Decimal("0.001") + Decimal(999 * 2 + 8).scaleb(-6)
    assert work(naive(2), 999, PRICE).cost == Decimal("0.002") + Decimal(1999 * 4 + 16).scaleb(-6)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_share_is_found_again_in_what_was_kept(share: float) -> None:
    chance = random.Random(3)
    runs = [played(60, acceptance=share, draft=8, chance=chance) for _ in range(400)]
    drafts = [(used, length - used) for run in runs for _, length, used in run]
    assert acceptance_of(drafts) == pytest.approx(share, abs=0.03)


def test_nothing_is_known_of_nothing() -> None:
    assert acceptance_of([]) is None
    assert acceptance_of([(0, 1), (1, 0)]) is None


FLAT = Price(Rate(Decimal(2)), Rate(Decimal(8)), Rate(Decimal("0.5")), Rate(Decimal(3)), request=Decimal("0.001"))
TIERED = replace(FLAT, input=PRICE.input, cached=Rate(Decimal("0.5"), ((990, Decimal(1)),)))


@given(
    plain=st.integers(0, 1100),
    cached=st.integers(0, 900),
    written=st.integers(0, 50),
    kept=st.integers(0, 12),
    price=st.sampled_from([FLAT, TIERED]),
)
def test_one_token_per_call_is_the_sum_of_its_calls(
    plain: int, cached: int, written: int, kept: int, price: Price
) -> None:
    """The first call reads and writes the cache as the reply did; the others read what stands there then."""
    used = Usage(input=plain + cached + written, cached=cached, cache_write=written, output=40)
    first = cost(replace(used, output=1), price)
    later = [cost(Usage(input=used.input + j, cached=cached + written, output=1), price) for j in range(1, kept)]
    by_hand = sum((one for one in ([first, *later] if kept else []) if one is not None), Decimal(0))
    assert one_by_one(used, kept=kept, price=price) == by_hand


@pytest.mark.parametrize("price", [FLAT, TIERED])
def test_counts_that_contradict_each_other_have_no_cost_at_one_token_per_call(price: Price) -> None:
    assert one_by_one(Usage(input=5, cached=6), kept=3, price=price) is None


def played_in_words(answer: int, wording: Wording, *, draft: int, chance: random.Random) -> int:
    """The requests of one answer that is asked for in words: first as a whole, then question by question."""
    at, wanted, calls = 0, answer, 0
    while at < answer:
        length = max(1, min(wanted, answer - at))
        same = next((n for n in range(length) if chance.random() >= wording.acceptance), length)
        calls += 1 + (at > 0 and chance.random() < wording.ways - 1.0)
        at, wanted = at + min(same + 1, length), next_length(length, same, limit=draft)
    return calls


@pytest.mark.parametrize("wording", [Wording(0.1, 1.8), Wording(0.6, 1.0), Wording(0.9, 1.3)])
def test_the_work_of_a_chat_in_words_is_the_mean_of_answers_by_chance(wording: Wording) -> None:
    chance, answers = random.Random(7), 4000
    calls = [played_in_words(40, wording, draft=8, chance=chance) for _ in range(answers)]
    assert worded(40, wording, draft=8).calls == pytest.approx(sum(calls) / answers, rel=0.03)


def test_a_chat_in_words_whose_draft_is_kept_is_one_call() -> None:
    found = worded(50, Wording(1.0, 3.0), draft=8)
    assert (found.calls, found.read, found.written) == (1, 0, 50)


def test_asking_in_words_takes_more_of_everything() -> None:
    alone, other = windowed(100, acceptance=0.1, draft=8), worded(100, ASSUMED, draft=8)
    assert other.calls > alone.calls
    assert other.read > alone.read
    assert other.written > 4 * alone.written, "all of the answer so far is written again with each question"


def test_what_asking_in_words_took_is_read_off_the_ledger() -> None:
    """Two questions behind the start: in two ways of which nothing was kept, and in one with a kept draft."""
    rows = [("r", 0, 3, 5), ("r", 3, None, None), ("r", 3, 0, 0), ("r", 4, 2, 1)]
    found = wording_of(rows)
    assert found is not None
    assert found.acceptance == pytest.approx(1 / 3)
    assert found.ways == 1.5
    assert wording_of([("r", 0, 3, 5)]) is None
    assert wording_of([]) is None
