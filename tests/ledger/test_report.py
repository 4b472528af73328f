"""Figures by group, each with a definition, and the rows as CSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import fields, replace
from decimal import Decimal
from typing import cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.money.amounts import Price, Rate, cost
from blackbox_proxy.ledger.export import write_csv, write_jsonl
from blackbox_proxy.ledger.report import DEFINITIONS, NAMES, By, Figures, figures, report
from blackbox_proxy.ledger.rows import LedgerRow, price_of, price_text
from blackbox_proxy.types import Usage

PRICE = Price(Rate(Decimal("2.5")), Rate(Decimal(10)), Rate(Decimal("0.25")), source="a test")
RATES = st.builds(
    Rate,
    st.decimals(0, 100, places=6),
    st.lists(st.tuples(st.integers(1, 10**6), st.decimals(0, 100, places=6)), max_size=2).map(tuple),
)
ROW = LedgerRow(
    id=1,
    run="r1",
    step=0,
    attempt=1,
    at="2026-11-24T12:00:00.000+00:00",
    provider="openai",
    model="m",
    path="/chat/completions",
    asked=8,
    outcome="ok",
    status=200,
    seconds=0.5,
    usage='{"prompt_tokens": 100}',
    input=100,
    cached=60,
    cache_write=10,
    output=8,
    kept=3,
    wasted=5,
    local_seconds=0.25,
    source="provider",
    price=price_text(PRICE),
    reserved=Decimal("0.01"),
    cost=Decimal("0.0000003"),
    replayed=False,
    tags={"project": "x", "who": "me, too"},
)
LOST = replace(ROW, id=2, outcome="timeout", input=None, cached=None, cache_write=None, output=None, kept=None,
               wasted=None, local_seconds=None, source=None, cost=None, usage=None)  # fmt: skip
BUSY = replace(LOST, id=3, outcome="busy", cost=Decimal(0), input=0, output=0, cached=0, cache_write=0)
OPEN = replace(LOST, id=4, outcome="open", seconds=None)
OTHER = replace(
    ROW, id=5, run="r2", at="2026-11-25T00:00:00.000+00:00", model="n", cost=None, tags={}, source="estimated"
)
ROWS = [ROW, LOST, BUSY, OPEN, OTHER]


def test_the_figures_of_all_rows() -> None:
    assert figures("all", ROWS) == Figures(
        name="all",
        runs=2,
        answers=2,
        requests=5,
        answered=2,
        refused=1,
        lost=2,
        input=200,
        cached=120,
        cache_write=20,
        output=16,
        wasted=10,
        kept=6,
        estimated=1,
        cost=Decimal("0.0000003"),
        naive=naive_by_hand(),
        unpriced=1,
        at_risk=Decimal("0.02"),
        replayed=0,
        seconds=2.0,
        local_seconds=0.5,
    )
    all_of_them = figures("all", ROWS)
    assert (all_of_them.failed, all_of_them.calls_per_answer) == (3, 2.5)
    assert (all_of_them.cached_share, all_of_them.wasted_share) == (0.6, 0.625)


def naive_by_hand() -> Decimal:
    """Three calls of one token each: the first writes 10 tokens to the cache, the others read them from it."""
    first = 30 * Decimal("2.5") + 60 * Decimal("0.25") + 10 * Decimal("2.5") + 10
    second = 31 * Decimal("2.5") + 70 * Decimal("0.25") + 10
    third = 32 * Decimal("2.5") + 70 * Decimal("0.25") + 10
    return (first + second + third) / 10**6


def test_shares_of_nothing_are_not_known() -> None:
    none = figures("none", [])
    assert (none.calls_per_answer, none.cached_share, none.wasted_share, none.per_kept) == (None,) * 4


def test_answers_are_counted_by_their_beginnings() -> None:
    """Two drawn in one run, the second after a first reply of which nothing was kept; and a choice, in two requests."""
    drawn = [replace(ROW, kept=2), replace(ROW, step=2), replace(ROW, kept=0), replace(ROW, kept=1)]
    chosen = [replace(ROW, run="r3", kept=None), replace(ROW, run="r3", kept=None)]
    assert figures("", [*drawn, *chosen, replace(LOST, run="r4")]).answers == 3


@given(read=st.integers(0, 10**6), cached=st.integers(0, 10**6), rates=st.tuples(RATES, RATES, RATES))
def test_one_token_per_call_costs_the_same_where_one_was_asked_for(
    read: int, cached: int, rates: tuple[Rate, Rate, Rate]
) -> None:
    price, used = Price(*rates), Usage(input=read + cached, cached=cached, output=1)
    row = replace(ROW, input=used.input, cached=cached, cache_write=0, output=1, kept=1, wasted=0)
    found = figures("", [replace(row, price=price_text(price), cost=cost(used, price))])
    assert found.naive == found.cost


@given(kept=st.integers(1, 8), wasted=st.integers(0, 8))
def test_one_token_per_call_costs_more_the_more_is_kept_and_nothing_is_saved_by_waste(kept: int, wasted: int) -> None:
    used = Usage(input=100, cached=60, output=kept + wasted)
    row = replace(ROW, cache_write=0, output=used.output, wasted=wasted, cost=cost(used, PRICE))
    all_kept, one_less = (figures("", [replace(row, kept=n)]).naive for n in (kept, kept - 1))
    assert all_kept > one_less
    assert all_kept == figures("", [replace(row, kept=kept, output=kept, wasted=0)]).naive


def test_what_steered_nothing_costs_the_same_one_token_per_call() -> None:
    rows = [replace(ROW, kept=None, cost=Decimal(3)), LOST, BUSY, OPEN]
    assert figures("", rows).naive == figures("", rows).cost == 3


@given(
    rates=st.tuples(RATES, RATES, st.none() | RATES, st.none() | RATES),
    fee=st.decimals(0, 1, places=4),
    source=st.text(max_size=9),
    since=st.sampled_from(["", "2026-01-01"]),
)
def test_a_price_row_is_read_as_it_was_written(
    rates: tuple[Rate, Rate, Rate | None, Rate | None], fee: Decimal, source: str, since: str
) -> None:
    price = Price(*rates, request=fee, source=source, since=since)
    assert price_of(price_text(price)) == price


def test_a_kept_tokens_cost_is_known_only_where_everything_has_a_price() -> None:
    assert figures("", ROWS).per_kept is None
    assert figures("", [ROW, LOST]).per_kept == Decimal("0.0000001")
    assert figures("", [LOST]).per_kept is None


def test_every_figure_has_a_definition() -> None:
    worked_out = {name for name, value in vars(Figures).items() if isinstance(value, property)}
    assert DEFINITIONS.keys() == {field.name for field in fields(Figures)} - {"name"} | worked_out


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("model", ["openai m", "openai n"]),
        ("day", ["2026-11-24", "2026-11-25"]),
        ("tag", ["project=x", "who=me, too", "(none)"]),
        ("run", ["r1", "r2"]),
        ("outcome", ["ok", "busy", "open", "timeout"]),
    ],
)
def test_groups_have_their_names(by: By, names: list[str]) -> None:
    assert [one.name for one in report(ROWS, by=by)] == names


def test_the_dearest_model_comes_first() -> None:
    dear = replace(OTHER, cost=Decimal(1))
    assert [one.name for one in report([ROW, dear], by="model")] == ["openai n", "openai m"]


@given(rows=st.lists(st.sampled_from(ROWS), max_size=20), by=st.sampled_from(get_args(By)))
def test_groups_add_up_to_the_whole(rows: list[LedgerRow], by: By) -> None:
    """But for tags, of which a row may have several."""
    groups, total = report(rows, by=by), figures("", rows)
    if by == "tag":
        assert sum(one.requests for one in groups) == sum(len(list(NAMES["tag"](row))) for row in rows)
        return
    for name in {field.name for field in fields(Figures)} - {"name", "runs", "answers"}:
        assert sum(getattr(one, name) for one in groups) == getattr(total, name), name


def written(write: Callable[..., int]) -> str:
    out = io.StringIO()
    assert write(ROWS, out) == len(ROWS)
    return out.getvalue()


def test_csv_has_a_head_and_a_line_for_each_row() -> None:
    found = list(csv.DictReader(io.StringIO(written(write_csv))))
    assert [row["outcome"] for row in found] == [row.outcome for row in ROWS]
    first, lost = found[0], found[1]
    assert (first["cost"], first["reserved"], first["input"]) == ("0.0000003", "0.01", "100")
    assert (lost["cost"], lost["input"], lost["usage"]) == ("", "", "")
    assert json.loads(first["tags"]) == ROW.tags
    assert first.keys() == {field.name for field in fields(LedgerRow)}


def test_json_lines_hold_raw_usage_and_price_as_objects() -> None:
    first, lost, *_ = (json.loads(line) for line in written(write_jsonl).splitlines())
    assert (first["cost"], first["usage"]) == ("0.0000003", {"prompt_tokens": 100})
    assert (first["price"]["input"], first["price"]["source"]) == ("2.5", "a test")
    assert (lost["cost"], lost["usage"], lost["input"]) == (None, None, None)
    assert cast(dict[str, str], first["tags"]) == ROW.tags


def test_nothing_is_a_head_and_no_lines() -> None:
    out = io.StringIO()
    assert write_csv([], out) == write_jsonl([], io.StringIO()) == 0
    assert out.getvalue().startswith("id,run,step,")
