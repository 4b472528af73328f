"""An evaluation of two tasks with everything that a page can show, and its page."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from blackbox_proxy.pages.evaluation import Against, ArmRow, Evaluated, Mistake, Mistakes, TaskOutcome
from blackbox_proxy.pages.plots import BarPart


def row(name: str, score: float | None, *, description: str = "an arm", alpha: float | None = None) -> ArmRow:
    low, high = (0.0, 0.0) if score is None else (score - 0.08, min(1.0, score + 0.07))
    n = 0 if score is None else 150
    cost = None if name == "closed" else Decimal("0.0000421")
    return ArmRow(name, description, n, 2, score, low, high, None if score is None else 0.95, cost, 1.25, 11.3, alpha)


ROWS = (
    row("closed", 0.14, description="the closed model by itself"),
    row("closed_few_shot", 0.61, description="after examples"),
    row("expert", 0.35, description="the small model, tuned"),
    row("steered", 0.82, description="the closed model, steered by these two", alpha=1.25),
    row("closed_tuned", None, description="never answered"),
)
SWEEP = tuple(row(f"steered_alpha_{alpha:g}", 0.8 - (alpha - 1.0) ** 2 / 2, alpha=alpha) for alpha in (2.0, 0.0, 1.0))
TESTS = (
    Against("closed few-shot", 0.21, 0.12, 0.3, 0.0001, 150),
    Against("the tuned small model", -0.05, -0.09, -0.01, 0.04, 150),
    Against("closed instructed", 0.01, -0.1, 0.12, 0.9, 40),
)
TOWNS = TaskOutcome(
    name="towns",
    title="Towns",
    about="Which town it is.",
    source="made up",
    alpha=1.25,
    chosen=((0.0, 0.1), (1.25, 0.8)),
    rows=ROWS,
    sweep=SWEEP,
    tests=TESTS,
    wrong=27,
    of=150,
    ceiling=(BarPart("not in the form", 0.25), BarPart("not shown", 0.75)),
    exactness=(("62% of tokens", "are not the API's own."),),
    gap=(0.5, 0.4, 0.6),
    advice=("10 items decide nothing; the best so far and the cheapest is steered.", "Ask more."),
    mistakes=(
        Mistakes("closed", "the closed model by itself", 1, 9, (Mistake("Which town?", "", "Tirana", "Rome", 0.0),)),
        Mistakes(
            "steered",
            "the closed model, steered by these two",
            27,
            150,
            (
                Mistake("Which?", "Note: it is Wau.", "Wau", " \n", 0.0),
                Mistake("Where?", "", "There", "x" * 700, 0.25),
            ),
        ),
        Mistakes("expert", "the small model, tuned", 0, 150, ()),
    ),
)
BARE = TaskOutcome("bare", "Bare", "", "", 1.0, (), ROWS[:1], (), (), 0, 0, (), (), None)
EVALUATED = Evaluated(
    (TOWNS, BARE), "closed-model", "Prices are made up.", dt.datetime(2026, 11, 25, tzinfo=dt.UTC), "us"
)
