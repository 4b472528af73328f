"""Figures by group, each with a definition, and the rows as CSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import fields, replace
from decimal import Decimal
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.ledger.export import write_csv, write_jsonl
from blackbox_proxy.ledger.report import DEFINITIONS, NAMES, WAYS, By, Figures, figures, report
from blackbox_proxy.ledger.rows import Row

ROW = Row(
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
    source="provider",
    price='{"input": "2.5"}',
    reserved=Decimal("0.01"),
    cost=Decimal("0.0000003"),
    tags={"project": "x", "who": "me, too"},
)
LOST = replace(ROW, id=2, outcome="timeout", input=None, cached=None, cache_write=None, output=None, kept=None,
               wasted=None, source=None, cost=None, usage=None)  # fmt: skip
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
        unpriced=1,
        at_risk=Decimal("0.02"),
        seconds=2.0,
    )


def test_a_kept_tokens_cost_is_known_only_where_everything_has_a_price() -> None:
    assert figures("", ROWS).per_kept is None
    assert figures("", [ROW, LOST]).per_kept == Decimal("0.0000001")
    assert figures("", [LOST]).per_kept is None


def test_every_figure_has_a_definition() -> None:
    assert DEFINITIONS.keys() == {field.name for field in fields(Figures)} - {"name"} | {"per_kept"}


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("model", ["openai m", "openai n"]),
        ("day", ["2026-11-24", "2026-11-25"]),
        ("tag", ["project=x", "who=me, too", "(none)"]),
        ("run", ["r1", "r2"]),
    ],
)
def test_groups_have_their_names(by: By, names: list[str]) -> None:
    assert [one.name for one in report(ROWS, by=by)] == names


def test_the_dearest_model_comes_first() -> None:
    dear = replace(OTHER, cost=Decimal(1))
    assert [one.name for one in report([ROW, dear], by="model")] == ["openai n", "openai m"]


@given(rows=st.lists(st.sampled_from(ROWS), max_size=20), by=st.sampled_from(WAYS))
def test_groups_add_up_to_the_whole(rows: list[Row], by: By) -> None:
    """But for tags, of which a row may have several."""
    groups, total = report(rows, by=by), figures("", rows)
    if by == "tag":
        assert sum(one.requests for one in groups) == sum(len(list(NAMES["tag"](row))) for row in rows)
        return
    for name in {field.name for field in fields(Figures)} - {"name", "runs"}:
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
    assert first.keys() == {field.name for field in fields(Row)}


def test_json_lines_hold_raw_usage_and_price_as_objects() -> None:
    first, lost, *_ = (json.loads(line) for line in written(write_jsonl).splitlines())
    assert (first["cost"], first["usage"], first["price"]) == ("0.0000003", {"prompt_tokens": 100}, {"input": "2.5"})
    assert (lost["cost"], lost["usage"], lost["input"]) == (None, None, None)
    assert cast(dict[str, str], first["tags"]) == ROW.tags


def test_nothing_is_a_head_and_no_lines() -> None:
    out = io.StringIO()
    assert write_csv([], out) == write_jsonl([], io.StringIO()) == 0
    assert out.getvalue().startswith("id,run,step,")
