"""The page of an evaluation: its figures, its words where intervals leave out 0, and its drawings."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from blackbox_proxy.pages.evaluation import SWEEP as REMARK
from blackbox_proxy.pages.evaluation import Evaluated, Mistake, Mistakes, TaskOutcome, evaluation_page
from blackbox_proxy.pages.plots import Interval, Point, curve, intervals
from tests.pages.outcomes import BARE, EVALUATED, ROWS, SWEEP, TOWNS
from tests.pages.reading import Page
from tests.pages.test_html import HOSTILE

PAGE = evaluation_page(EVALUATED)


def of(*tasks: TaskOutcome) -> str:
    return evaluation_page(replace(EVALUATED, tasks=tasks))


def test_the_page_loads_nothing_and_leads_nowhere() -> None:
    Page.read(PAGE).check()


def test_every_arm_is_in_the_table_with_its_exact_score() -> None:
    table, *_ = Page.read(PAGE).root.find("table")
    rows = table.find("tr")[1:]
    assert [one.find("th")[0].text.split()[0] for one in rows] == [row.name for row in ROWS]
    values = [one.find("data")[0].attributes["value"] for one in rows]
    assert values == [repr(row.score) for row in ROWS[:4]] + ["0"]


def test_what_nobody_knows_is_no_nought() -> None:
    table, *_ = Page.read(PAGE).root.find("table")
    closed, few, *_, never = table.find("tr")[1:]
    assert closed.find("td")[5].text == "unknown"
    assert few.find("td")[5].text == "$0.0000421"
    assert [cell.text for cell in never.find("td")][:2] == ["\u2013", "\u2013"]


def test_better_and_worse_are_said_only_where_the_interval_leaves_out_nought() -> None:
    (notice,) = Page.read(PAGE).root.find("p", "notice")
    assert notice.text == (
        "Steered is better than closed few-shot (+0.210); steered is worse than the tuned small model (\u22120.050); "
        "steered cannot be told from closed instructed (+0.010)."
    )


def test_what_a_task_lacks_is_left_out() -> None:
    page = of(BARE)
    assert [one.text for one in Page.read(page).root.find("h3")] == ["Scores"]
    assert REMARK not in page
    assert "which was set before" in page
    assert "Other knobs" not in page
    assert "Other knobs: rule clip, clip 2.0." in of(replace(BARE, knobs={"rule": "clip", "clip": 2.0}))
    assert "chosen on validation questions alone (0: 0.10, 1.25: 0.80)" in PAGE
    assert "Of the gap to the directly tuned model 50% is closed (40% to 60%)." in PAGE


def test_what_it_comes_to_stands_below_the_title() -> None:
    (advice,) = Page.read(PAGE).root.find("p", "advice")
    assert advice.text == "10 items decide nothing; the best so far and the cheapest is steered. Ask more."


def test_wrong_answers_are_listed_with_question_reference_and_answer() -> None:
    """Arm by arm, the steered one's open; an arm without any has no list."""
    closed, steered = Page.read(PAGE).root.find("details")
    assert closed.find("summary")[0].text == "closed, the closed model by itself: 1 of 9 are wrong"
    assert [one.text for one in closed.find("tr")[1].inner] == ["Which town?", "Tirana", "Rome", "0.00"]
    assert ("open" in steered.attributes, "open" in closed.attributes) == (True, False)
    assert steered.find("summary")[0].text.endswith("27 of 150 are wrong, the first 2 of them here")
    empty, long = steered.find("tr")[1:]
    assert [one.text for one in empty.inner][:3] == ["Note: it is Wau.\nWhich?", "Wau", "nothing"]
    assert long.find("td")[1].text == "x" * 600 + "\u2026"
    assert long.find("data")[0].attributes["value"] == "0.25"


def test_the_page_calls_tasks_by_their_titles() -> None:
    head = Page.read(PAGE).root.find("header")[0].text
    assert "closed-model, on \u201cTowns\u201d, \u201cBare\u201d." in head
    assert "towns" not in Page.read(PAGE).root.find("body")[0].text


@given(name=HOSTILE)
def test_no_text_becomes_a_tag(name: str) -> None:
    own = replace(
        TOWNS, name=name, title=name, about=name, source=name, rows=[replace(ROWS[3], name=name, description=name)]
    )
    wrong = Mistakes(name, name, 1, 1, (Mistake(name, name, name, name, 0.0),))
    own = replace(own, advice=(name,), mistakes=(wrong,))
    Page.read(evaluation_page(Evaluated((own,), name, name, EVALUATED.written_at, "us"))).check()


def test_an_interval_is_drawn_where_it_lies() -> None:
    drawn = Page.read(intervals([Interval("a", 0.5, 0.25, 0.75, "0.50", main=True)]).text).root
    (spread,), (dot,) = drawn.find("line", "spread"), drawn.find("line", "dot")
    assert (spread.attributes["x1"], spread.attributes["x2"]) == ("25.0", "75.0")
    assert dot.attributes["x1"] == dot.attributes["x2"] == "50.0"
    assert "main" in (drawn.find("li")[0].attributes["class"] or "")


def test_a_curve_goes_through_its_points() -> None:
    points = [Point(0.0, 0.25, 0.0, 0.5), Point(1.0, 0.75, 0.5, 1.0), Point(4.0, 0.5, 0.25, 0.75)]
    drawn = Page.read(curve(points, marked=1.0, label="l").text).root
    assert drawn.find("polyline")[0].attributes["points"] == "0.0,75.0 25.0,25.0 100.0,50.0"
    assert drawn.find("polygon")[0].attributes["points"] == (
        "0.0,50.0 25.0,0.0 100.0,25.0 100.0,75.0 25.0,50.0 0.0,100.0"
    )
    assert drawn.find("line", "special")[0].attributes["x1"] == "25.0"
    assert [one.text for one in drawn.find("span")][3:] == ["0", "1", "4"]


def test_the_sweep_is_drawn_in_the_order_of_alpha() -> None:
    page = Page.read(PAGE).root
    ticks = page.find("div", "ticks")[0]
    assert [one.text for one in ticks.find("span")] == ["0", "1", "2"] != [f"{row.alpha:g}" for row in SWEEP]
