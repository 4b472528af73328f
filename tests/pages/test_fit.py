"""The page of a fit: what to use first, every arm with its price, and wrong answers beside those of others."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

from blackbox_proxy.pages.fit import FitAnswer, FitMistake, FitRow, FittedPage, fit_page
from blackbox_proxy.pages.plots import Priced, falling, scatter
from tests.pages.fitted import FITTED
from tests.pages.reading import Page

SHOWN = FittedPage(
    title="lines <1>",
    sentences=("Use a.", "It is better.", "Lines agree."),
    lines="30 lines to learn from",
    rows=[
        FitRow("closed", "the closed model by itself", 24, 0.5, 0.3, 0.7, Decimal("0.028"), 3, best=True),
        FitRow("shots", "after 2 examples", 24, 0.75, 0.6, 0.9, Decimal("0.058"), 3, best=True, chosen=True),
        FitRow("steered", "steered", 6, 0.0, 0.0, 0.4, None, 1),
    ],
    notes=["the budget does not pay for more"],
    off_task="",
    harmful=False,
    others=["closed", "steered", "expert"],
    mistakes=[
        FitMistake(
            "q1", "right", "wrong <b>", "expert", [FitAnswer("right", right=True), FitAnswer("", right=False), None]
        )
    ],
    wrong=1,
    curve=None,
    recipe='arm = "shots"\n',
    written_at=dt.datetime(2026, 11, 30, tzinfo=dt.UTC),
    by="blackbox-proxy test",
)
PAGE = Page.read(fit_page(SHOWN))


def test_the_page_loads_nothing_and_says_first_what_to_use() -> None:
    PAGE.check()
    assert [one.text for one in PAGE.root.find("p", "advice")] == list(SHOWN.sentences)
    assert [one.text for one in PAGE.root.find("p", "notice")] == list(SHOWN.notes)
    assert "lines <1>" in PAGE.root.find("p", "soft")[0].text


def test_every_arm_is_in_the_table_with_its_price() -> None:
    arms, wrong = PAGE.root.find("table")
    rows = arms.find("tr")[1:]
    assert [row.find("td")[3].text for row in rows] == ["$0.028", "$0.058", "unknown"]
    assert [cell.text for cell in wrong.find("tr")[1].find("td")] == [
        *("right", "wrong <b>", "expert", "\u2713 rightright", "\u2013", "not asked")
    ]


def test_price_against_quality_is_drawn_where_prices_are_known() -> None:
    headings = [one.text for one in PAGE.root.find("h2")]
    assert "Price against quality" in headings
    alone = fit_page(replace(SHOWN, rows=SHOWN.rows[2:], mistakes=[]))
    assert [one.text for one in Page.read(alone).root.find("h2")] == ["What was compared", "The recipe"]


def test_the_line_goes_through_the_best_alone() -> None:
    points = [Priced("a", 0.0, 0.5, best=True), Priced("b", 2.0, 1.0, best=True, main=True), Priced("c", 1.0, 0.25)]
    drawn = scatter(points, label="prices").text
    assert 'points="4.0,50.0 96.0,0.0"' in drawn
    assert drawn.count("<title>") == 3
    assert "$2" in drawn


def test_whom_to_blame_is_counted() -> None:
    said = [one.text for one in Page.read(fit_page(FITTED)).root.find("p", "soft")]
    assert any(text.startswith("To blame, of 3 lines: expert 1, combination 1, both 1.") for text in said)
    some = [one.text for one in Page.read(fit_page(replace(FITTED, wrong=9))).root.find("p", "soft")]
    assert any(text.startswith("9 wrong. To blame, of the first 3: ") for text in some)


def test_the_line_is_listed_the_cheapest_first() -> None:
    (listed,) = Page.read(fit_page(FITTED)).root.find("ol", "frontier")
    assert [one.text for one in listed.find("li")] == [
        "expert: 0.56, free",
        "steered_alpha_1: 0.70, $0.081",
        "steered_shots_6: 0.78, $0.142",
    ]


def test_harm_is_a_warning_and_its_absence_is_said_plainly() -> None:
    harmful, harmless = FITTED, replace(FITTED, harmful=False)
    assert [one.text for one in Page.read(fit_page(harmful)).root.find("p", "notice")] == [FITTED.off_task]
    assert not Page.read(fit_page(harmless)).root.find("p", "notice")
    assert FITTED.off_task in [one.text for one in Page.read(fit_page(harmless)).root.find("p")]


def test_the_learning_curve_is_drawn_where_there_is_one() -> None:
    with_it, without = (Page.read(fit_page(page)) for page in (FITTED, replace(FITTED, curve=None)))
    assert "What more lines would bring" in [one.text for one in with_it.root.find("h2")]
    assert "What more lines would bring" not in [one.text for one in without.root.find("h2")]
    drawn = falling([(10.0, 2.0), (20.0, 1.0)], label="loss").text
    assert 'points="50.0,0.0 96.0,50.0"' in drawn
    assert 'aria-label="loss"' in drawn
