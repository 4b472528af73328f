"""The page of costs: every figure is the report's, what is unknown is no nought, and no name becomes a tag."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.ledger.report import DEFINITIONS, Figures
from blackbox_proxy.ledger.rows import LedgerRow
from blackbox_proxy.pages.charts import CostPair
from blackbox_proxy.pages.costs import (
    ATTEMPTS,
    CARDS,
    COLUMNS,
    MOST_BARS,
    MOST_DAYS,
    OUTCOMES,
    SHOWN,
    costs_page,
    over_time,
)
from tests.pages.booked import ROW, costs_of, weeks
from tests.pages.reading import Element, Page
from tests.pages.test_html import HOSTILE

WEEKS = weeks()


def exact(one: Figures, name: str) -> str:
    """A figure as a program reads it."""
    value = getattr(one, name)
    return plain(value) if isinstance(value, Decimal) else repr(value)


def told(element: Element) -> str | None:
    """The exact value beside what is shown; None where nothing is."""
    found = element.find("data")
    return found[0].attributes["value"] if found else None


def tables(page: str) -> list[list[list[Element]]]:
    """Of each table the rows, of each row the cells, without the head."""
    found = Page.read(page).root.find("table")
    return [[row.find("th") + row.find("td") for row in table.find("tr")[1:]] for table in found]


def check_table(rows: Sequence[Sequence[Element]], groups: Sequence[Figures], names: Sequence[str]) -> None:
    assert len(rows) == len(groups)
    for cells, one in zip(rows, groups, strict=True):
        assert cells[0].text.startswith(one.name)
        for cell, name in zip(cells[1:], names, strict=True):
            if told(cell) is None:
                assert cell.text in ("unknown", "\u2013"), name
                assert getattr(one, name) in (None, 0), name
            else:
                assert told(cell) == exact(one, name), name


@given(rows=st.lists(st.sampled_from(WEEKS), min_size=1, max_size=60))
@settings(max_examples=20)
def test_every_figure_of_the_page_is_the_reports(rows: list[LedgerRow]) -> None:
    costs = costs_of(sorted(rows, key=lambda row: row.id))
    page = costs_page(costs)
    days, models, tags, outcomes = tables(page)
    check_table(days, [*costs.days, costs.total], COLUMNS)
    check_table(models, [*costs.models, costs.total], COLUMNS)
    check_table(tags, [*costs.tags, costs.total], COLUMNS)
    check_table(outcomes, [*costs.outcomes, costs.total], ATTEMPTS)
    (cards,) = Page.read(page).root.find("dl", "cards")
    for name, card in zip(CARDS, cards.find("div"), strict=True):
        (figure,) = card.find("dd", "figure")
        assert told(figure) in (None, exact(costs.total, name))


def test_every_figure_has_its_definition_on_the_page() -> None:
    page = Page.read(costs_page(costs_of(WEEKS)))
    (means,) = page.root.find("dl", "means")
    found = {div.attributes["id"]: div.find("dd")[0].text for div in means.find("div")}
    for name in {*CARDS, *COLUMNS, *ATTEMPTS}:
        definition = DEFINITIONS[name]
        assert found[f"means-{name.replace('_', '-')}"] == f"{definition[0].upper()}{definition[1:]}."
    assert set(SHOWN) == {*CARDS, *COLUMNS, *ATTEMPTS}
    heads = [link.attributes["href"] for head in page.root.find("thead") for link in head.find("a")]
    assert len(heads) == 3 * len(COLUMNS) + len(ATTEMPTS)


@given(model=HOSTILE, provider=HOSTILE, key=HOSTILE, value=HOSTILE, outcome=HOSTILE, since=HOSTILE)
def test_no_name_becomes_a_tag(model: str, provider: str, key: str, value: str, outcome: str, since: str) -> None:
    named = replace(ROW, model=model, provider=provider, tags={key: value}, outcome=outcome)
    plainly = replace(ROW, outcome="refused", tags={"a": "b"})
    shapes = []
    for rows, day in (([ROW, named], since or "x"), ([ROW, plainly], "2026-01-01")):
        page = Page.read(costs_page(costs_of(rows, since=day)))
        page.check()
        shapes.append({one.name for one in page.root.all()})
    assert shapes[0] == shapes[1]


def test_what_is_unknown_is_not_shown_as_nothing() -> None:
    page = Page.read(costs_page(costs_of([replace(ROW, cost=None, price=None), replace(ROW, outcome="timeout")])))
    figures = [figure.text for figure in page.root.find("dd", "figure")]
    assert figures[:3] == ["unknown", "unknown", "\u2013"]
    notices = " ".join(notice.text for notice in page.root.find("p", "notice"))
    assert "Answered requests without a known price: 1." in notices
    assert "Attempts without a whole reply: 1. They may have been billed all the same, nobody knows how much" in notices
    assert "$0 " not in " ".join(bar.text for bar in page.root.find("ul", "bars"))


def test_a_known_part_is_marked_as_a_part() -> None:
    known = replace(ROW, cost=Decimal("1.5"), kept=None)
    page = Page.read(costs_page(costs_of([known, replace(ROW, cost=None)])))
    assert page.root.find("dd", "figure")[0].text == "$1.50 + ?"


def test_estimates_are_owned_up_to() -> None:
    page = Page.read(costs_page(costs_of([replace(ROW, source="estimated", cost=Decimal(1))])))
    assert "Replies without counts of tokens: 1." in page.root.find("p", "notice")[0].text


def test_an_empty_ledger_has_a_page_too() -> None:
    page = Page.read(costs_page(costs_of([])))
    page.check()
    assert "no requests" in page.root.find("header")[0].text
    assert page.root.find("table") == []


def test_the_head_says_which_days_are_meant() -> None:
    head = Page.read(costs_page(costs_of(WEEKS, since="2026-10-01"))).root.find("header")[0]
    assert "2026-10-30 to 2026-11-25" in head.text
    assert "Only from 2026-10-01 on" in head.text


def test_bars_are_as_long_as_the_amounts() -> None:
    costs = costs_of(WEEKS)
    bars = Page.read(costs_page(costs)).root.find("ul", "bars")[0]
    most = max(max(one.cost, one.naive) for one in costs.models)
    for line, one in zip(bars.find("li"), costs.models, strict=True):
        cost, naive = (float(rect.attributes["width"] or "") for rect in line.find("rect"))
        assert (cost, naive) == pytest.approx((float(100 * one.cost / most), float(100 * one.naive / most)), abs=0.01)


def test_columns_stand_for_every_day_and_are_as_high_as_the_amounts() -> None:
    costs = costs_of(WEEKS)
    (chart,) = Page.read(costs_page(costs)).root.find("div", "columns")
    (svg,) = chart.find("svg")
    top = Decimal(chart.find("div", "scale")[0].find("span")[0].text.removeprefix("$"))
    by_day = {one.name: one for one in costs.days}
    days = [dt.date(2026, 10, 30) + dt.timedelta(days=n) for n in range(27)]
    for column, day in zip(svg.find("g"), days, strict=True):
        one = by_day.get(day.isoformat())
        _, cost, naive = (float(rect.attributes["height"] or "") for rect in column.find("rect"))
        wanted = (one.cost, one.naive) if one else (Decimal(0), Decimal(0))
        assert (cost, naive) == pytest.approx([float(100 * amount / top) for amount in wanted], abs=0.01)
        assert column.find("title")[0].text.startswith(day.isoformat())
        assert naive <= 100


def test_long_times_are_drawn_by_months() -> None:
    start = dt.date(2025, 12, 31)
    days = [CostPair((start + dt.timedelta(days=n)).isoformat(), Decimal(1), Decimal(2)) for n in range(MOST_DAYS + 1)]
    assert [pair.name for pair in over_time(days[:-1])] == [day.name for day in days[:-1]]
    assert [(pair.name, int(pair.cost or 0)) for pair in over_time(days)] == [
        *(("2025-12", 1), ("2026-01", 31), ("2026-02", 28), ("2026-03", 31), ("2026-04", 2))
    ]
    assert sum(pair.naive or 0 for pair in over_time(days)) == 2 * len(days)


def test_of_many_groups_the_first_are_drawn_and_all_are_listed() -> None:
    rows = [replace(ROW, model=f"m{n}", cost=Decimal(n)) for n in range(MOST_BARS + 3)]
    page = Page.read(costs_page(costs_of(rows)))
    assert len(page.root.find("ul", "bars")[0].find("li")) == MOST_BARS
    assert len(page.root.find("table")[1].find("tr")) == MOST_BARS + 3 + 2
    assert f"The first {MOST_BARS} of {MOST_BARS + 3} are drawn." in page.root.text


def test_every_outcome_is_explained() -> None:
    """Those of the transport, and that of a row which never ended."""
    said = {"ok", "busy", "refused", "unreachable", "timeout", "unreadable", "cancelled", "open"}
    assert OUTCOMES.keys() == said
    page = Page.read(costs_page(costs_of([replace(ROW, outcome=one) for one in said])))
    for one, meaning in OUTCOMES.items():
        assert f"{one}: {meaning}" in page.root.text


def test_tables_can_be_reached_and_scrolled_by_the_keyboard() -> None:
    page = Page.read(costs_page(costs_of(WEEKS)))
    wide = page.root.find("div", "wide")
    assert len(wide) == len(page.root.find("table")) == 4
    assert all((one.attributes["tabindex"], one.attributes["role"]) == ("0", "region") for one in wide)
    assert all(one.attributes.get("aria-label") for one in wide)
    assert all(svg.attributes.get("aria-label") or svg.attributes.get("aria-hidden") for svg in page.root.find("svg"))
